"""The README's tables are what the JSON says, and its commands name what exists."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_tables_are_generated_from_the_results() -> None:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    text = README.read_text()
    assert len(tables.MARK.findall(text)) >= 5
    assert tables.rendered(text) == text, "run python docs/tables.py"
    assert tables.rendered(text.replace("| matched_filter |", "| matched_filler |", 1)) == text


def test_commands_name_configs_and_files_that_exist() -> None:
    text = README.read_text()
    for group in ("soi", "interference", "separator", "experiment", "model", "objective", "augment"):
        for name in re.findall(rf"(?<![.\w]){group}=([a-z][\w/]*)", text):
            assert (ROOT / "conf" / group / f"{name}.yaml").is_file(), f"{group}={name}"
    targets = re.findall(r"^ *make (\w+)", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    for path in re.findall(r"\]\((?!http|#)([^)]+)\)", text):
        assert (ROOT / path).exists(), path


def test_the_python_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == code.rstrip().rsplit("# ", 1)[1]


def test_no_path_of_one_machine() -> None:
    for path in [README, ROOT / "data" / "README.md", ROOT / "CHANGELOG.md"]:
        assert not re.search(r"/(home|root|tmp)/", path.read_text()), path
