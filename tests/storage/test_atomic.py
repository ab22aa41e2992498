"""Whole or not at all."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from rfsep.storage.atomic import read_json, sha256, staged, write_atomically, write_json, write_text


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    write_atomically(path, lambda file: file.write(b"one"))
    write_atomically(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.bin"]


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, lambda file: file.write(b"x"))
    other = tmp_path / "b.bin"
    other.write_bytes(b"x")
    assert path.stat().st_mode == other.stat().st_mode


def test_file_and_folder_are_synced_before_and_after_the_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        events.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        real_sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        events.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"x"))
    assert events[0].endswith(".tmp")
    assert events[1:] == ["replace", f"sync {tmp_path.name}"]


def test_an_interrupt_behind_the_renaming_keeps_the_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the folder is synced: the new file has taken the old one's place, and nothing else has it."""
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"old")
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path):
            raise KeyboardInterrupt
        real_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_failure_keeps_the_old_file(tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with refused("a.bin", "No space left"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_other_failures_pass_and_leave_nothing(tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.bin", fail)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("full_at_sync")
def test_full_disk_at_sync(tmp_path: Path, refused: Any) -> None:
    with refused("a.json", "No space left"):
        write_json(tmp_path / "a.json", {"a": 1})
    assert os.listdir(tmp_path) == []


def test_system_refuses_to_write(tmp_path: Path, refused: Any, largest_file: Any) -> None:
    with refused("a.txt"), largest_file(4096):
        write_text(tmp_path / "a.txt", "x" * 100_000)
    assert os.listdir(tmp_path) == []


def test_folder_that_is_a_file(tmp_path: Path, refused: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    with refused("file/a.json"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_second_renaming_fails(tmp_path: Path, refused: Any) -> None:
    first, second = tmp_path / "a.bin", tmp_path / "folder"
    (second / "inside").mkdir(parents=True)
    with refused("a.bin", "folder"), staged(first, second) as parts:
        for part in parts:
            part.write_bytes(b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "ä\n"], "b": {"c": True}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text()
    assert text == json.dumps(value, indent=1) + "\n"


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": object()}])
def test_json_refuses_what_json_has_not(tmp_path: Path, refused: Any, value: object) -> None:
    with refused("a.json", "JSON"):
        write_json(tmp_path / "a.json", value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text", ['{"a": ', "NaN", "[-Infinity]", "\xff", "[" * 200_000, "", "1e999", "1" * 400, '"\\uD800"']
)
def test_bad_json(tmp_path: Path, refused: Any, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin1"))
    with refused("a.json", "not valid JSON"):
        read_json(path)


def test_missing_json(tmp_path: Path, refused: Any) -> None:
    with refused("a.json", "No such file"):
        read_json(tmp_path / "a.json")


def test_sha256_of_a_file_of_several_pieces(tmp_path: Path, refused: Any) -> None:
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    with refused("missing", "No such file"):
        sha256(tmp_path / "missing")


def test_message_stays_one_line_whatever_the_name(tmp_path: Path, refused: Any) -> None:
    with refused("a b.json"):
        read_json(tmp_path / "a\nb.json")
