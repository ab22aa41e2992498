"""The candidates of a learning: their errors on the same mixtures, and why others are left out."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from rfsep.app.config import errors, separator_of
from rfsep.app.learn.folder import ZOO_PREFIX, Part
from rfsep.app.learn.material import Material
from rfsep.app.learn.meter import Meter
from rfsep.app.learn.networks import FAST_S
from rfsep.app.learn.outcome import figures
from rfsep.app.learn.request import LEVELS_DB, LearnRequest, Plan
from rfsep.app.learn.work import as_errors
from rfsep.app.learn.workers import Told, Workers
from rfsep.pages.learned import Candidate
from rfsep.separators.by_level import estimated_sinr_db
from rfsep.separators.race import Range, cost, ranges, survivors
from rfsep.separators.trials import Errors
from rfsep.types import InputError

BASELINES = ("matched_filter", "lmmse")
RACE_SEED = 1
_EXACT = 1e-5  # A separator without a wrong bit and with less squared error leaves nothing for networks to learn.


def candidates() -> tuple[str, ...]:
    """Returns the separators that are tried: those of conf/separator/selected.yaml."""
    return separator_of("selected").candidates


class Learning(NamedTuple):
    """What all steps of a learning share."""

    request: LearnRequest
    material: Material
    plan: Plan
    out: Path
    workers: Workers
    meter: Meter

    def do(self, kind: str, tasks: Mapping[str, Told]) -> dict[str, Told]:
        """Does tasks of `rfsep.app.learn.work`; a reason to stop ends the learning.

        Raises:
            InputError: a disk is full, or a file cannot be read or written.
        """
        told = {
            name: {"do": kind, "request": self.request.told(), "folder": str(self.out), **task}
            for name, task in tasks.items()
        }
        answers = self.workers.do(told, self.out / "work", self.meter.done)
        for name, answer in answers.items():
            if "stop" in answer:
                (self.out / "work" / f"{name}.json").unlink()
                raise InputError(answer["stop"])
        return answers


class Race:
    """Candidates, their errors on the same mixtures, and why others are left out."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        self.parts = dict[str, Part]()
        self.errors = dict[str, Errors]()
        self.left_out = dict[str, str]()

    def first(self, parts: Mapping[str, Part]) -> None:
        """Tries candidates on the first few mixtures of each level."""
        self._try(parts, 0, self.learning.plan.first)

    def second(self) -> None:
        """Tries the better half on the other mixtures."""
        kept = survivors(self.errors, BASELINES) if self.errors else []
        if not kept:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
            raise InputError(f"no separator accepts the examples: {reasons}")
        self._try({name: self.parts[name] for name in kept}, self.learning.plan.first, self.learning.plan.all)

    def whole(self, parts: Mapping[str, Part]) -> None:
        """Tries separators on all mixtures."""
        self._try(parts, 0, self.learning.plan.all)

    def _try(self, parts: Mapping[str, Part], first: int, end: int) -> None:
        plan = self.learning.plan
        tasks = {
            f"{name if part.run is None else run_name(part.run)}-{first}-{end}": {
                "part": part._asdict(), "first": first, "end": end, "number": plan.all, "seed": RACE_SEED,
            }
            for name, part in parts.items()
        }  # fmt: skip
        answers = self.learning.do("try", tasks)
        for (name, part), answer in zip(parts.items(), answers.values(), strict=True):
            if (why := answer.get("broke") or answer.get("refused")) is not None:
                self.leave_out(name, why, broke="broke" in answer)
                continue
            found = as_errors(answer)
            self.parts[name] = part
            self.errors[name] = found if first == 0 else self.errors[name].joined(found)

    def leave_out(self, name: str, why: str, broke: bool) -> None:
        """Notes why a candidate does not go on."""
        self.left_out[name] = why
        self.errors.pop(name, None)
        if broke:
            errors.print(f"warning: {name} is left out: {why}")

    def finalists(self) -> dict[str, Errors]:
        """Returns those that were measured on all mixtures."""
        number = self.learning.plan.all
        return {name: found for name, found in self.errors.items() if found.wrong.shape[1] == number}

    def exact(self) -> bool:
        """Tells whether a separator is right everywhere, so that networks have nothing to learn."""
        return any(
            float(one.wrong.max()) == 0 and float(one.squared.max()) < _EXACT for one in self.finalists().values()
        )

    def best(self) -> str:
        """Returns the finalist of least cost."""
        found = self.finalists()
        return min(found, key=lambda name: cost(found[name]))

    def guide(self) -> str:
        """Returns the best of the finalists that are fast enough for training."""
        found = self.finalists()
        plain = [name for name in found if self.parts[name].run is None]
        fast = [name for name in plain if found[name].seconds < FAST_S]
        return min(fast, key=lambda name: cost(found[name]), default=BASELINES[0])

    def ranges(self) -> tuple[Range, ...]:
        """Returns the separator of each range of SINR."""
        levels = estimated(self.learning, RACE_SEED, self.learning.plan.all)
        return ranges(self.finalists(), LEVELS_DB, levels, BASELINES)

    def tried(self) -> list[Candidate]:
        """Returns every candidate with its figures, the best first, then those left out."""
        found = self.finalists()
        order = sorted(self.errors, key=lambda name: (name not in found, cost(self.errors[name])))
        return [
            Candidate(name, figures(name, self.errors[name], LEVELS_DB), self.errors[name].seconds, None)
            for name in order
        ] + [Candidate(name, None, None, why) for name, why in self.left_out.items()]


def estimated(learning: Learning, seed: int, number: int) -> torch.Tensor:
    """Returns the blindly estimated SINR of trial mixtures, float32 [L, number]."""
    material = learning.material
    return estimated_sinr_db(material.trials(number, seed).mixture, material.modem)


def run_name(run: str) -> str:
    """Returns the last part of a network's place.

    >>> run_name("work/runs/tuned-first"), run_name("zoo:foundation")
    ('tuned-first', 'foundation')
    """
    return Path(run).name.removeprefix(ZOO_PREFIX)
