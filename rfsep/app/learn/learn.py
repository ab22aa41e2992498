"""Learns the best separator for an interference: ``rfsep learn``, and ``rfsep.learn`` from Python."""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from rfsep.app.config import console, separator_of
from rfsep.app.learn.contest import BASELINES, RACE_SEED, Learning, Race, candidates, estimated, run_name
from rfsep.app.learn.folder import (
    FRAMES,
    NETWORKS,
    PAGE,
    Learned,
    Part,
    is_learned,
    open_learned,
    place_of,
    write_separator,
)
from rfsep.app.learn.material import Material, material_of
from rfsep.app.learn.meter import Meter
from rfsep.app.learn.networks import Stage, networks, ready
from rfsep.app.learn.outcome import figures, write_outcome
from rfsep.app.learn.request import LEVELS_DB, LearnRequest, plan_of
from rfsep.app.learn.work import as_errors
from rfsep.app.learn.workers import Workers
from rfsep.app.networks.runs import export
from rfsep.challenge.provenance import code_version, targets
from rfsep.pages.table import score_table
from rfsep.separators.race import Range, combined, cost, costs, doubt, ranges
from rfsep.separators.selected import in_words
from rfsep.separators.trials import Errors
from rfsep.storage.atomic import read_json, write_json
from rfsep.storage.locks import alone_in
from rfsep.storage.weights import weights_digest, write_weights
from rfsep.types import InputError

_REQUEST = "request.json"
_FIRST_STAGE = 0.15  # share of the networks' time in which all of them are tried, by choice; the best two have the rest
_STAGED_MINUTES = 4.0  # With fewer core minutes the first networks of conf/learn.yaml have all of them.
_REACH = 0.7  # by choice: a network goes on if it has at most five times the errors at some level
_FINALISTS = 2
_DOUBT = 0.05
_FINAL_SEED = 2


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
            # A process killed at the very end leaves its work behind.
            shutil.rmtree(out / "work", ignore_errors=True)
            console.print(f"{out} is finished already", markup=False, soft_wrap=True)
            return open_learned(out)
        (out / "work").mkdir(exist_ok=True)
        plan = plan_of(request.minutes)
        with Workers(processes, out / "work" / "log.txt") as workers, Meter(plan, processes) as meter:
            workers.progress = meter.part
            _learn(Learning(request, material, plan, out, workers, meter))
        shutil.rmtree(out / "work")
    return open_learned(out)


def _claim(out: Path, request: LearnRequest, material: Material) -> None:
    """Makes the folder this learning's own.

    Raises:
        InputError: it holds another learning, or other files.
    """
    own = {**request.told(), "digest": weights_digest({"frames": material.every})}
    code = code_version(["rfsep.app.learn.work", *targets([separator_of(name).method for name in candidates()])])
    place = out / _REQUEST
    if place.is_file():
        kept = read_json(place)
        begun_by = kept.pop("code", None)
        if kept != own:
            raise InputError(f"{out}: holds what was learned from another request; give another --out")
        if begun_by != code and not is_learned(out):
            raise InputError(f"{out}: was begun by another version of this code; give another --out")
    elif any(out.iterdir()):
        raise InputError(f"{out}: holds other files; give an empty or a new folder")
    else:
        write_json(place, own | {"code": code})


def _learn(learning: Learning) -> None:
    """Does all steps, and writes the result."""
    started = time.monotonic()
    names = {name: Part(name) for name in candidates()} | {name: Part("neural", run) for name, run in ready().items()}
    learning.meter.plan(len(names))
    learning.do("identify", {"identify": {}})
    race = Race(learning)
    race.first(names)
    console.print(f"{len(race.errors)} of {len(names)} candidates accept the examples", markup=False)
    race.second()
    console.print(f"the best of them: {race.best()}", markup=False)
    if not race.exact():
        _train(learning, race)
    chosen = race.ranges()
    final = _final(learning, race, chosen)
    chosen = _never_worse(learning, race, chosen, final)
    parts = _keep(learning, race, chosen)
    sent = combined(final, chosen, estimated(learning, _FINAL_SEED, learning.plan.final))
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


