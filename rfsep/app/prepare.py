"""Makes test sets: ``python data/prepare.py testset``, or ``rfsep prepare testset``."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from rfsep.app.config import (
    NotNamedError,
    build_mixer,
    build_modem,
    build_source,
    console,
    numbers,
    one_line,
    option,
    plain,
    whole,
)
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.signals.recordings import Recorded, check_apart
from rfsep.storage.locks import among_others
from rfsep.storage.official import convert
from rfsep.storage.test_set import TestSetHeader, is_written, write_mixtures
from rfsep.types import InputError

_TRAINING = ("train", "val")  # splits whose recordings may not stand in a test set


def main(config: DictConfig) -> None:
    """Write mixture/ and truth/ of one mixture type, or of several."""
    if config.types is None:
        write_type(config)
        return
    for one in mixture_types(config):
        pair = (str(one.soi.name), str(one.interference.name))
        seed = None if one.seed is None else int(one.seed)
        if is_written(Path(str(one.out)), *pair, settings_of(one), seed):
            console.print(f"{'_'.join(pair)}: kept, it has these settings")
        else:
            write_type(one)


def mixture_types(config: DictConfig) -> Iterator[DictConfig]:
    """The config of each type: every SOI with every interference, of each line the first one here.

    Raises:
        InputError: no alternative is here, or something else than names.
    """
    sois, slots = listed(config, "soi"), listed(config, "interference")
    wanted = [slot if isinstance(slot, list) else [slot] for slot in slots]
    chosen = [first_here(config, [str(name) for name in names]) for names in wanted]  # before the work
    for soi in sois:
        for interference in chosen:
            one = config.copy()
            one.soi, one.interference = option("soi", str(soi)), interference
            yield one


def listed(config: DictConfig, key: str) -> list[Any]:
    """What ``types`` has under a key."""
    types = plain(config.types)
    names = types.get(key) if isinstance(types, dict) else None
    if not isinstance(names, list) or not names:
        raise InputError(f"types is {types}, expected {{soi: [NAME, ...], interference: [NAME or [NAME, ...], ...]}}")
    return names


def first_here(config: DictConfig, names: list[str]) -> DictConfig:
    """The first interference that needs no recordings, or whose folder is named; says why those before it are not.

    Raises:
        InputError: none is here; recordings whose folder is named, and that are not whole: nothing stands for them.
    """
    refusals = []
    for name in names:
        found = option("interference", name)
        try:
            check_whole(config, found)
        except NotNamedError as error:
            refusals.append(f"{name}: {one_line(error)}")
            continue
        for refusal in refusals:
            console.print(f"{name} stands for {refusal}")
        return found
    raise InputError(f"no interference of {', '.join(names)} is here; {'; '.join(refusals)}")


def check_whole(config: DictConfig, interference: DictConfig) -> None:
    """Draw from an interference, and from every split of recordings: a missing file is found before the work.

    Raises:
        NotNamedError: no variable names them.
        InputError: a file is missing or damaged, or those of the split are too short.
    """
    lengths = dict.fromkeys(_TRAINING, 1) if "split" in interference else {}
    for split, length in {**lengths, str(config.split): whole(config, "num_samples")}.items():
        build_source(interference, split).sample(1, length, batch_generator(Purpose.TEST))


def settings_of(config: DictConfig) -> dict[str, Any]:
    """What a mixture type follows from beside its seed; unresolved: no path of this machine."""
    settings = cast("dict[str, Any]", OmegaConf.to_container(config))
    for place in ("out", "official", "seed", "types"):
        settings.pop(place)
    return settings


def check_recordings(config: DictConfig) -> None:
    """Make sure that what is trained on stands in no test set.

    Raises:
        InputError: the split is one to train on, or shares a recording with one.
    """
    if "split" not in config.interference:  # a synthetic source
        return
    if config.split in _TRAINING:
        raise InputError(f"split={config.split} is for training, and nothing of it may stand in a test set")
    sources = {split: cast(Recorded, build_source(config.interference, split)) for split in (config.split, *_TRAINING)}
    check_apart(sources.pop(config.split), sources)


def write_type(config: DictConfig) -> None:
    """Write mixture/ and truth/ of one mixture type."""
    check_recordings(config)
    hosted = config.seed is None
    seed = secrets.randbits(62) if hosted else int(config.seed)
    modem = build_modem(config.soi)
    levels = numbers(config, "sinr_db")
    if sorted(set(levels)) != levels:
        raise InputError(f"sinr_db {levels} must rise from level to level")
    num_samples, num_per_sinr = whole(config, "num_samples"), whole(config, "num_per_sinr")
    mixer = build_mixer(config, config.split)
    if mixer.draw(torch.zeros(1), num_samples, batch_generator(Purpose.TEST)).bits.shape[1] == 0:
        raise InputError(f"soi {config.soi.name} carries no known bits, which a test set has to score")
    settings = settings_of(config)
    identity = json.dumps([seed, settings], sort_keys=True)
    header = TestSetHeader(
        soi=config.soi.name,
        interference=config.interference.name,
        num_mixtures=len(levels) * num_per_sinr,
        num_samples=num_samples,
        num_bits_max=modem.num_bits(num_samples),
        sample_rate_hz=float(config.interference.sample_rate_hz),
        set_id=secrets.token_hex(16) if hosted else hashlib.sha256(identity.encode()).hexdigest()[:32],
        seed=seed,
        settings=settings,
    )
    folder = Path(str(config.out))
    with among_others(folder / "mixture", folder / "truth"):  # of another type, at the same time
        write_mixtures(folder, header, fixed_mixtures(mixer, levels, num_per_sinr, num_samples, seed))
    console.print(f"{header.num_mixtures} mixtures of {header.soi} and {header.interference} in {folder}")
    if config.official:
        with among_others(folder / "official"):
            convert(folder, folder / "official", header.soi, header.interference)
