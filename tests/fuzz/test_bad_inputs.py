"""Each of the bad inputs of docs/trust.md gets its answer, in bounded memory and time, and nothing of it is run."""

import re
import warnings
from pathlib import Path

import pytest
from bad_inputs import CASES, MARK, ROOT, Bad, answer
from guard import guarded


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # files that the sigmf library leaves open
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_bad_input_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Bad) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").touch()
    with guarded(), warnings.catch_warnings(action="error", category=RuntimeWarning):
        line = answer(case, tmp_path / "files")
    assert case.answer in line, line
    assert line.isprintable()
    assert not (tmp_path / "b").exists(), "foreign code was run"


def test_page_has_every_case() -> None:
    """python tests/fuzz/bad_inputs.py writes the table."""
    found = MARK.search((ROOT / "docs" / "trust.md").read_text())
    assert found
    assert re.findall(r"^\| (.*?) \|", found[2], re.MULTILINE)[2:] == [case.what for case in CASES]
