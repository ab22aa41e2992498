"""One run in one folder: checkpoints, seeds, the stop at NaN, patience, compilation, costs."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from torch import Tensor, nn

from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.training.callbacks import cpu_seconds
from rfsep.training.curves import compare_runs, read_curves
from rfsep.training.data import MixtureData
from rfsep.training.fit import Outcome, TrainerSettings, fit
from rfsep.training.metrics_csv import MetricsCsv, read_metrics
from rfsep.training.optimisers import Optimisation, Plateau, constant
from rfsep.training.regression import Regression
from rfsep.training.start import Taken, compile_model, start_from
from rfsep.types import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore:.*torch.jit.script_method:DeprecationWarning"
)
SCHEDULE = TrainerSettings(
    max_steps=6,
    val_every=2,
    patience=None,
    precision="32-true",
    accelerator="cpu",
    devices=1,
    num_nodes=1,
    gradient_clip=1.0,
    accumulate=1,
    max_time=None,
    compile=False,
)


class Net(nn.Module):
    """A convolution and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 4, 5, padding=2)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Conv1d(4, 2, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        estimate: Tensor = self.last(self.dropout(torch.tanh(self.first(mixture))))
        return estimate


class Drifting(Regression):
    """A validation error that is told: it need not get better."""

    told = (0.0, -1.0, -0.5, -0.9, -2.0, -3.0)

    def on_validation_epoch_end(self) -> None:
        self.scores.metrics()
        self.log("val/mse_db", self.told[self.trainer.global_step // 2 - 1])


class Stalling(Regression):
    """A validation error that is told in no dB: better by a share of 1e-4 is no better."""

    told = (4.0, 5.0, 3.9997, 3.9, 3.9, 3.9)

    def on_validation_epoch_end(self) -> None:
        self.scores.metrics()
        self.log("val/mse", self.told[self.trainer.global_step // 2 - 1])
        self.log("val/mse_db", 0.0)


class Poisoned(Regression):
    """An infinite loss, or a gradient that is no number under a loss that is one, at one step."""

    def __init__(self, step: int, what: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.step, self.what = step, what

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx != self.step:
            return loss
        weight = self.model.last.bias[0]  # type: ignore[union-attr, index]
        return loss * torch.inf if self.what == "loss" else loss + ((weight - weight.detach()) ** 0.5).nan_to_num()


def data(num_workers: int = 0) -> MixtureData:
    mixer = Mixer(LinearModem(), WhiteNoise())
    return MixtureData(mixer, mixer, 4, 128, (0.0, 0.0), [0.0, -6.0], 2, num_workers, seed=3)


def run(
    folder: Path, kind: type[Regression] = Regression, workers: int = 0, extra: Any = None, **changes: Any
) -> Outcome:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"model": Net(), "optimisation": Optimisation(0.01, warmup_steps=2, max_steps=100)}
    module = kind(**arguments | (extra or {}))
    torch.manual_seed(time.monotonic_ns())  # whatever state the process has: the run's seed decides
    schedule = SCHEDULE._replace(**changes)
    return fit(module, data(workers), folder, "name: test\n", schedule, 7, 0.9, "val/mse_db", 1e3, [], in_sweep=False)


PLATEAU = {"optimisation": Optimisation(0.01, 0, 100, plateau=Plateau(factor=0.5, patience=1))}


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = checkpoint(folder)["current_model_state"]
    return state


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("steps", [2, 4, 6, 8, 10])
def test_rate_falls_where_validation_stalls_also_in_a_run_that_was_stopped(tmp_path: Path, steps: int) -> None:
    """The second validation without a better one halves it for the very next step: 5 and 3.9997 after 4, 3.9 twice.

    A run that stops at any validation, that one too, goes on to the same bits.
    """
    run(tmp_path / "whole", Stalling, extra=PLATEAU, max_steps=12)
    run(tmp_path / "parts", Stalling, extra=PLATEAU, max_steps=steps)
    rate = {2: 0.01, 4: 0.01, 6: 0.005, 8: 0.005, 10: 0.005, 12: 0.0025}
    assert rate_of(tmp_path / "parts") == pytest.approx(rate[steps])
    run(tmp_path / "parts", Stalling, extra=PLATEAU, max_steps=12)
    assert rate_of(tmp_path / "whole") == rate_of(tmp_path / "parts") == pytest.approx(rate[12])
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    for key in ("lr_schedulers", "optimizer_states"):
        assert str(checkpoint(tmp_path / "whole")[key]) == str(checkpoint(tmp_path / "parts")[key])
    assert not equal(weights(tmp_path / "whole"), weights_at_one_rate(tmp_path / "constant"))


def rate_of(folder: Path) -> float:
    rate: float = checkpoint(folder)["optimizer_states"][0]["param_groups"][0]["lr"]
    return rate


def weights_at_one_rate(folder: Path) -> dict[str, Tensor]:
    run(folder, extra={"optimisation": Optimisation(0.01, 0, 100, decay=constant)}, max_steps=12)
    return weights(folder)


def test_plateau_waits_for_the_errors_themselves(tmp_path: Path) -> None:
    """Not for decibels, of which a share of 1e-4 less is more where they are below zero."""
    run(tmp_path, extra=PLATEAU, max_steps=2)
    state = checkpoint(tmp_path)["lr_schedulers"][0]
    told = {row["metric"]: float(row["value"]) for row in read_metrics(tmp_path / "metrics.csv")}
    assert state["best"] == pytest.approx(told["val/mse"], rel=1e-5)
    assert told["val/mse"] == pytest.approx(sum(10 ** (told[f"val/mse_db/{at}"] / 10) for at in (0, -6)) / 2, rel=1e-4)
    with pytest.raises(InputError, match="plateau takes the place of decay and warm-up"):
        run(tmp_path / "both", extra={"optimisation": Optimisation(0.01, 2, 100, plateau=Plateau())})


@pytest.mark.parametrize("accumulate", [1, 3])
def test_dropout_goes_on_where_it_stopped(tmp_path: Path, accumulate: int) -> None:
    """Also with accumulation: every batch has its own seed, not every step."""
    run(tmp_path / "whole", accumulate=accumulate)
    assert run(tmp_path / "parts", accumulate=accumulate, max_steps=2) == (True, True, pytest.approx(0, abs=9))
    run(tmp_path / "parts", accumulate=accumulate)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    whole, parts = ((tmp_path / name / "metrics.csv").read_text() for name in ("whole", "parts"))
    assert whole == parts
    assert len(whole.splitlines()) > 6


def test_last_checkpoint_is_written_after_every_validation_and_best_where_it_was_best(tmp_path: Path) -> None:
    outcome = run(tmp_path, Drifting)
    assert outcome == (True, True, -1.0)
    assert (checkpoint(tmp_path)["global_step"], checkpoint(tmp_path, "best")["global_step"]) == (6, 4)
    assert run(tmp_path, Drifting) == (True, False, -1.0)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert run(moved, Drifting, max_steps=8).best_score == -1.0
    assert checkpoint(moved, "best")["global_step"] == 4


def test_patience_ends_a_run_for_good(tmp_path: Path) -> None:
    """Scores 0, -1, -0.5, -0.9: two in a row that were no better than the second."""
    for trained in (True, False):
        assert run(tmp_path, Drifting, max_steps=12, patience=2) == (True, trained, -1.0)
        assert checkpoint(tmp_path)["global_step"] == 8
    assert run(tmp_path / "longer", Drifting, max_steps=12, patience=3).best_score == -3.0


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_ends_stops_the_run_before_the_step(tmp_path: Path, what: str) -> None:
    with pytest.raises(InputError) as refusal:
        run(tmp_path, Poisoned, extra={"step": 5, "what": what}, accumulate=2, max_steps=4, val_every=1)
    path = tmp_path / "nonfinite_step2_rank0.safetensors"
    assert str(refusal.value).startswith(f"{what} is NaN or infinite at step 2; its batch is kept in {path}")
    batch = load_file(path)
    assert batch["mixture"].dtype == torch.complex64
    drawn = [next(iter(fresh(number).train_dataloader())).mixture for number in (4, 5)]
    assert torch.equal(batch["mixture"], torch.cat(drawn))  # both batches of the step
    last = checkpoint(tmp_path)
    assert last["global_step"] == 2
    assert all(bool(value.isfinite().all()) for value in last["current_model_state"].values())


def fresh(number: int) -> MixtureData:
    """Data that begin with a batch, as a resumed run would have them."""

    class At:
        global_rank, global_step, accumulate_grad_batches = 0, number, 1

    made = data()
    made.trainer = At()  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_bar_counts_steps(
    tmp_path: Path, accumulate: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is drawn on a terminal, of a run that goes on after 2 of its 6 steps: no epochs, and no batches."""
    run(tmp_path, accumulate=accumulate, max_steps=2)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    capsys.readouterr()
    run(tmp_path, accumulate=accumulate)
    drawn = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert re.search(r"Step +\S*━\S* +6/6 ", drawn), drawn
    assert "Epoch" not in drawn
    assert set(re.findall(r"Step .*? \d+/(\S+) ", drawn)) == {"6"}


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: Any) -> None:
    run(tmp_path, max_steps=2)
    before = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()

    def full(content: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left"):
        run(tmp_path, max_steps=4)
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == before
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


def test_cost_is_counted_over_calls_and_workers(tmp_path: Path) -> None:
    started = cpu_seconds()
    run(tmp_path, max_steps=2, workers=1)
    first = checkpoint(tmp_path)["facts"]
    run(tmp_path, max_steps=4, workers=1)
    second = checkpoint(tmp_path)["facts"]
    assert 0 < first["core_minutes"] < second["core_minutes"] < (cpu_seconds() - started) / 60
    assert (first["steps"], second["steps"]) == (2, 4)
    assert (first["flops"], second["flops"]) == (2e3, 4e3)


def test_cpu_time_of_a_running_worker_is_seen() -> None:
    context = torch.multiprocessing.get_context("fork")
    burnt, looked = context.Event(), context.Event()
    before, own = cpu_seconds(), time.process_time()
    worker = context.Process(target=_burn, args=(0.6, burnt, looked))
    worker.start()
    assert burnt.wait(600)
    during, own = cpu_seconds() - before, time.process_time() - own
    looked.set()
    worker.join()
    assert during > own + 0.5
    assert cpu_seconds() - before >= during


def _burn(seconds: float, burnt: Any, looked: Any) -> None:
    while time.process_time() < seconds:
        pass
    burnt.set()
    looked.wait(600)


def test_compiled_models_keep_names_and_values() -> None:
    class WithBits(Net):
        def estimate_and_logits(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
            return self(mixture), mixture.mean(1)

    model = WithBits().eval()
    names, mixture = list(model.state_dict()), torch.randn(2, 2, 64)
    expected = model.estimate_and_logits(mixture)
    with torch.compiler.set_stance("force_eager"):
        compile_model(model)
        found = model.estimate_and_logits(mixture)
    assert list(model.state_dict()) == names
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_compiled_run_has_plain_checkpoints_and_goes_on_uncompiled(tmp_path: Path) -> None:
    with torch.compiler.set_stance("force_eager"):  # the compiler itself takes 20 s
        run(tmp_path, max_steps=2, compile=True)
    assert set(weights(tmp_path)) == {f"model.{name}" for name in Net().state_dict()}
    assert run(tmp_path, max_steps=4).trained


def test_weights_of_the_same_name_and_shape_are_taken() -> None:
    model, other = Net(), Net()
    given = {**other.state_dict(), "first.weight": torch.zeros(9), "head": torch.zeros(1)}
    before = model.first.weight.clone()
    taken = start_from(model, given, "there")
    assert taken == (3, 4, ["first.weight", "head"])
    assert taken.told("there") == "3 of 4 weights from there; not taken: first.weight, head"
    many = Taken(1, 4, [f"n{number}" for number in range(7)])
    assert many.told("there") == "1 of 4 weights from there; not taken: n0, n1, n2, n3, n4 and 2 more"
    assert torch.equal(model.last.weight, other.last.weight)
    assert torch.equal(model.first.weight, before)
    with pytest.raises(InputError, match="init_from=there: none of its 1 tensors"):
        start_from(model, {"head": torch.zeros(1)}, "there")


def test_a_share_of_the_weights_is_taken_and_the_rest_stays_fresh() -> None:
    model, other = Net(), Net()
    expected = 0.4 * other.last.weight.detach() + 0.6 * model.last.weight.detach()
    start_from(model, other.state_dict(), "there", share=0.4)
    torch.testing.assert_close(model.last.weight.detach(), expected)
    for share in (0.0, 1.5):
        with pytest.raises(InputError, match=f"init_share is {share:g}"):
            start_from(model, other.state_dict(), "there", share=share)


def test_metrics_behind_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = MetricsCsv(path)
    for step in (2, 4, 5):
        first.log_metrics({"a": step / 2, "epoch": 0.0}, step=step)
    path.write_text(path.read_text() + "12,a,0.")  # killed in the middle of a line
    assert MetricsCsv(path, 5).path.read_text() == "step,metric,value\n2,a,1.0\n4,a,2.0\n"
    assert [row["value"] for row in read_metrics(path)] == ["1.0", "2.0"]
    MetricsCsv(path)
    assert read_metrics(path) == []


def test_curves_count_steps_from_one_and_compare_by_cost(tmp_path: Path, drawn: list[Figure]) -> None:
    """1,000 FLOPs per step: two runs alike lie on each other."""
    run(tmp_path / "one", Drifting)
    curve = read_curves(tmp_path / "one" / "metrics.csv")["val/mse_db"]
    assert (curve.steps, curve.values) == ([2, 4, 6], [0.0, -1.0, -0.5])
    losses, levels, *_ = drawn[-1].axes
    assert list(losses.lines[0].get_xdata()) == [1, 2, 3, 4, 5, 6]
    (together,) = [line for line in levels.lines if line.get_label() == "all levels"]
    assert (list(together.get_xdata()), list(together.get_ydata())) == ([2, 4, 6], [0.0, -1.0, -0.5])
    assert compare_runs([tmp_path / "one"] * 2, None, tmp_path / "both.png") == "val/mse_db"
    shown = [(list(line.get_xdata()), list(line.get_ydata())) for line in drawn[-1].axes[0].lines]
    assert shown == [([2e3, 4e3, 6e3], [0.0, -1.0, -0.5])] * 2
    for picture in ("one/learning.png", "both.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    for folder, metric, out, word in (
        ("one", "val/ber", "x.png", "choose one of val/mse_db"),
        ("one", None, "x.bmp", "x.bmp"),
        ("two", None, "x.png", "two"),
    ):
        with pytest.raises(InputError, match=word):
            compare_runs([tmp_path / folder], metric, tmp_path / out)
