"""Which code figures come from, so that kept ones are used again only while it is the same."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).resolve().parents[2]  # of the package's folder


def code_version(modules: Iterable[str]) -> str:
    """Digest of modules of this package and of all of it that they import; comments and layout do not matter.

    A new separator, or a change in another one, leaves it as it is.

    >>> code_version(["rfsep.iq"]) == code_version(["rfsep.types", "rfsep.iq"])
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
    """Digest of a module's syntax tree, and the names it imports; both empty for a name that is no module."""

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
    """Modules that a module imports, and what may be modules among the names it takes from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def targets(settings: Any) -> Iterator[str]:
    """Modules of every ``_target_`` in a config, plain containers."""
    if isinstance(settings, dict):
        if isinstance(target := settings.get("_target_"), str):
            yield target.rpartition(".")[0]
        settings = list(settings.values())
    if isinstance(settings, list):
        for child in settings:
            yield from targets(child)
