"""One part of a command that breaks is told and left out; the others finish, and the exit status is 2."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from rfsep.app import compare, evaluate
from rfsep.app.doors import evaluate_settings
from rfsep.app.failures import Failures
from rfsep.app.places import CONF
from rfsep.app.prepare import main as prepare
from rfsep.types import InputError


def settings(name: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(name, overrides=list(overrides))


def breaking(what: Callable[..., Any], which: Callable[..., bool]) -> Callable[..., Any]:
    """A function that breaks where its arguments are those."""

    def replaced(*arguments: Any) -> Any:
        if which(*arguments):
            raise RuntimeError("MKL FFT error:\nInconsistent configuration parameters")
        return what(*arguments)

    return replaced


@pytest.fixture
def two_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small = ["num_samples=640", "num_per_sinr=2", "sinr_db=[-12]", "out=set"]
    for interference in ("ofdm_qpsk", "emi_bursts"):
        prepare(settings("prepare", f"interference={interference}", *small))
    return tmp_path


def test_a_mixture_type_that_breaks_is_left_out(
    two_types: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def of_bursts(place: Any, job: Any) -> bool:
        return bool(job.mixtures.interference == "EMIBursts")

    monkeypatch.setattr(evaluate, "separate_alone", breaking(evaluate.separate_alone, of_bursts))
    with pytest.raises(SystemExit) as ended:
        evaluate.main(settings("evaluate", "separator=passthrough", "testset=set", "out=ours"))
    assert ended.value.code == 2
    line = (
        "QPSK_EMIBursts is left out: RuntimeError: MKL FFT error: Inconsistent configuration parameters; traceback in"
    )
    assert f"error: {line} ours.failed.log" in capsys.readouterr().err
    assert "Traceback (most recent call last)" in Path("ours.failed.log").read_text()
    scores = json.loads(Path("ours/scores.json").read_text())
    assert [row["interference"] for row in scores["results"]] == ["OFDMQPSK"]
    assert scores["missing"] == ["QPSK_EMIBursts"]


def test_a_type_whose_separator_cannot_be_made_for_a_fault_is_no_refusal(
    two_types: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_bursts(option: Any, frames: Any, testset: Any, pair: Any, *rest: Any) -> bool:
        return bool(pair[1] == "EMIBursts")

    monkeypatch.setattr(evaluate, "_job", breaking(evaluate._job, of_bursts))
    wanted = evaluate_settings(settings("evaluate", "separator=passthrough", "testset=set", "out=ours", "fitting=true"))
    assert wanted.separator is not None
    done = evaluate.separate_testset(wanted, wanted.separator, Path("set"))
    assert done == (Path("ours"), 1)
    assert len(np.load(next(Path("ours").glob("*_estimated_soi_QPSK_OFDMQPSK.npy")))) == 2
    assert not list(Path("ours").glob("*EMIBursts*"))


def test_an_entry_of_an_experiment_that_breaks_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def of_others(entry: Any, *rest: Any) -> bool:
        return bool(entry.name != "matched_filter")

    monkeypatch.setattr(compare, "compare", breaking(compare.compare, of_others))
    short = ["num_mixtures=2", "comparison.sir_db=[-12,0]", "comparison.num_samples=640"]
    config = settings("evaluate", "experiment=args/ofdm_qpsk", f"out={tmp_path}", *short)
    entries = {*config.comparison.separators, *(config.comparison.get("bounds") or {})}
    broken = entries - {"matched_filter"}
    assert 0 < len(broken) < len(entries)
    with pytest.raises(SystemExit) as ended:
        evaluate.main(config)
    assert ended.value.code == 2
    rows = {row["separator"] for row in json.loads((tmp_path / "results.json").read_text())["rows"]}
    assert rows == {"matched_filter"}
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == len(broken)
    assert (tmp_path / "failed.log").read_text().count("Traceback") == len(broken)


@pytest.mark.parametrize("error", [InputError("wrong"), FileNotFoundError("nowhere"), KeyboardInterrupt()])
def test_what_the_user_got_wrong_ends_the_command_as_ever(tmp_path: Path, error: BaseException) -> None:
    failures = Failures(tmp_path / "failed.log")
    with pytest.raises(type(error)), failures.left_out("one"):
        raise error
    assert not failures.names
    assert not failures.log.exists()
