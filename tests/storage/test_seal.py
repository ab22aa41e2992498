"""Seals: what this host wrote, what it did not, and what was changed since."""

import json
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.seal import host_key, is_sealed, key_path, sealed

VALUE = {"id": "Übung", "rows": [{"mse": -12.345678901234567, "n": 100, "none": None}], "blind": True}


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RFSEP_HOST_KEY", str(tmp_path / "deep" / "host.key"))
    return tmp_path / "deep" / "host.key"


def test_seal_survives_the_file_and_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", sealed(VALUE))
    found = read_json(tmp_path / "a.json")
    assert is_sealed(found)
    assert is_sealed(dict(reversed(found.items())))
    assert {key: found[key] for key in VALUE} == VALUE


def test_any_change_breaks_it() -> None:
    good = sealed(VALUE)
    for change in ({"id": "other"}, {"rows": []}, {"blind": False}, {"more": 1}, {"seal": "0" * 64}, {"seal": None}):
        assert not is_sealed({**good, **change}), change
    assert not any(is_sealed(value) for value in (None, [], "seal", {}, {"seal": "ü"}, VALUE))


def test_values_that_no_seal_can_be_made_of_are_not_ours(tmp_path: Path) -> None:
    sealed(VALUE)
    deep = "[" * 900 + "]" * 900
    (tmp_path / "a.json").write_text(f'{{"seal": "a", "x": {deep}}}')
    for value in ({"seal": "a", "x": float("inf")}, {"seal": "\ud800"}, read_json(tmp_path / "a.json")):
        assert not is_sealed(value)


def test_another_host_has_another_key(own_key: Path) -> None:
    good = sealed(VALUE)
    own_key.unlink()
    assert not is_sealed(good)
    assert not own_key.exists(), "a look makes no key"
    assert sealed(VALUE)["seal"] != good["seal"]


def test_key_is_private_and_one_of_several_writers_wins(own_key: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = set(pool.map(lambda _: sealed(VALUE)["seal"], range(16)))
    assert len(codes) == 1
    assert stat.S_IMODE(own_key.stat().st_mode) == 0o600
    assert [path.name for path in own_key.parent.iterdir()] == ["host.key"]


def test_host_without_a_place_for_a_key_scores_unsealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RFSEP_HOST_KEY", str(tmp_path / "file" / "host.key"))
    unsealed = sealed(VALUE)
    assert unsealed == {**VALUE, "seal": None}
    assert not is_sealed(unsealed)


def test_damaged_key_is_refused(own_key: Path, refused: Callable[..., AbstractContextManager[None]]) -> None:
    own_key.parent.mkdir()
    own_key.write_bytes(b"short")
    with refused(own_key, "5 bytes"):
        host_key(make=True)


def test_key_lies_in_the_users_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RFSEP_HOST_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert key_path() == tmp_path / "rfsep" / "host.key"
    assert json.loads(json.dumps(sealed(VALUE)))["seal"]
    assert key_path().is_file()
