"""Learns the best separator for an interference: ``rfsep learn``, and `rfsep.learn`."""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from rfsep.app.config import console, errors, separator_of
from rfsep.app.learn.folder import (
    FRAMES,
    NETWORKS,
    PAGE,
    Learned,
    Part,
    is_learned,
    open_learned,
    write_separator,
)
from rfsep.app.learn.material import Material, material_of
from rfsep.app.learn.meter import Meter
from rfsep.app.learn.networks import FAST_S, Stage, networks
from rfsep.app.learn.outcome import Tried, figures, write_outcome
from rfsep.app.learn.request import LEVELS_DB, LearnRequest, Plan, plan_of
from rfsep.app.learn.work import as_errors
from rfsep.app.learn.workers import Told, Workers
from rfsep.app.networks.runs import export
from rfsep.pages.table import score_table
from rfsep.separators.by_level import estimated_sinr_db
from rfsep.separators.race import Range, combined, cost, doubt, ranges, survivors
from rfsep.separators.selected import in_words
from rfsep.separators.trials import Errors
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.locks import alone_in
from rfsep.storage.weights import weights_digest, write_weights
from rfsep.types import InputError

BASELINES = ("matched_filter", "lmmse")
_REQUEST = "request.json"
_FIRST_STAGE = 0.4  # share of the networks' time in which all of them are tried, by choice; the best two have the rest
_FINALISTS = 2
_EXACT = 1e-5  # A separator without a wrong bit and with less squared error leaves nothing for networks to learn.
_DOUBT = 0.05
_RACE_SEED, _FINAL_SEED = 1, 2


def candidates() -> tuple[str, ...]:
    """Returns the separators that are tried: those of `selected`."""
    return separator_of("selected").candidates


class _Learning(NamedTuple):
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


def learn(request: LearnRequest, out: Path, processes: int = 2) -> Learned:
    """Learns, or goes on, and returns the opened folder.

    Args:
        request: what to learn from.
        out: folder of the result; made, or continued.
        processes: processes at a time, one thread each; the result does not depend on it.

    Raises:
        InputError: invalid input, or the folder holds something else.
    """
    request.check()
    material = material_of(request)
    with alone_in(out):
        _claim(out, request, material)
        if is_learned(out):
            console.print(f"{out} is finished already", markup=False, soft_wrap=True)
            return open_learned(out)
        (out / "work").mkdir(exist_ok=True)
        plan = plan_of(request.minutes)
        with Workers(processes, out / "work" / "log.txt") as workers, Meter(plan, processes) as meter:
            workers.progress = meter.part
            _learn(_Learning(request, material, plan, out, workers, meter))
        shutil.rmtree(out / "work")
    return open_learned(out)


def _claim(out: Path, request: LearnRequest, material: Material) -> None:
    """Makes the folder this learning's own.

    Raises:
        InputError: it holds another learning, or other files.
    """
    own = {**request.told(), "digest": weights_digest({"frames": material.every})}
    place = out / _REQUEST
    if place.is_file():
        if read_json(place) != own:
            raise InputError(f"{out}: holds what was learned from another request; give another --out")
    elif any(out.iterdir()):
        raise InputError(f"{out}: holds other files; give an empty or a new folder")
    else:
        write_json(place, own)


def _learn(learning: _Learning) -> None:
    """Does all steps, and writes the result."""
    started = time.monotonic()
    names = {name: Part(name) for name in candidates()}
    learning.meter.plan(len(names))
    learning.do("identify", {"identify": {}})
    race = _Race(learning)
    race.first(names)
    race.second()
    if not race.exact():
        _train(learning, race)
    chosen = race.ranges()
    final = _final(learning, race, chosen)
    chosen = _never_worse(learning, race, chosen, final)
    parts = _keep(learning, race, chosen)
    sent = combined(final, chosen, _estimated(learning, _FINAL_SEED, learning.plan.final))
    rows = [
        figures(name, errors, LEVELS_DB)
        for name, errors in {"learned": sent, **{name: final[name] for name in BASELINES if name in final}}.items()
    ]
    minutes = (time.monotonic() - started) / 60
    write_outcome(
        learning.out, learning.request, learning.material, race.tried(), in_words(chosen), rows, parts, minutes
    )
    # The folder counts as finished with this file.
    write_separator(learning.out, learning.request.soi, learning.material.option.name, parts)
    console.print(score_table(f"{learning.request.soi} in {learning.material.option.name}", rows))
    console.print(f"learned: {in_words(chosen)}; page: {learning.out / PAGE}", markup=False, soft_wrap=True)


