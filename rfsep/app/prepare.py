"""Makes test sets: ``python data/prepare.py testset``, or ``rfsep prepare testset``."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from omegaconf import DictConfig

from rfsep.app.channels import written_channel
from rfsep.app.config import (
    NotNamedError,
    build_mixer,
    build_modem,
    build_source,
    channel_of,
    console,
    interference_of,
    one_line,
    plain,
    soi_of,
)
from rfsep.app.doors import prepare_settings, share, with_sources
from rfsep.app.settings import InterferenceOption, PrepareSettings
from rfsep.mixtures.duty import LinkedOnAir, OnAir
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.signals.channels.through import LinkedSource, Noted
from rfsep.signals.recordings import Recorded, check_apart
from rfsep.storage.locks import among_others
from rfsep.storage.mixture_files import SET, check_name
from rfsep.storage.official import convert
from rfsep.storage.test_set import Drawn, TestSetHeader, is_written, write_mixtures
from rfsep.types import InputError

# Recordings of these splits may not be in a test set.
_TRAINING = ("train", "val")


def main(config: DictConfig) -> None:
    """Writes mixture/ and truth/ of one mixture type, or of several."""
    if config.types is None:
        write_type(prepare_settings(config))
        return
    for one in mixture_types(config):
        pair = (one.mixing.soi.name, one.mixing.interference.name)
        if is_written(one.out, *pair, one.identity, one.seed):
            console.print(f"{'_'.join(pair)}: kept, it has these settings")
        else:
            write_type(one)


def mixture_types(config: DictConfig) -> Iterator[PrepareSettings]:
    """Yields the settings of each type: every SOI with every interference, from each line the first one available.

    Raises:
        InputError: no alternative is available, or ``types`` holds something other than names.
    """
    sois, slots = listed(config, "soi"), listed(config, "interference")
    usual = prepare_settings(config)
    wanted = [[wish_of(one, usual.duty) for one in (slot if isinstance(slot, list) else [slot])] for slot in slots]
    for key, names in (("soi", sois), ("interference", [wish.name for slot in wanted for wish in slot])):
        if config[key].get("channel") and (named := [name for name in names if "@" in str(name)]):
            raise InputError(f"types names {named[0]} with a channel, and channel@{key}.channel another; give one")
    # Check this before the work.
    chosen = [first_here(usual, wishes) for wishes in wanted]
    for soi in sois:
        for interference, duty in chosen:
            one = with_sources(config, soi_of(str(soi)).settings, interference.settings)
            one.duty = duty
            yield prepare_settings(one)


class Wish(NamedTuple):
    """An interference that ``types`` names, and the least share of each window in which it is on."""

    name: str
    duty: float


def wish_of(entry: object, duty: float) -> Wish:
    """Reads an entry of ``types``: NAME, with the usual ``duty``, or {name: NAME, duty: SHARE}.

    Raises:
        InputError: it is neither.
    """
    if not isinstance(entry, dict):
        return Wish(str(entry), duty)
    if entry.keys() != {"name", "duty"}:
        raise InputError(f"types names {entry}, expected NAME or {{name: NAME, duty: SHARE}}")
    return Wish(str(entry["name"]), share(entry["duty"], f"duty of {entry['name']}"))


def listed(config: DictConfig, key: str) -> list[Any]:
    """Returns the entries of ``types`` under a key."""
    types = plain(config.types)
    names = types.get(key) if isinstance(types, dict) else None
    if not isinstance(names, list) or not names:
        raise InputError(f"types is {types}, expected {{soi: [NAME, ...], interference: [NAME or [NAME, ...], ...]}}")
    return names


def first_here(settings: PrepareSettings, wishes: list[Wish]) -> tuple[InterferenceOption, float]:
    """Returns the first interference without recordings or with a named folder, and its duty; tells why not others.

    Raises:
        InputError: none is available, or the recordings in a named folder are incomplete; nothing replaces those.
    """
    refusals = []
    for name, duty in wishes:
        found = interference_of(name)
        try:
            check_whole(settings, found)
        except NotNamedError as error:
            refusals.append(f"{name}: {one_line(error)}")
            continue
        for refusal in refusals:
            console.print(f"{name} stands for {refusal}")
        return found, duty
    raise InputError(f"no interference of {', '.join(wish.name for wish in wishes)} is here; {'; '.join(refusals)}")


def check_whole(settings: PrepareSettings, interference: InterferenceOption) -> None:
    """Draws once from an interference, and from every split of recordings, to find missing files before the work.

    Raises:
        NotNamedError: no environment variable names the recordings.
        InputError: a file is missing or damaged, or those of the split are too short.
    """
    lengths = dict.fromkeys(_TRAINING, 1) if interference.recorded else {}
    for split, length in {**lengths, settings.split: settings.num_samples}.items():
        build_source(interference, split).sample(1, length, batch_generator(Purpose.TEST))


def check_recordings(settings: PrepareSettings) -> None:
    """Refuses test sets with recordings that networks train on.

    Raises:
        InputError: the split is for training, or shares a recording with one that is.
    """
    interference, split = settings.mixing.interference, settings.split
    if not interference.recorded:
        return
    if split in _TRAINING:
        raise InputError(f"split={split} is for training, and nothing of it may stand in a test set")
    sources = {one: cast(Recorded, build_source(interference, one)) for one in (split, *_TRAINING)}
    check_apart(sources.pop(split), sources)


def keep_on_air(settings: PrepareSettings, mixer: Mixer) -> None:
    """Makes the mixer take windows alone in which the interference is on for the share ``duty``."""
    name, duty = settings.mixing.interference.name, settings.duty
    if settings.mixing.interference.settings.get("channel"):
        mixer.interference = LinkedOnAir(cast(LinkedSource, mixer.interference), duty, name)
    else:
        mixer.interference = OnAir(mixer.interference, duty, name)


def note_channels(settings: PrepareSettings, mixer: Mixer) -> dict[str, Noted]:
    """Makes the mixer's sources that have a ``channel`` keep what they draw, and returns them: soi, interference."""
    noted = {}
    if settings.mixing.soi.settings.get("channel"):
        mixer.soi = noted["soi"] = Noted(cast(LinkedSource, mixer.soi))
    if settings.mixing.interference.settings.get("channel"):
        mixer.interference = noted["interference"] = Noted(cast(LinkedSource, mixer.interference))
    return noted


