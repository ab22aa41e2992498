"""Tables of README.md and docs/*.md are what the JSON says, and their commands and links name what exists."""

import fnmatch
import importlib.util
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}


def names(group: str) -> set[str]:
    folder = ROOT / "conf" / group
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page: its headings, in lower case with hyphens."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("place", PAGES, ids=lambda place: place.name)
def test_tables_are_generated_from_the_results(place: Path, tables: ModuleType) -> None:
    text = place.read_text()
    assert tables.rendered(text) == text, f"{place.name} is not up to date: run python docs/tables.py"
    assert len(tables.MARK.findall(text)) == text.count("<!-- table ")
    by_tests = sum(
        text.count(f"<!-- {name} -->") for name in ("bad inputs", "capture kinds", "label maps", "accepted SOIs")
    )
    assert text.count("<!-- end -->") == text.count("<!-- table ") + by_tests


def test_a_changed_figure_is_noticed(tables: ModuleType) -> None:
    assert set(tables.PAGES) == set(PAGES)
    assert sum(len(tables.MARK.findall(page.read_text())) for page in PAGES) >= 35
    for page in (README, ROOT / "docs" / "separators.md"):
        text = page.read_text()
        forged = re.sub(r"(<!-- table .*?)\.1(\d)", r"\1.9\2", text, count=1, flags=re.DOTALL)
        assert forged != text
        assert tables.rendered(forged) == text


def test_the_summary_takes_the_best_blind_row(tables: ModuleType) -> None:
    def row(separator: str, ber: float, **marks: bool) -> dict[str, object]:
        values = {"ber": [0.4, ber], "ber_low": [0.4, ber / 2], "ber_high": [0.4, ber * 2]}
        return {"separator": separator, "sir_db": [-24.0, -12.0], "blind": True, **values, **marks}

    rows = [row("lmmse", 0.2), row("good", 0.1), row("told", 0.01, blind=False), row("limit", 0.01, bound=True)]
    published = [
        {"name": "A", "sinr_db": [-12, -24], "ber": [0.3, None]},
        {"name": "B", "sinr_db": [-24], "ber": [0.1]},
    ]
    content = {"rows": rows, "published": [*published, {"name": "C", "sinr_db": [-12], "ber": None}]}
    text = tables.summary({name: content for _, name in tables.SUMMARY})
    assert text.splitlines()[2].endswith("|  | .2 (.1 .. .4) | .1 (.05 .. .2) `good` | .3 A |")


def test_no_error_is_at_most_what_a_failing_mixture_costs(tables: ModuleType) -> None:
    """Three in a hundred mixtures may fail unseen, each with a tenth of its bits wrong; more bits leave the limit."""
    row = {"separator": "a", "ber": [0.0, 0.0], "ber_low": [0.0, 0.0], "ber_high": [9e-6, 8e-3], "mse_db": None}
    content = {"rows": [row | {"sir_db": [-12.0, 0.0], "num_mixtures": [100, 100]}], "published": []}
    assert "| a | <3e-3 | <8e-3 |" in tables.comparison(content)


def test_the_table_of_impairments_copes_with_rows_that_are_missing(tables: ModuleType) -> None:
    def row(cell: str, impairment: str, track: str, ber: float) -> dict[str, object]:
        known = {"cell": cell, "impairment": impairment, "track": track, "captures": 8}
        return known | {"ber": ber, "ber_low": ber / 2, "ber_high": ber * 2 or 9e-6}

    near, far = "lmmse@ofdm_qpsk@-6", "joint_detection@ofdm_qpsk@-12"
    rows = [
        row(far, "all", "none", 0.49),
        row(near, "phase", "full", 0.0),
        row(near, "phase", "none", 0.11),
        row(near, "none", "full", 0.017),
        row(far, "none", "none", 0.0),
        row(far, "none", "full", 0.002),
    ]
    assert tables.impairments({"rows": rows}).splitlines() == [
        "| BER | `lmmse` in `ofdm_qpsk`, -6 dB | `joint_detection` in `ofdm_qpsk`, -12 dB |",
        "| --- | ---: | ---: |",
        "| none | → .017 (.0085 .. .034) | 0 → .002 (.001 .. .004) |",
        "| phase | .11 → <9e-6 |  |",
        "| all |  | .49 → |",
    ]
    assert tables.impairments({"rows": []}) == ""


