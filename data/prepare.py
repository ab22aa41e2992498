"""Make a test set: python data/prepare.py testset soi=... interference=... out=DIR [key=value ...]."""

import hashlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from rfsep.cli import build_mixer, build_modem, console, errors, numbers, run, whole
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.storage.official import convert
from rfsep.storage.taking import among_others
from rfsep.storage.test_set import TestSetHeader, write_mixtures
from rfsep.types import InputError


def testset(config: DictConfig) -> None:
    """Write mixture/ and truth/ of one mixture type."""
    hosted = config.seed is None
    seed = secrets.randbits(62) if hosted else int(config.seed)
    modem = build_modem(config.soi)
    levels = numbers(config, "sinr_db")
    if sorted(set(levels)) != levels:
        raise InputError(f"sinr_db {levels} must rise from level to level")
    num_samples, num_per_sinr = whole(config, "num_samples"), whole(config, "num_per_sinr")
    mixer = build_mixer(config, config.split)
    if mixer.soi.sample(1, num_samples, batch_generator(Purpose.TEST)).bits.shape[1] == 0:
        raise InputError(f"soi {config.soi.name} carries no known bits, which a test set has to score")
    settings = cast("dict[str, Any]", OmegaConf.to_container(config))  # unresolved: no path of this machine
    for place in ("out", "official", "seed"):
        settings.pop(place)
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


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] != "testset":
        errors.print(f"error: unknown command '{' '.join(sys.argv[1:2])}'; choose testset")
        sys.exit(2)
    del sys.argv[1]
    run(testset, "prepare")
