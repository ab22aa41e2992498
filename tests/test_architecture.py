"""Imports point down, and a few things appear only where they belong."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rfsep"
LEAVES = {"types", "iq"}
ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "iq": {"types"},
    "intervals": set(),
    "metrics": LEAVES | {"intervals"},
    "storage": LEAVES,
    "models": set(),
    "signals": LEAVES | {"storage"},
    "identification": LEAVES | {"signals"},
    "mixtures": LEAVES | {"storage", "signals"},
    # Separators may not import mixtures, so that no entry can reach the truth.
    "separators": LEAVES | {"signals", "identification", "models"},
    "receiver": LEAVES | {"signals", "identification", "separators"},
    "bounds": LEAVES | {"metrics", "signals", "identification", "mixtures", "separators"},
    "training": LEAVES
    | {"metrics", "storage", "models", "signals", "identification", "mixtures", "separators", "bounds", "pages"},
    "challenge": LEAVES | {"metrics", "storage", "signals", "mixtures"},
    "pages": LEAVES | {"metrics", "storage", "signals", "identification", "challenge"},
}
TOP = "app"  # the commands, which may import everything and which nothing imports
FAMILIES = {
    "wifi",
    "lte",
    "nr",
    "score_based",
    "tokens",
    "envelope",
    "single_carrier",
    "varying",
}  # families of separators, which never import one another
ROOT_MODULES = {"__init__", "types", "iq", "intervals", "metrics"}
MOST_MODULES = 25  # largest number of modules in a folder
HYDRA = {"hydra", "omegaconf", "wandb"}
DOORSTEPS = {
    "rfsep/app/train.py": {"omegaconf", "wandb"},
    "rfsep/app/evaluate.py": {"omegaconf", "wandb"},
    "rfsep/app/prepare.py": {"omegaconf"},
    "rfsep/app/host.py": {"omegaconf"},
}
HYDRA_PLACES = {f"rfsep/app/{name}.py" for name in ("config", "doors", "trust")}


def modules() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py", ROOT / "data" / "prepare.py"])


def imported(path: Path) -> set[str]:
    """Returns every module that a file imports, anywhere in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if layer in (TOP, "__init__"):
        return
    assert layer in ALLOWED, f"{path}: layer '{layer}' has no rule in the design"
    used = {name.split(".")[1] for name in imported(path) if name.startswith("rfsep.")}
    assert used <= ALLOWED[layer] | {layer}, f"{path} imports from {sorted(used - ALLOWED[layer])}"


def test_families_of_separators_do_not_know_one_another() -> None:
    seen = 0
    for path in sorted((PACKAGE / "separators").rglob("*.py")):
        own = path.relative_to(PACKAGE / "separators").parts[0]
        used = {name.split(".")[2] for name in imported(path) if name.startswith("rfsep.separators.")} & FAMILIES
        seen += bool(used)
        assert own in FAMILIES or not used, f"{path}: a shared separator imports the family {sorted(used)}"
        assert used <= {own}, f"{path} imports the family {sorted(used - {own})}"
    # Families import their own modules, so the walk looks at the right names.
    assert seen > 10


def test_folders_are_rooms_of_a_readable_size() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT_MODULES
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert len(list(folder.glob("*.py"))) <= MOST_MODULES, folder


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_frameworks_stay_in_their_place(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    packages = {name.split(".")[0] for name in imported(path)}
    if place not in HYDRA_PLACES:
        # A command hands hydra's config to its door, and names the settings of its logged standings.
        assert packages & HYDRA <= DOORSTEPS.get(place, set())
    if not place.startswith("rfsep/training/") and place != "rfsep/app/train.py":
        assert "pytorch_lightning" not in packages
    if not place.startswith("rfsep/storage/"):
        assert not packages & {"h5py", "sigmf", "safetensors", "pickle"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            body = (node.end_lineno or 0) - first.lineno + 1
            assert body <= 40, f"{path}: {node.name} has {body} lines"


def test_the_walk_sees_a_forbidden_import(tmp_path: Path) -> None:
    """The test itself can fail."""
    source = tmp_path / "bad.py"
    source.write_text("def f():\n    from rfsep import storage\n    import rfsep.pages.table\n")
    assert {"rfsep.storage", "rfsep.pages.table"} <= imported(source)