@pytest.mark.parametrize("place", PAGES, ids=lambda place: place.name)
def test_commands_name_configs_and_files_that_exist(place: Path) -> None:
    text = place.read_text()
    for group in GROUPS:
        for name in re.findall(rf"(?<![.\w]){group}=([a-z][\w/]*)", text):
            # A recipe made this YAML.
            made_here = f"`conf/{group}/{name}.yaml`:" in text
            assert name == "null" or made_here or name in names(group), f"{group}={name}"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^ *|`)make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"python ([\w/]+\.py)", text):
        assert (ROOT / script).is_file(), script
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text):
        target = (place.parent / path).resolve() if path else place
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_readme_shows_how_to_start() -> None:
    text = README.read_text()
    assert {"demo", "test", "bench", "leaderboard"} <= set(re.findall(r"^ *make (\w+)", text, re.MULTILINE))
    assert text.count("\n") < 150
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in text, f"README.md has no link to {page.name}"


def listed(text: str) -> dict[str, list[str]]:
    """Returns the names in the table of configs, by group."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text, re.MULTILINE)
    return {group: re.findall(r"`([\w/]+)`", named) for group, named in rows}


def test_every_option_of_every_group_is_listed() -> None:
    found = listed((ROOT / "docs" / "configuration.md").read_text())
    # Other pages describe the experiments.
    assert set(found) == GROUPS - {"experiment"}
    for group, named in found.items():
        assert named == sorted(names(group)), f"{group}: run python docs/tables.py"


def test_patterns_in_the_descriptions_of_groups_stand_for_names(tables: ModuleType) -> None:
    for group, text in tables.GROUPS.items():
        for pattern in re.findall(r"`([^` ]+)`", text):
            assert fnmatch.filter(names(group), pattern), f"{group}: {pattern}"


def test_a_new_yaml_needs_the_command_alone(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf, page = shutil.copytree(ROOT / "conf", tmp_path / "conf"), tmp_path / "configuration.md"
    page.write_text((ROOT / "docs" / "configuration.md").read_text())
    before = listed(page.read_text())["separator"]
    (conf / "separator" / "blanking.yaml").touch()
    monkeypatch.setattr(tables, "CONF", conf)
    with pytest.raises(AssertionError, match=r"configuration\.md is not up to date: run python docs/tables\.py"):
        test_tables_are_generated_from_the_results(page, tables)
    page.write_text(tables.rendered(page.read_text()))
    test_tables_are_generated_from_the_results(page, tables)
    assert listed(page.read_text())["separator"] == sorted([*before, "blanking"])
    (conf / "antenna").mkdir()
    with pytest.raises(KeyError, match=r"conf/antenna has no description among GROUPS in docs/tables\.py"):
        tables.configuration(conf)


def test_the_python_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    exec(compile(code, "api.md", "exec"), {})
    assert capsys.readouterr().out.strip() == code.rstrip().rsplit("# ", 1)[1]


def test_no_path_of_one_machine() -> None:
    for path in [*PAGES, ROOT / "data" / "README.md", ROOT / "CHANGELOG.md"]:
        assert not re.search(r"/(home|root|tmp)/", path.read_text()), path


def test_python_of_the_readme_runs_as_it_stands() -> None:
    lines = [line[4:] for line in README.read_text().splitlines() if line.startswith("    ")]
    start = lines.index("import rfsep, torch")
    names: dict[str, Any] = {}
    exec("\n".join(lines[start:]), names)
    assert (names["bits"] == names["batch"].bits).float().mean() > 0.86  # the table's BER at -12 dB is .131
