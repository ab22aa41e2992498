"""What is learned from: the examples, in two parts that share nothing, and mixtures of the SOI with each."""

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from rfsep.app.config import build_modem, build_soi, build_source, interference_of, options
from rfsep.app.examples import plain_name
from rfsep.app.learn.request import LEVELS_DB, LearnRequest
from rfsep.app.settings import InterferenceOption, Node
from rfsep.app.soi import described_soi
from rfsep.identification.cyclic import power_spectra
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.separators.trials import Trials
from rfsep.signals.frames import SavedFrames
from rfsep.signals.recordings import Recorded, SigmfRecordings
from rfsep.storage.captures.facts import Hints
from rfsep.storage.captures.listing import capture_paths, is_capture_name
from rfsep.storage.captures.opening import open_capture
from rfsep.storage.npy import holds_frames
from rfsep.types import InputError, Modem, SignalSource

NUM_SAMPLES = 2560  # samples per trial mixture
NUM_FRAMES, FRAME_SAMPLES = 200, 8192  # frames that separators learn from
FEWEST_SYMBOLS = 20  # symbols of a trial mixture, at least
_SHARES = (0.8, 0.2, 0.0)  # train, val, test
_UNKNOWN_HZ = 1.0  # stands for a sample rate that nobody says
_IN_BAND_DB = -20.0  # The SOI's band is where its density is above this, of the largest.


class _WithExamples(SignalSource, Recorded, Protocol):
    """A source of recorded windows."""


class Material(NamedTuple):
    """Everything that the tasks of a learning share.

    Attributes:
        option: the interference as an option of conf/interference.
        modem: the SOI's modem.
        known: frames that candidates learn from, complex64 [F, T], of unit power on average.
        every: the same of both parts, for the separator that is kept.
        mixers: of SOI and interference, of the training and of the validation part.
        num_samples: samples per trial mixture.
    """

    option: InterferenceOption
    modem: Modem
    known: Tensor
    every: Tensor
    mixers: tuple[Mixer, Mixer]
    num_samples: int

    def rate_hz(self) -> float | None:
        """Returns the sample rate; None where nobody says it."""
        return None if self.option.sample_rate_hz == _UNKNOWN_HZ else self.option.sample_rate_hz

    def trials(self, number: int, seed: int) -> Trials:
        """Returns mixtures of the validation part, ``number`` per level; those of a smaller number come first."""
        batches = [self._level(level, number, seed) for level in LEVELS_DB]
        mixture, soi, bits = (torch.stack(field) for field in zip(*batches, strict=True))
        return Trials(mixture, soi, bits, LEVELS_DB)

    def _level(self, level: float, number: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mixtures of one level, each with a random stream of its own."""
        rows = [
            self.mixers[1].draw(
                torch.full((1,), level),
                self.num_samples,
                batch_generator(Purpose.FIXED_SET, seed, round(1000 * level) & 0xFFFFFFFF, row),
            )
            for row in range(number)
        ]
        return tuple(torch.cat([getattr(row, field) for row in rows]) for field in ("mixture", "soi", "bits"))  # type: ignore[return-value]


@lru_cache(maxsize=1)
def material_of(request: LearnRequest) -> Material:
    """Reads the examples of a request.

    Raises:
        InputError: they cannot be read, are silent, too short for two parts, of several rates, or narrower than the
            SOI.
    """
    option, soi = interference(request), described_soi(request.soi)
    modem = build_modem(soi)
    if request.examples not in options("interference"):
        _check_band(request, modem)
    train, val = (cast(_WithExamples, build_source(option, split)) for split in ("train", "val"))
    known, other = (_frames(option, source) for source in (train, val))
    num_samples = min(NUM_SAMPLES, other.shape[1]) // modem.symbol_period * modem.symbol_period
    if num_samples < FEWEST_SYMBOLS * modem.symbol_period:
        raise InputError(
            f"{request.examples}: held-back stretches have {other.shape[1]} samples, and a mixture takes at least"
            f" {FEWEST_SYMBOLS * modem.symbol_period}: {FEWEST_SYMBOLS} symbols of soi {request.soi}"
        )
    length = min(known.shape[1], other.shape[1])
    every = torch.cat((known[:, :length], other[: max(1, len(known) // 4), :length]))
    mixers = (Mixer(build_soi(soi), train), Mixer(build_soi(soi), val))
    return Material(option, modem, _of_unit_power(known), _of_unit_power(every), mixers, num_samples)


def interference(request: LearnRequest) -> InterferenceOption:
    """Returns the examples as an option of conf/interference: one of its own, or one made for recordings.

    Raises:
        InputError: neither an option nor files.
    """
    name = request.examples
    if name in options("interference") or not is_capture_name(name):
        return interference_of(name)
    paths = capture_paths(name)
    source: Node = {"folder": name, "split": "${..split}", "shares": list(_SHARES)}
    if len(paths) == 1 and holds_frames(paths[0]):
        source["_target_"] = f"{SavedFrames.__module__}.SavedFrames"
    else:
        source |= {
            "_target_": f"{SigmfRecordings.__module__}.SigmfRecordings",
            "split_list": "auto",
            "guard": NUM_SAMPLES,
            "datatype": request.datatype,
            "resample": request.resample is not None,
            "sample_rate_hz": request.resample or request.sample_rate,
        }
    label, rate = plain_name(Path(name)), request.resample or _rate(request, paths[0]) or _UNKNOWN_HZ
    settings = {"name": label, "sample_rate_hz": rate, "split": "train", "source": source}
    return InterferenceOption(label, rate, True, settings)


def _rate(request: LearnRequest, path: Path) -> float | None:
    """Returns the sample rate of a recording; None where nobody says it."""
    if request.sample_rate is not None or holds_frames(path):
        return request.sample_rate
    return open_capture(path, Hints(datatype=request.datatype)).facts.sample_rate_hz


def _frames(option: InterferenceOption, source: _WithExamples) -> Tensor:
    """Frames of a source, complex64 [F, T]; no longer than its longest stretch."""
    generator = batch_generator(Purpose.EXAMPLES)
    if not option.recorded:
        return source.sample(NUM_FRAMES, FRAME_SAMPLES, generator).waveform
    longest = source.longest()
    if longest * len(source.recordings) < 2:
        raise InputError(f"{option.name}: has a single sample")
    return source.examples(NUM_FRAMES, min(FRAME_SAMPLES, longest), generator)


def _of_unit_power(frames: Tensor) -> Tensor:
    power = float(frames.abs().square().mean())
    if not 0 < power < math.inf:
        raise InputError(f"examples have power {power}: they are silent, or one long pause")
    return frames / math.sqrt(power)


def _check_band(request: LearnRequest, modem: Modem) -> None:
    """Refuses recordings whose band is narrower than the SOI's."""
    path = capture_paths(request.examples)[0]
    if request.resample is None or holds_frames(path):
        return
    if (rate := _rate(request, path)) is None:
        raise InputError(f"{path}: does not say its sample rate, which --resample needs; give --sample-rate")
    generator = torch.Generator().manual_seed(0)
    density = power_spectra(modem.sample(4, 64 * modem.symbol_period, generator).waveform).mean(0)
    width = float((density > 10 ** (_IN_BAND_DB / 10) * density.max()).double().mean()) * request.resample
    if width > rate:
        raise InputError(
            f"--resample {request.resample:g}: soi {request.soi} is then {width:.4g} Hz wide, and {path} has"
            f" {rate:.6g} samples/s: it knows no interference beyond"
        )
