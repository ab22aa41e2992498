"""Digests of the code behind figures, so that kept figures are reused only while the code is the same."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).resolve().parents[2]  # parent of the package's folder


def code_version(modules: Iterable[str]) -> str:
    """Returns a digest of modules of this package and everything in it that they import, without comments and layout.

    A new separator, or a change in another one, does not change it.

    >>> code_version(["rfsep.types"]) == code_version(["rfsep.types", "rfsep.iq"])
    False
    """
    waiting, parsed = list(modules), dict[str, str]()
    while waiting:
        name = waiting.pop()
        if name in parsed or not name.startswith("rfsep."):
            continue
        module = _parsed(name)
        parsed[name] = module.digest
        waiting += module.imports
    return hashlib.sha256(repr(sorted(parsed.items())).encode()).hexdigest()[:16]


class _Module(NamedTuple):
    """The digest of a module's syntax tree, and the names it imports; both empty for a name that is no module."""

    digest: str
    imports: tuple[str, ...]


@cache
def _parsed(name: str) -> _Module:
    path = _ROOT / (name.replace(".", "/") + ".py")
    if not path.is_file():
        return _Module("", ())
    tree = ast.parse(path.read_bytes())
    return _Module(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(_imports(tree)))


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yields modules that a module imports, and imported names that may be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def targets(settings: Any) -> Iterator[str]:
    """Yields the modules of every ``_target_`` in a config, plain containers."""
    if isinstance(settings, dict):
        if isinstance(target := settings.get("_target_"), str):
            yield target.rpartition(".")[0]
        settings = list(settings.values())
    if isinstance(settings, list):
        for child in settings:
            yield from targets(child)