def _train(learning: Learning, race: Race) -> None:
    """Trains all networks for a while and the best two for the rest of the time; separators may start from the best.

    None goes on that has far more errors than the best separator so far at every level.
    """
    words = networks(race.guide())
    minutes, folder = learning.plan.core_minutes, learning.out / "work" / "runs"
    stages, share = dict[str, Stage](), 0.0
    if minutes >= _STAGED_MINUTES:
        share = _FIRST_STAGE
        reference = _lowest(race)
        stages = {
            name: Stage(name, told, folder / f"{name}-first", share * minutes / len(words), None)
            for name, told in words.items()
        }
        _train_stages(learning, race, stages)
        there = [name for name in words if name in race.errors and _within_reach(race.errors[name], reference)]
    else:
        there = list(words)
    best = sorted(there, key=lambda name: cost(race.errors[name]) if name in race.errors else 0.0)[:_FINALISTS]
    later = {
        name: Stage(name, words[name], folder / name, (1 - share) * minutes / _FINALISTS, _before(stages, name))
        for name in best
    }
    _train_stages(learning, race, later)
    _start_from_best(learning, race, list(words))


def _lowest(race: Race) -> torch.Tensor:
    """Returns the lowest cost of a finalist at each level, float64 [L]."""
    return torch.stack([costs(found) for found in race.finalists().values()]).amin(0)


def _within_reach(errors: Errors, reference: torch.Tensor) -> bool:
    """Tells whether a network that has begun to learn is not hopeless at every level."""
    return bool((costs(errors) < reference + _REACH).any())


def _before(stages: Mapping[str, Stage], name: str) -> str | None:
    return str(stages[name].folder) if name in stages else None


def _train_stages(learning: Learning, race: Race, stages: Mapping[str, Stage]) -> None:
    """Trains networks side by side, and tries each that did not break."""
    for stage in stages.values():
        console.print(f"training {stage.folder.name}: {stage.core_minutes:.2g} core minutes", markup=False)
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


def _start_from_best(learning: Learning, race: Race, names: Iterable[str]) -> None:
    """Tries the finalists that can start from another estimate again, from the best network's."""
    found = race.finalists()
    there = sorted((name for name in names if name in found), key=lambda name: cost(found[name]))
    if not there:
        return
    best = there[0]
    parts = {
        f"{name} from {best}": Part(name, None, race.parts[best].run)
        for name in candidates()
        if name in race.errors and "further" in separator_of(name).method
    }
    race.whole(parts)


def _final(learning: Learning, race: Race, chosen: Sequence[Range]) -> dict[str, Errors]:
    """Measures the chosen separators and the baselines on fresh mixtures."""
    plan = learning.plan
    names = dict.fromkeys([*(part.name for part in chosen), *(name for name in BASELINES if name in race.parts)])
    learning.meter.expect({f"final-{name}": 30.0 for name in names})
    tasks = {
        f"final-{name}": {
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
    learning: Learning, race: Race, chosen: tuple[Range, ...], final: Mapping[str, Errors]
) -> tuple[Range, ...]:
    """Returns the choice, or one from all mixtures together where a baseline beats it on the fresh ones."""
    levels = estimated(learning, _FINAL_SEED, learning.plan.final)
    sent = combined(final, chosen, levels)
    baselines = [name for name in BASELINES if name in final]
    for name in baselines:
        for level in range(len(LEVELS_DB)):
            at = torch.zeros_like(sent.wrong, dtype=torch.bool)
            at[level] = True
            if doubt(final[name], sent, at) < _DOUBT / (len(LEVELS_DB) * len(baselines)):
                before = estimated(learning, RACE_SEED, learning.plan.all)
                both = {name: race.errors[name].joined(one) for name, one in final.items()}
                return ranges(both, LEVELS_DB, torch.cat((before, levels), 1), BASELINES)
    return chosen


def _keep(learning: Learning, race: Race, chosen: Sequence[Range]) -> list[tuple[float, Part]]:
    """Writes frames and networks into the folder, the best one in any case; returns the parts of the result."""
    out = learning.out
    write_weights(out / FRAMES, {"frames": learning.material.every}, {"format": "pt"})
    kept = dict[str, str]()

    def keep(run: str | None) -> str | None:
        if run is None:
            return None
        if run not in kept:
            kept[run] = f"{NETWORKS}/{run_name(run)}"
            export(place_of(out, run), out / kept[run], "float32")
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
