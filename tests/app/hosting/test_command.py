"""The words of rfsep host: what they mean, and what is refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from omegaconf.errors import MissingMandatoryValue

from rfsep.app.doors import composed, host_settings
from rfsep.app.host import main
from rfsep.app.hosting.rules import HostSettings
from rfsep.app.scripts import as_text
from rfsep.storage.locks import alone_in
from rfsep.types import InputError

WORDS = ["testset=set", "inbox=inbox", "out=out", "opens=2026-12-01T00:00Z", "closes=2026-12-31T23:30-01:00"]


def settings(*words: str) -> HostSettings:
    return host_settings(composed("host", [*WORDS, *words]))


def test_words_become_settings() -> None:
    found = settings("daily=3", "public=0.25", "settle=0", "seed=7")
    assert (found.testset, found.inbox, found.out) == (Path("set"), Path("inbox"), Path("out"))
    assert (found.daily, found.public, found.settle_s, found.seed) == (3, 0.25, 0, 7)
    assert found.opens == datetime(2026, 12, 1, tzinfo=UTC)
    assert found.closes == datetime(2027, 1, 1, 0, 30, tzinfo=UTC)
    usual = settings()
    assert (usual.daily, usual.public, usual.settle_s, usual.seed) == (5, 0.5, 60, None)
    assert as_text("inbox=2026") == "inbox='2026'"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("opens=tomorrow", "opens is 'tomorrow', expected a date, time and time zone such as 2026-12-01T00:00Z"),
        ("opens=2026-12-01T00:00", "opens is '2026-12-01T00:00', expected a date, time and time zone"),
        ("closes=2026-12-01T00:00Z", "closes=2026-12-01T00:00Z is not after opens=2026-12-01T00:00Z"),
        ("public=0", "public is 0, expected a number between 0 and 1"),
        ("public=1.0", "public is 1, expected a number between 0 and 1"),
        ("public=half", "public is 'half', expected a number between 0 and 1"),
        ("daily=0", "daily is 0, expected a positive whole number"),
        ("settle=-1", "settle is -1, expected whole seconds from 0 on"),
        ("seed=x", "seed is 'x', expected a whole number"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(word: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        settings(word)
    assert message in str(refused.value)


def test_a_folder_that_is_not_given_is_asked_for() -> None:
    with pytest.raises(MissingMandatoryValue, match="testset"):
        host_settings(composed("host", WORDS[1:]))


def test_a_call_leaves_the_work_to_another_one(
    hosted_set: Path, ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"testset={hosted_set}", f"inbox={ready.parent / 'inbox'}", f"out={ready}", *WORDS[3:], "seed=3"]
    with alone_in(ready):
        main(composed("host", words))
    assert capsys.readouterr().out == "another call is at work; nothing was done\n"


def test_the_log_alone_is_checked(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(composed("host", [f"out={ready}", "verify=true"]))
    assert f"{ready}/audit.jsonl: 1 lines, unbroken" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"audit\.jsonl: no such file"):
        main(composed("host", [f"out={tmp_path}", "verify=true"]))


@pytest.mark.parametrize("missing", ["testset", "inbox"])
def test_folders_that_are_not_there_are_named_and_nothing_is_written(
    hosted_set: Path, ready: Path, tmp_path: Path, missing: str
) -> None:
    folders = {"testset": hosted_set, "inbox": ready.parent / "inbox", missing: tmp_path / "gone"}
    words = [f"{key}={folder}" for key, folder in folders.items()]
    with pytest.raises(InputError, match="gone: no such folder"):
        main(composed("host", [*words, f"out={tmp_path / 'out'}", *WORDS[3:]]))
    assert list(tmp_path.iterdir()) == []


def test_a_share_without_a_mixture_at_a_level_is_refused_before_the_draw_is_kept(
    hosted_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "inbox").mkdir()
    words = [f"testset={hosted_set}", f"inbox={tmp_path / 'inbox'}", f"out={tmp_path / 'out'}", *WORDS[3:]]
    with pytest.raises(InputError, match=r"public=0\.01 leaves one share of QPSK_EMIBursts without a mixture"):
        main(composed("host", [*words, "public=0.01", "seed=1"]))
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["verified.json"]
