"""Chooses the best of several separators by trial mixtures of the SOI and example frames."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from rfsep.iq import mix
from rfsep.separators.by_level import ByLevel, estimated_sinr_db
from rfsep.separators.race import Range, ranges, survivors
from rfsep.separators.trials import Errors, Trials, measure
from rfsep.types import InputError, Modem, Separated, Separator

_SHARE = 0.75  # Candidates learn from this share of the frames while they are tried on the others.
_FLOOR = 1e-6  # Estimates whose error relative to the power is smaller are equally good.
_FIRST_ROUND = 4  # The first round has this part of the mixtures; its better half goes on to all of them.


class Selected:
    """Tries candidates on mixtures of the SOI with example frames that they have not seen, and keeps the best.

    Where another one is better beyond doubt in a range of SINR, it is used there; the range is found from the mixture's
    power. A candidate that raises ``InputError``, or breaks, does not take part. Those that are kept learn again, from
    all frames. `rfsep.app.learn` does the same with networks that it trains.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T], at least two, of unit power on average.
        candidates: by name, called with ``modem`` and ``examples``.
        sinr_db: levels of the mixtures, rising.
        num_mixtures: mixtures per level.
        num_samples: samples per mixture; shorter frames limit it.
        seed: seed of bits, frames and phases.

    Attributes:
        ranges: the chosen candidate of each range of SINR.
        chosen: the same in words; the name alone where one serves all levels.
        errors_db: mean over levels of the squared error in dB, by name of the candidates that took part.
        faults: by name of the candidates that broke.

    Raises:
        InputError: fewer than two frames, frames shorter than a symbol, levels that do not rise, or no candidate
            enters.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        candidates: Mapping[str, Callable[..., Separator]],
        sinr_db: Sequence[float] = (-30.0, -24.0, -18.0, -12.0, -6.0, 0.0),
        num_mixtures: int = 8,
        num_samples: int = 2560,
        seed: int = 0,
    ) -> None:
        if len(examples) < 2:
            raise InputError(f"{len(examples)} example frames, but the selection of separators needs at least two")
        if sorted(set(sinr_db)) != list(sinr_db):
            raise InputError(f"sinr_db {list(sinr_db)} must rise from level to level")
        known = max(1, int(_SHARE * len(examples)))
        self.trials = _trials(modem, examples[known:], sinr_db, num_mixtures, num_samples, seed)
        self.faults: dict[str, Exception] = {}
        self._refusals = list[str]()
        found = self._race(modem, examples[:known], candidates, num_mixtures)
        self.ranges = ranges(found, self.trials.sinr_db, estimated_sinr_db(self.trials.mixture, modem))
        self.chosen = in_words(self.ranges)
        best = {part.name: candidates[part.name](modem=modem, examples=examples) for part in self.ranges}
        self._best = ByLevel(modem, [best[part.name] for part in self.ranges], self.ranges)

    def _race(
        self, modem: Modem, frames: Tensor, candidates: Mapping[str, Callable[..., Separator]], number: int
    ) -> dict[str, Errors]:
        """Tries all candidates on a few mixtures, and the better half on the others: their errors on all by name."""
        first = -(-number // _FIRST_ROUND)
        made, found, whole = dict[str, Separator](), dict[str, Errors](), dict[str, Errors]()
        for name, make in candidates.items():
            with self._left_out(name):
                separator = make(modem=modem, examples=frames)
                found[name] = measure(separator, self.trials.part(0, first))
                made[name] = separator
        later = self.trials.part(first, number)
        for name in survivors(found) if found else ():
            with self._left_out(name):
                whole[name] = found[name].joined(measure(made[name], later)) if first < number else found[name]
        self.errors_db = {name: _error_db(errors) for name, errors in (found | whole).items()}
        if not whole:
            raise InputError(f"no candidate can be selected: {'; '.join(self._refusals) or 'none is given'}")
        return {name: whole[name] for name in candidates if name in whole}

    @contextmanager
    def _left_out(self, name: str) -> Iterator[None]:
        """Leaves out a candidate that refuses, or breaks."""
        try:
            yield
        except InputError as error:
            self._refusals.append(f"{name}: {error}")
        except Exception as error:  # a fault of one candidate leaves the others
            self.faults[name] = error
            self._refusals.append(f"{name}: {type(error).__name__}: {error}")

    def separate(self, mixture: Tensor) -> Separated:
        """The best candidate's estimate complex64 [B, T] and bits uint8 [B, N]."""
        return self._best.separate(mixture)


def in_words(chosen: Sequence[Range]) -> str:
    """Tells which separator is used where.

    >>> in_words([Range(-math.inf, "a"), Range(-9.0, "b"), Range(-3.0, "a")])
    'a below -9 dB, b from -9 dB, a from -3 dB'
    """
    first, *others = chosen
    if not others:
        return first.name
    later = (f"{part.name} from {part.from_db:g} dB" for part in others)
    return ", ".join((f"{first.name} below {others[0].from_db:g} dB", *later))


def _error_db(errors: Errors) -> float:
    """Mean over levels of the squared error in dB."""
    return float(10 * errors.squared.mean(1).clamp_min(_FLOOR).log10().mean())


def _trials(
    modem: Modem, frames: Tensor, sinr_db: Sequence[float], num_mixtures: int, num_samples: int, seed: int
) -> Trials:
    """Makes mixtures with random pieces of frames complex64 [F, T]."""
    generator = torch.Generator().manual_seed(seed)
    length = min(num_samples, frames.shape[1]) // modem.symbol_period * modem.symbol_period
    if length == 0:
        raise InputError(f"example frames of {frames.shape[1]} samples, but a symbol has {modem.symbol_period}")
    levels, number = torch.tensor([float(level) for level in sinr_db]), len(sinr_db) * num_mixtures
    soi = modem.sample(number, length, generator)
    chosen = torch.randint(len(frames), (number,), generator=generator).tolist()
    starts = torch.randint(frames.shape[1] - length + 1, (number,), generator=generator).tolist()
    pieces = torch.stack([frames[frame, start : start + length] for frame, start in zip(chosen, starts, strict=True)])
    turns = torch.rand(number, generator=generator)
    mixture = mix(soi.waveform, pieces, levels.repeat_interleave(num_mixtures), 2 * math.pi * turns).mixture
    mixture, waveform, bits = (one.view(len(levels), num_mixtures, -1) for one in (mixture, soi.waveform, soi.bits))
    return Trials(mixture, waveform, bits, tuple(levels.tolist()))
