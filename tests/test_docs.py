"""Checks the sources of `make docs`: pages, links, every module and option, and names in docstrings."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rfsep.app.commands import app

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def build() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        yield importlib.import_module("build")


@pytest.fixture(scope="module")
def references(build: ModuleType) -> ModuleType:
    return importlib.import_module("references")


@pytest.fixture(scope="module")
def sources(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("docs") / "sources"
    build.write_sources(folder)
    return folder


def contents(page: Path) -> list[str]:
    """Returns the pages in a page's tables of contents, as paths from its folder."""
    trees = re.findall(r"```{toctree}\n(.*?)```", page.read_text(), re.DOTALL)
    return [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]


def test_every_page_is_in_the_navigation_once(sources: Path) -> None:
    listed = contents(sources / "index.md")
    assert len(listed) == len(set(listed))
    assert {f"{name}.md" for name in listed} >= {path.name for path in (ROOT / "docs").glob("*.md")}
    for name in listed:
        assert (sources / f"{name}.md").is_file(), name


def test_links_lead_to_pages_and_files_of_the_site(sources: Path) -> None:
    checked = 0
    for page in sources.glob("*.md"):
        for path in re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / path).is_file(), f"{page.name}: {path}"
            checked += 1
    assert checked > 80


def test_every_module_has_a_page_below_its_package(sources: Path) -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "rfsep").rglob("*.py")]
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    pages = {path.stem: path for path in (sources / "reference").glob("rfsep*.md")}
    assert set(pages) == names
    below = [name for page in pages.values() for name in contents(page)]
    assert sorted(below) == sorted(names - {"rfsep"})
    assert all(f".. automodule:: {name}\n" in page.read_text() for name, page in pages.items())


def test_commands_and_options_are_told_in_full(sources: Path) -> None:
    text = (sources / "reference" / "commands.md").read_text()
    assert "..." not in text.split("## rfsep ")[0].replace("COMMAND [ARGS]...", "")  # no line of the manual is cut
    for command in app.registered_commands:
        assert f"## rfsep {command.name}\n\n```text\nUsage: rfsep {command.name} " in text
    options = (sources / "reference" / "options.md").read_text()
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert path.stem == "quiet" or path.read_text() in options, path


def test_names_in_docstrings_exist(references: ModuleType) -> None:
    assert references.broken() == []


def test_names_are_found_as_python_would(references: ModuleType) -> None:
    resolve = references.resolve
    module = "rfsep.separators.cyclic_lmmse"
    assert resolve("CyclicLmmse", module) == f"{module}.CyclicLmmse"
    assert resolve("separate", module, "CyclicLmmse") == f"{module}.CyclicLmmse.separate"
    assert resolve("modem", module, "CyclicLmmse") == f"{module}.CyclicLmmse.modem"
    assert resolve("Separated.soi", module) == "rfsep.types.Separated.soi"
    assert resolve("rfsep.separators.lmmse.Lmmse", module) == "rfsep.separators.lmmse.Lmmse"
    assert resolve(".lmmse.Lmmse", module) == "rfsep.separators.lmmse.Lmmse"
    assert resolve("rfsep.separators", module) == "rfsep.separators"
    for wrong in ("separate", "Lmmse", "Separated.sio", "rfsep.separators.lmmse.Lmms", "rfsep.nothing", ".lmmse.Lmms"):
        assert resolve(wrong, module) is None, wrong


def test_the_design_page_has_the_import_table_and_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "design.md").read_text()
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "tests" / "test_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    section = text.split("## Imports point down")[1].split("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    assert {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows} == architecture.ALLOWED
    files = re.findall(r"^\| `([\w/]+\.py)` \|", text, re.MULTILINE)
    assert len(files) > 50
    assert [name for name in files if not (ROOT / "rfsep" / name).is_file()] == []


def test_the_map_of_the_package_shows_every_folder() -> None:
    rows = re.findall(r"^\| `(rfsep[\w/]*)` \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    packages = {path.parent for path in (ROOT / "rfsep").rglob("__init__.py")} | {ROOT / "rfsep" / "zoo"}
    assert rows == list(dict.fromkeys(rows))
    assert set(rows) == {path.relative_to(ROOT).as_posix() for path in packages}
