"""What names in docstrings refer to: `Name` in single backticks is an object of rfsep, found without importing it."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = re.compile(r"(?<![`\w\\])`(\.?[A-Za-z_][\w.]*)`(?![`\w])")  # a command in backticks has a space
Definition = ast.FunctionDef | ast.ClassDef


def modules() -> list[str]:
    """Every module of rfsep, sorted."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "rfsep").rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


@cache
def _tree(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


@cache
def _symbols(module: str) -> dict[str, str]:
    """Full names of what a module defines, with the members of its classes, and of what it imports from rfsep."""
    found: dict[str, str] = {}

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, Definition):
                found[prefix + node.name] = f"{module}.{prefix}{node.name}"
                names = ast.walk(node) if isinstance(node, ast.ClassDef) else ()
                for one in names:  # attributes that a method sets
                    if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
                        found[f"{prefix}{node.name}.{one.attr}"] = f"{module}.{prefix}{node.name}.{one.attr}"
                if isinstance(node, ast.ClassDef):
                    add(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name in (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)):
                    found[prefix + name] = f"{module}.{prefix}{name}"
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rfsep"):
                found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})

    add(_tree(module).body, "")
    return found


def resolve(name: str, module: str, owner: str = "") -> str | None:
    """The full name of what a docstring calls ``name``, or None where there is no such thing.

    Args:
        name: as it stands in backticks: of this class or module, of what it imports, in full from ``rfsep``, or from
            the module's package with a dot in front.
        module: that the docstring is in.
        owner: class that the docstring is in.
    """
    package = module.rpartition(".")[0]
    full = f"{package}{name}" if name.startswith(".") else name
    for known in (f"{owner}.{full}" if owner else full, full):
        if known in _symbols(module):
            return _symbols(module)[known]
    head, _, rest = full.partition(".")
    if rest and (imported := _symbols(module).get(head)) and not imported.startswith(f"{module}."):
        return resolve(f"{imported}.{rest}", module)
    names = set(modules())
    if full in names:
        return full
    for place in sorted((one for one in names if full.startswith(f"{one}.")), key=len, reverse=True)[:1]:
        return _symbols(place).get(full.removeprefix(f"{place}."))
    return None


def docstrings(module: str) -> list[tuple[str, str]]:
    """(class around it or "", text) of every docstring of a module."""
    found = [("", ast.get_docstring(_tree(module)) or "")]

    def add(body: list[ast.stmt], owner: str) -> None:
        for node in body:
            if isinstance(node, Definition):
                inside = f"{owner}.{node.name}".lstrip(".") if isinstance(node, ast.ClassDef) else owner
                found.append((inside, ast.get_docstring(node) or ""))
                add(node.body, inside)

    add(_tree(module).body, "")
    return found


def broken() -> list[str]:
    """References in docstrings that name nothing: "module: `name`"."""
    return [
        f"{module}: `{name}`"
        for module in modules()
        for owner, text in docstrings(module)
        for name in REFERENCE.findall(text)
        if resolve(name, module, owner) is None
    ]
