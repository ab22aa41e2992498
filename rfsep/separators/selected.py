"""Chooses the best of several separators by trial mixtures of the SOI and example frames."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import mix
from rfsep.types import InputError, Modem, Separated, Separator

_SHARE = 0.75  # Candidates learn from this share of the frames while they are tried on the others.
_FLOOR = 1e-6  # Estimates whose error relative to the power is smaller are equally good.


class Trial(NamedTuple):
    """Mixtures whose SOI is known.

    Attributes:
        mixture: complex64 [B, T].
        soi: complex64 [B, T].
        num_levels: the first B / num_levels have one SINR, and so on.
    """

    mixture: Tensor
    soi: Tensor
    num_levels: int

    def error_db(self, separator: Separator) -> float:
        """Mean over levels of the squared error in dB."""
        error = (separator.separate(self.mixture).soi - self.soi).abs().square().mean(1)
        by_level = error.view(self.num_levels, -1).mean(1).clamp_min(_FLOOR)
        return float(10 * by_level.log10().mean())


class Selected:
    """Tries candidates on mixtures of the SOI with example frames that they have not seen, and keeps the best.

    A candidate that raises ``InputError``, or breaks, does not take part. The best one learns again, from all frames.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T], at least two, of unit power on average.
        candidates: by name, called with ``modem`` and ``examples``.
        sinr_db: levels of the mixtures.
        num_mixtures: mixtures per level.
        num_samples: samples per mixture; shorter frames limit it.
        seed: seed of bits, frames and phases.

    Attributes:
        chosen: name of the best candidate.
        errors_db: mean over levels of the squared error in dB, by name of the candidates that took part.
        faults: by name of the candidates that broke.

    Raises:
        InputError: fewer than two frames, frames shorter than a symbol, or no candidate enters.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        candidates: Mapping[str, Callable[..., Separator]],
        sinr_db: Sequence[float] = (-24.0, -12.0),
        num_mixtures: int = 4,
        num_samples: int = 2560,
        seed: int = 0,
    ) -> None:
        if len(examples) < 2:
            raise InputError(f"{len(examples)} example frames, but the selection of separators needs at least two")
        known = max(1, int(_SHARE * len(examples)))
        trial = _trial(modem, examples[known:], sinr_db, num_mixtures, num_samples, seed)
        self.errors_db: dict[str, float] = {}
        self.faults: dict[str, Exception] = {}
        refusals = list[str]()
        for name, make in candidates.items():
            try:
                self.errors_db[name] = trial.error_db(make(modem=modem, examples=examples[:known]))
            except InputError as error:
                refusals.append(f"{name}: {error}")
            except Exception as error:  # a fault of one candidate leaves the others
                self.faults[name] = error
                refusals.append(f"{name}: {type(error).__name__}: {error}")
        if not self.errors_db:
            raise InputError(f"no candidate can be selected: {'; '.join(refusals) or 'none is given'}")
        self.chosen = min(self.errors_db, key=self.errors_db.__getitem__)
        self._best = candidates[self.chosen](modem=modem, examples=examples)

    def separate(self, mixture: Tensor) -> Separated:
        """The best candidate's estimate complex64 [B, T] and bits uint8 [B, N]."""
        return self._best.separate(mixture)


def _trial(
    modem: Modem, frames: Tensor, sinr_db: Sequence[float], num_mixtures: int, num_samples: int, seed: int
) -> Trial:
    """Makes mixtures with random pieces of frames complex64 [F, T]."""
    generator = torch.Generator().manual_seed(seed)
    length = min(num_samples, frames.shape[1]) // modem.symbol_period * modem.symbol_period
    if length == 0:
        raise InputError(f"example frames of {frames.shape[1]} samples, but a symbol has {modem.symbol_period}")
    number = len(sinr_db) * num_mixtures
    soi = modem.sample(number, length, generator).waveform
    chosen = torch.randint(len(frames), (number,), generator=generator).tolist()
    starts = torch.randint(frames.shape[1] - length + 1, (number,), generator=generator).tolist()
    pieces = torch.stack([frames[frame, start : start + length] for frame, start in zip(chosen, starts, strict=True)])
    turns = torch.rand(number, generator=generator)
    levels = torch.tensor([float(level) for level in sinr_db]).repeat_interleave(num_mixtures)
    return Trial(mix(soi, pieces, levels, 2 * math.pi * turns).mixture, soi, len(sinr_db))
