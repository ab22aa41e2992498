"""The tasks of a learning, as a worker process does them: identify, try a separator, train a network."""

import io
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from rfsep.app.config import one_line
from rfsep.app.identify import lines
from rfsep.app.learn.folder import PICTURE, Part, make_part
from rfsep.app.learn.material import Material, material_of
from rfsep.app.learn.networks import Stage, train_stage
from rfsep.app.learn.request import LearnRequest
from rfsep.identification.identify import identify
from rfsep.pages.studies.identify import draw
from rfsep.separators.trials import Errors, Trials, measure
from rfsep.storage.atomic import staged
from rfsep.types import InputError, Separator

SLOW_S = 1.0  # A separator that takes more processor seconds per mixture is left out.
Progress = Callable[[float], None]
Answer = dict[str, Any]


def do(task: dict[str, Any], progress: Progress) -> Answer:
    """Does one task; its errors are part of the answer.

    Args:
        task: ``do``: one of `_TASKS`; ``request``; and the task's own arguments.
        progress: called with the share that is done.

    Returns:
        What the task gives; or ``refused``, ``broke``, or ``stop`` where the whole learning has to stop, each with one
        line.
    """
    try:
        return _TASKS[task["do"]](task, material_of(LearnRequest(**task["request"])), progress)
    except InputError as error:
        return {"stop" if isinstance(error.__cause__, OSError) else "refused": one_line(error)}
    except OSError as error:
        return {"stop": one_line(error)}
    except Exception as error:  # The others go on.
        cause = error.__cause__
        if isinstance(cause, InputError):
            return {"refused": one_line(cause)}
        return {"broke": f"{type(error).__name__}: {one_line(error)}", "trace": traceback.format_exc()}


def _identify(task: dict[str, Any], material: Material, progress: Progress) -> Answer:
    found = identify(material.known)
    picture, rate = io.BytesIO(), material.rate_hz()
    draw(material.known, found, material.option.name, rate).savefig(picture, format="png", dpi=110)
    with staged(Path(task["folder"], "work", PICTURE)) as (image,):
        image.write_bytes(picture.getvalue())
    return {"lines": lines(found)}


@lru_cache(maxsize=16)
def _made(request: LearnRequest, part: Part, folder: Path) -> Separator:
    material = material_of(request)
    return make_part(part, material.modem, material.known, folder)


@lru_cache(maxsize=2)
def _trials(request: LearnRequest, number: int, seed: int) -> Trials:
    return material_of(request).trials(number, seed)


def _try(task: dict[str, Any], material: Material, progress: Progress) -> Answer:
    """Measures a separator on mixtures ``first`` to ``end`` of each level, of ``number`` with a seed."""
    request = LearnRequest(**task["request"])
    separator = _made(request, Part(**task["part"]), Path(task["folder"]))
    trials = _trials(request, task["number"], task["seed"])
    if task["first"] == 0:
        with_warm_up = measure(separator, _few(trials))
        seconds = min(with_warm_up.seconds, measure(separator, _few(trials)).seconds)
        if seconds > SLOW_S * material.num_samples / 2560:
            return {"refused": f"takes {seconds:.2g} s per mixture, more than {SLOW_S:g} s"}
    return as_told(measure(separator, trials.part(task["first"], task["end"])))


def _few(trials: Trials) -> Trials:
    """One mixture of the lowest level."""
    return Trials(trials.mixture[:1, :1], trials.soi[:1, :1], trials.bits[:1, :1], trials.sinr_db[:1])


def as_told(errors: Errors) -> Answer:
    """Returns errors as JSON holds them."""
    return {**errors._asdict(), "wrong": errors.wrong.tolist(), "squared": errors.squared.tolist()}


def as_errors(answer: Answer) -> Errors:
    """Returns errors from JSON."""
    wrong, squared = (torch.tensor(answer[key], dtype=torch.float64) for key in ("wrong", "squared"))
    return Errors(wrong, squared, int(answer["num_bits"]), float(answer["seconds"]))


def _train(task: dict[str, Any], material: Material, progress: Progress) -> Answer:
    content = task["stage"]
    stage = Stage(**{**content, "words": tuple(content["words"]), "folder": Path(content["folder"])})
    return train_stage(LearnRequest(**task["request"]), material, stage, progress)


_TASKS: dict[str, Callable[[dict[str, Any], Material, Progress], Answer]] = {
    "identify": _identify,
    "try": _try,
    "train": _train,
}
