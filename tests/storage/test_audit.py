"""The audit log: every change of it shows, and what a killed process began does not count."""

import hashlib
import json
from pathlib import Path

import pytest

from rfsep.storage.audit import FIRST, Log, append_event, read_log
from rfsep.storage.seal import KEY_VARIABLE
from rfsep.types import InputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of four lines."""
    path, log = tmp_path / "audit.jsonl", Log()
    for number in range(4):
        log = append_event(path, log, {"event": "test", "number": number})
    assert read_log(path) == log
    return path


def test_each_line_has_the_digest_of_the_one_before(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    digests = [FIRST, *(hashlib.sha256(line).hexdigest() for line in lines)]
    assert [json.loads(line)["previous"] for line in lines] == digests[:4]
    assert read_log(path).digest == digests[4]
    assert [event["number"] for event in read_log(path).events] == [0, 1, 2, 3]


@pytest.mark.parametrize("number", range(4))
def test_a_changed_line_shows_the_last_one_too(path: Path, number: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    lines[number] = lines[number].replace(f'"number": {number}', '"number": 9')
    path.write_text("".join(lines))
    with pytest.raises(InputError, match=rf"audit\.jsonl: line {number + 1} was changed"):
        read_log(path)


def test_a_line_less_or_in_another_order_shows(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(InputError, match="line 2 does not follow line 1"):
        read_log(path)
    path.write_text("".join(lines[1:]))
    with pytest.raises(InputError, match="line 1 does not follow line 0"):
        read_log(path)
    path.write_text("".join([lines[0], lines[2], lines[1], lines[3]]))
    with pytest.raises(InputError, match="line 2 does not follow line 1"):
        read_log(path)


def test_lines_of_another_host_are_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "other.key"))
    with pytest.raises(InputError, match="line 1 was changed: it does not bear this host's seal"):
        read_log(path)


def test_a_line_cut_off_anywhere_does_not_count_and_is_written_over(path: Path) -> None:
    whole = path.read_bytes()
    before = len(b"".join(whole.splitlines(keepends=True)[:3]))
    for length in range(before, len(whole)):
        path.write_bytes(whole[:length])
        log = read_log(path)
        assert [event["number"] for event in log.events] == [0, 1, 2]
        append_event(path, log, {"event": "test", "number": 3})
        assert path.read_bytes() == whole


def test_a_host_that_cannot_keep_a_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "file" / "host.key"))
    with pytest.raises(InputError, match="RFSEP_HOST_KEY"):
        append_event(tmp_path / "audit.jsonl", Log(), {"event": "test"})
    assert not (tmp_path / "audit.jsonl").exists()