def write_type(settings: PrepareSettings) -> None:
    """Writes mixture/ and truth/ of one mixture type."""
    # Submissions bear this name, so it is checked before the work.
    check_name(settings.out, "test set", settings.out.resolve().name, SET)
    check_recordings(settings)
    hosted = settings.seed is None
    seed = secrets.randbits(62) if settings.seed is None else settings.seed
    soi, interference = settings.mixing.soi, settings.mixing.interference
    mixer, num_samples = build_mixer(settings.mixing, settings.split), settings.num_samples
    if settings.duty > 0:
        keep_on_air(settings, mixer)
    if mixer.draw(torch.zeros(1), num_samples, batch_generator(Purpose.TEST)).bits.shape[1] == 0:
        raise InputError(f"soi {soi.name} carries no known bits, which a test set has to score")
    identity = json.dumps([seed, settings.identity], sort_keys=True)
    channels = {
        f"{key}_channel": Drawn(source.columns(), source.table)
        for key, source in note_channels(settings, mixer).items()
    }
    header = TestSetHeader(
        soi=soi.name,
        interference=interference.name,
        num_mixtures=len(settings.sinr_db) * settings.num_per_sinr,
        num_samples=num_samples,
        num_bits_max=build_modem(soi).num_bits(num_samples),
        sample_rate_hz=interference.sample_rate_hz,
        set_id=secrets.token_hex(16) if hosted else hashlib.sha256(identity.encode()).hexdigest()[:32],
        seed=seed,
        settings=settings.identity,
        soi_channel=written_channel(channel_of(soi.settings)),
        interference_channel=written_channel(channel_of(interference.settings)),
        duty=settings.duty,
    )
    folder = settings.out
    # Another process may write another type at the same time.
    with among_others(folder / "mixture", folder / "truth"):
        mixtures = fixed_mixtures(mixer, settings.sinr_db, settings.num_per_sinr, num_samples, seed)
        write_mixtures(folder, header, mixtures, channels)
    console.print(f"{header.num_mixtures} mixtures of {header.soi} and {header.interference} in {folder}")
    if settings.official:
        with among_others(folder / "official"):
            convert(folder, folder / "official", header.soi, header.interference)
