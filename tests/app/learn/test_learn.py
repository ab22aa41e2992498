"""A whole learning on little: what it writes, that it goes on, and that the number of processes changes nothing."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from rfsep.app import places
from rfsep.app.api import load_separator, load_soi
from rfsep.app.learn import learn as learning
from rfsep.app.learn.folder import open_learned
from rfsep.app.learn.request import LearnRequest, Plan
from rfsep.app.learn.workers import Workers
from rfsep.storage.weights import read_weights
from rfsep.types import InputError

QUICK = ("experiment=unknown", "model.network.channels=8", "model.network.inner_channels=8", "data.batch_size=2")
NETWORKS = {
    "broken": (*QUICK, "model.network.channels=-1"),
    "guided": (QUICK[0], "model=strided_unet_guided", *QUICK[1:], "guide=lmmse"),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "candidates", lambda: ("matched_filter", "lmmse", "joint_detection"))
    monkeypatch.setattr(learning, "networks", lambda guide: NETWORKS)
    monkeypatch.setattr(learning, "ready", dict)
    monkeypatch.setattr(learning, "_STAGED_MINUTES", 0.0)
    monkeypatch.setattr(learning, "_REACH", 9.0)
    monkeypatch.setattr(learning, "plan_of", lambda minutes: Plan(1, 2, 2, 0.002))


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A turning tone with noise, which LMMSE takes away and the matched filter does not."""
    rng, time = np.random.default_rng(0), np.arange(100_000)
    noise = rng.standard_normal((100_000, 2)) @ np.array([1, 1j]) * 0.01
    path = tmp_path_factory.mktemp("tone") / "tone.npy"
    np.save(path, (np.exp(2j * np.pi * 0.01 * time) + noise).astype(np.complex64))
    return str(path)


def rows(out: Path) -> Any:
    """What is measured, without times."""
    content = json.loads((out / "learn.json").read_text())
    return content["chosen"], content["rows"], [(one["name"], one["figures"]) for one in content["candidates"]]


def test_learns_the_same_with_any_number_of_processes_and_after_an_interruption(
    small: None, tone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = LearnRequest(tone, minutes=1.0)
    two = learning.learn(request, tmp_path / "two", processes=2)
    chosen, results, tried = rows(tmp_path / "two")
    assert {name for name, _ in tried} == {"matched_filter", "lmmse", "joint_detection", *NETWORKS}
    assert "broken is left out" in capsys.readouterr().err
    by_name = {row["separator"]: row for row in results}
    assert by_name["learned"]["ber"][3] <= by_name["lmmse"]["ber"][3] < by_name["matched_filter"]["ber"][3]
    page = (tmp_path / "two" / "report.html").read_text()
    assert all(name in page for name in ("matched_filter", "guided", "kind: "))
    assert not (tmp_path / "two" / "work").exists()

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(learning, "_keep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learning.learn(request, tmp_path / "one", processes=1)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "one" / "work").glob("*.json")}
    assert len(kept) > 10
    with monkeypatch.context() as later:
        later.setattr(learning, "code_version", lambda modules: "another")
        with pytest.raises(InputError, match="was begun by another version of this code"):
            learning.learn(request, tmp_path / "one", processes=1)
    learning.learn(request, tmp_path / "one", processes=1)
    assert rows(tmp_path / "one") == (chosen, results, tried)
    assert open_learned(tmp_path / "one").chosen == two.chosen
    weights = [read_weights(tmp_path / name / "networks" / "guided" / "model.safetensors") for name in ("one", "two")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])

    before = (tmp_path / "two" / "separator.yaml").stat().st_mtime_ns
    assert learning.learn(request, tmp_path / "two") == two
    assert (tmp_path / "two" / "separator.yaml").stat().st_mtime_ns == before
    assert "is finished already" in capsys.readouterr().out
    with pytest.raises(InputError, match="holds what was learned from another request"):
        learning.learn(LearnRequest(tone, minutes=2.0), tmp_path / "two")
    _opens_and_is_guarded(tmp_path / "two")


def _opens_and_is_guarded(folder: Path) -> None:
    """The folder separates in Python, and one that was changed is refused."""
    mixture = load_soi("qpsk").sample(2, 2560, torch.Generator().manual_seed(0)).waveform  # type: ignore[attr-defined]
    assert load_separator(str(folder), load_soi("qpsk")).separate(mixture).bits.shape == (2, 320)
    with pytest.raises(InputError, match="was learned for soi qpsk, not for ofdm_qpsk"):
        open_learned(folder, "ofdm_qpsk")
    content = yaml.safe_load((folder / "separator.yaml").read_text())
    changes: list[tuple[str, dict[str, Any]]] = [
        (
            "unknown separator 'os.system'",
            {"separators": [{"from_db": None, "use": "os.system", "run": None, "start": None}]},
        ),
        (
            "network '/etc' is not one of its own",
            {"separators": [{"from_db": None, "use": "neural", "run": "/etc", "start": None}]},
        ),
        ("must begin at null", {"separators": []}),
        ("is no file of rfsep learn", {"separators": 3}),
        ("is missing, or not the file", {"files": dict.fromkeys(content["files"], "0" * 64)}),
    ]
    for words, change in changes:
        (folder / "separator.yaml").write_text(yaml.safe_dump(content | change))
        with pytest.raises(InputError, match=words):
            open_learned(folder)


def test_a_folder_with_other_files_is_left_alone(tone: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="holds other files"):
        learning.learn(LearnRequest(tone), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


DEADLY = """
import os, signal
from rfsep.types import Separated

class Deadly:
    def __init__(self, modem, examples, place):
        if not os.path.exists(place):
            open(place, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        self.modem = modem

    def separate(self, mixture):
        return Separated(mixture, self.modem.decide(mixture))

class Always:
    def __init__(self, modem, examples):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of own options whose separators kill their process: one once, one always."""
    (tmp_path / "deadly.py").write_text(DEADLY)
    own = tmp_path / "own"
    (own / "separator").mkdir(parents=True)
    for name, more in (("deadly_once", f"\n  place: {tmp_path}/seen"), ("deadly_always", "")):
        target = "deadly.Deadly" if more else "deadly.Always"
        text = f"name: {name}\nblind: true\nlearns: true\nmethod:\n  _target_: {target}{more}\n"
        (own / "separator" / f"{name}.yaml").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(places, "_user_folders", [*places.user_folders(), own])
    return tmp_path / "work"


def test_a_killed_process_costs_its_task_alone(deadly: Path) -> None:
    deadly.mkdir()
    told = {"do": "try", "request": LearnRequest("white_noise").told(), "folder": str(deadly)}
    told |= {"first": 0, "end": 1, "number": 1, "seed": 0}
    names = ("deadly_once", "deadly_always", "matched_filter")
    tasks = {name: {**told, "part": {"use": name, "run": None, "start": None}} for name in names}
    done = list[str]()
    with Workers(1, deadly / "log.txt") as workers:
        answers = workers.do(tasks, deadly, done.append)
    assert sorted(done) == sorted(names)
    assert answers["deadly_always"] == {"broke": f"its process ended 2 times, by {signal.Signals.SIGKILL.name}"}
    assert {len(answers[name]["wrong"]) for name in ("deadly_once", "matched_filter")} == {6}
    shutil.rmtree(deadly)