class _Race:
    """Candidates, their errors on the same mixtures, and why others are left out."""

    def __init__(self, learning: _Learning) -> None:
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
            f"{name}-{first}-{end}".replace("/", "-"): {
                "part": part._asdict(), "first": first, "end": end, "number": plan.all, "seed": _RACE_SEED,
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

    def guide(self) -> str:
        """Returns the best of the finalists that are fast enough for training."""
        found = self.finalists()
        fast = [name for name in found if found[name].seconds < FAST_S] or list(BASELINES[:1])
        return min(fast, key=lambda name: cost(found[name]))

    def ranges(self) -> tuple[Range, ...]:
        """Returns the separator of each range of SINR."""
        estimated = _estimated(self.learning, _RACE_SEED, self.learning.plan.all)
        return ranges(self.finalists(), LEVELS_DB, estimated)

    def tried(self) -> list[Tried]:
        """Returns every candidate with its figures, the best first, then those left out."""
        found = self.finalists()
        order = sorted(self.errors, key=lambda name: (name not in found, cost(self.errors[name])))
        return [
            Tried(name, figures(name, self.errors[name], LEVELS_DB), self.errors[name].seconds, None) for name in order
        ] + [Tried(name, None, None, why) for name, why in self.left_out.items()]


def _estimated(learning: _Learning, seed: int, number: int) -> torch.Tensor:
    """Returns the blindly estimated SINR of trial mixtures, float32 [L, number]."""
    material = learning.material
    return estimated_sinr_db(material.trials(number, seed).mixture, material.modem)


def _train(learning: _Learning, race: _Race) -> None:
    """Trains all networks for a while, the best two for the rest of the time, and starts separators from the best."""
    words = networks(race.guide())
    minutes = learning.plan.core_minutes
    folder = learning.out / "work" / "runs"
    share = _FIRST_STAGE if len(words) > _FINALISTS else 0.0
    stages = dict[str, Stage]()
    if share:
        stages = {
            name: Stage(name, told, folder / f"{name}-first", share * minutes / len(words), None)
            for name, told in words.items()
        }
        _train_stages(learning, race, stages)
    best = sorted((name for name in words if name in race.errors or not share), key=lambda name: _cost(race, name))
    later = {
        name: Stage(name, words[name], folder / name, (1 - share) * minutes / _FINALISTS, _before(stages, name))
        for name in best[:_FINALISTS]
    }
    _train_stages(learning, race, later)
    _start_from_best(learning, race, list(words))


def _cost(race: _Race, name: str) -> float:
    return cost(race.errors[name]) if name in race.errors else 0.0


def _before(stages: Mapping[str, Stage], name: str) -> str | None:
    return str(stages[name].folder) if name in stages else None


def _train_stages(learning: _Learning, race: _Race, stages: Mapping[str, Stage]) -> None:
    """Trains networks side by side, and tries each that did not break."""
    learning.meter.expect({f"train-{stage.folder.name}": 60 * stage.core_minutes for stage in stages.values()})
    answers = learning.do(
        "train",
        {
            f"train-{stage.folder.name}": {"stage": {**stage._asdict(), "folder": str(stage.folder)}}
            for stage in stages.values()
        },
    )
    trained = dict[str, Part]()
    for (name, stage), answer in zip(stages.items(), answers.values(), strict=True):
        if (why := answer.get("broke") or answer.get("refused")) is not None:
            race.leave_out(name, why, broke="broke" in answer)
        else:
            trained[name] = Part("neural", str(stage.folder.relative_to(learning.out)))
    race.whole(trained)


def _start_from_best(learning: _Learning, race: _Race, names: Iterable[str]) -> None:
    """Tries the finalists that can start from another estimate again, from the best network's."""
    found = race.finalists()
    there = sorted((name for name in names if name in found), key=lambda name: cost(found[name]))
    if not there:
        return
    best = there[0]
    parts = {
        f"{name} from {best}": Part(name, None, race.parts[best].run)
        for name in candidates()
        if name in race.errors and "start" in separator_of(name).method
    }
    race.whole(parts)


def _final(learning: _Learning, race: _Race, chosen: Sequence[Range]) -> dict[str, Errors]:
    """Measures the chosen separators and the baselines on fresh mixtures."""
    plan = learning.plan
    names = dict.fromkeys([*(part.name for part in chosen), *(name for name in BASELINES if name in race.parts)])
    learning.meter.expect({f"final-{name}".replace("/", "-"): 30.0 for name in names})
    tasks = {
        f"final-{name}".replace("/", "-"): {
            "part": race.parts[name]._asdict(), "first": 0, "end": plan.final, "number": plan.final,
            "seed": _FINAL_SEED,
        }
        for name in names
    }  # fmt: skip
    answers = learning.do("try", tasks)
    found = {name: as_errors(answer) for name, answer in zip(names, answers.values(), strict=True) if "wrong" in answer}
    if missing := [part.name for part in chosen if part.name not in found]:
        raise InputError(f"{missing[0]} could not be measured again; the same command tries once more")
    return found


def _never_worse(
    learning: _Learning, race: _Race, chosen: tuple[Range, ...], final: Mapping[str, Errors]
) -> tuple[Range, ...]:
    """Returns the choice, or one from all mixtures together where a baseline beats it on the fresh ones."""
    estimated = _estimated(learning, _FINAL_SEED, learning.plan.final)
    sent = combined(final, chosen, estimated)
    baselines = [name for name in BASELINES if name in final]
    for name in baselines:
        for level in range(len(LEVELS_DB)):
            at = torch.zeros_like(sent.wrong, dtype=torch.bool)
            at[level] = True
            if doubt(final[name], sent, at) < _DOUBT / (len(LEVELS_DB) * len(baselines)):
                before = _estimated(learning, _RACE_SEED, learning.plan.all)
                both = {name: race.errors[name].joined(one) for name, one in final.items()}
                return ranges(both, LEVELS_DB, torch.cat((before, estimated), 1))
    return chosen


def _keep(learning: _Learning, race: _Race, chosen: Sequence[Range]) -> list[tuple[float, Part]]:
    """Writes frames and networks into the folder, the best one in any case; returns the parts of the result."""
    out = learning.out
    write_weights(out / FRAMES, {"frames": learning.material.every}, {"format": "pt"})
    kept = dict[str, str]()

    def keep(run: str | None) -> str | None:
        if run is None:
            return None
        if run not in kept:
            kept[run] = f"{NETWORKS}/{Path(run).name}"
            export(str(out / run), out / kept[run], "float32")
        return kept[run]

    found = race.finalists()
    for name in sorted((one for one in found if race.parts[one].run is not None), key=lambda one: cost(found[one]))[:1]:
        keep(race.parts[name].run)
    return [
        (
            part.from_db,
            race.parts[part.name]._replace(
                run=keep(race.parts[part.name].run), start=keep(race.parts[part.name].start)
            ),
        )
        for part in chosen
    ]
