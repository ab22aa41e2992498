"""Make a test set: python data/prepare.py testset soi=... interference=... out=DIR [key=value ...]."""

import hashlib
import secrets
import sys
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from rfsep.cli import build_modem, build_source, console, errors, run
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.storage.official import convert
from rfsep.storage.test_set import TestSetHeader, write_mixtures
from rfsep.types import InputError


def testset(config: DictConfig) -> None:
    """Write mixture/ and truth/ of one mixture type."""
    hosted = config.seed is None
    seed = secrets.randbits(62) if hosted else int(config.seed)
    modem = build_modem(config.soi)
    levels = [float(level) for level in config.sinr_db]
    if sorted(set(levels)) != levels:
        raise InputError(f"sinr_db {levels} must rise from level to level")
    if config.num_samples < 1 or config.num_per_sinr < 1:
        raise InputError(f"num_samples {config.num_samples} and num_per_sinr {config.num_per_sinr} must be positive")
    settings = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    identity = f"{seed} {OmegaConf.to_yaml(config, resolve=True)}"
    header = TestSetHeader(
        soi=config.soi.name,
        interference=config.interference.name,
        num_mixtures=len(levels) * config.num_per_sinr,
        num_samples=config.num_samples,
        num_bits_max=modem.num_bits(config.num_samples),
        sample_rate_hz=float(config.interference.sample_rate_hz),
        set_id=secrets.token_hex(16) if hosted else hashlib.sha256(identity.encode()).hexdigest()[:32],
        seed=seed,
        settings=settings,
    )
    mixer = Mixer(modem, build_source(config.interference, config.split))
    folder = Path(config.out)
    write_mixtures(folder, header, fixed_mixtures(mixer, levels, config.num_per_sinr, config.num_samples, seed))
    console.print(f"{header.num_mixtures} mixtures of {header.soi} and {header.interference} in {folder}")
    if config.official:
        convert(folder, folder / "official", header.soi, header.interference)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] != "testset":
        errors.print(f"error: unknown command '{' '.join(sys.argv[1:2])}'; choose testset")
        sys.exit(2)
    del sys.argv[1]
    run(testset, "prepare")
