"""Detection in pulses made with plain numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.varying.varying_lmmse import VaryingLmmse
from rfsep.signals.linear_modem import LinearModem
from rfsep.types import InputError, Modem, Separator


def keyed_carrier(rng: np.random.Generator, num_frames: int, length: int) -> Tensor:
    """On-off keying, 5 samples per chip, near the SOI's centre, with bursts and a little noise: complex64 [F, T]."""
    chips = rng.integers(0, 2, (num_frames, length // 5 + 1)).repeat(5, 1)[:, :length]
    bursts = (rng.random((num_frames, length // 200 + 1)) < 0.7).repeat(200, 1)[:, :length]
    phase = 2 * np.pi * (0.02 * np.arange(length) + rng.random((num_frames, 1)))
    return _unit(chips * bursts * np.exp(1j * phase) + 0.02 * _noise(rng, (num_frames, length)))


def impulses(rng: np.random.Generator, num_frames: int, length: int) -> Tensor:
    """Middleton class A noise: one sample in ten is 30 dB stronger."""
    strong = rng.random((num_frames, length)) < 0.1
    return _unit(_noise(rng, (num_frames, length)) * np.where(strong, 31.6, 1.0))


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.complex128]:
    noise: NDArray[np.complex128] = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)
    return noise


def _unit(waveform: NDArray[np.complex128]) -> Tensor:
    return torch.from_numpy((waveform / np.sqrt(np.mean(np.abs(waveform) ** 2))).astype(np.complex64))


def errors(separator: Separator, modem: Modem, interference: Tensor, sinr_db: float) -> float:
    """Bit error rate at one level."""
    soi = modem.sample(len(interference), interference.shape[1], torch.Generator().manual_seed(5))
    found = separator.separate(soi.waveform + 10 ** (-sinr_db / 20) * interference)
    return float((found.bits != soi.bits).double().mean())


def test_a_keyed_carrier_hides_one_dimension_only() -> None:
    rng = np.random.default_rng(0)
    modem = LinearModem()
    examples, interference = keyed_carrier(rng, 8, 4000), keyed_carrier(rng, 8, 1600)
    varying = VaryingLmmse(modem, examples)
    assert varying.model.turning is not None
    assert varying.model.turning.one_sided
    assert abs(varying.model.turning.offset - 2 * np.pi * 0.02) < 0.003
    assert errors(varying, modem, interference, -24) < 0.01
    assert errors(Lmmse(modem, examples), modem, interference, -24) > 0.2


def test_impulses_are_found() -> None:
    rng = np.random.default_rng(1)
    modem = LinearModem()
    examples, interference = impulses(rng, 8, 4000), impulses(rng, 8, 1600)
    varying = VaryingLmmse(modem, examples)
    assert varying.model.turning is None
    assert errors(varying, modem, interference, -12) < 0.01
    assert errors(MatchedFilter(modem, examples), modem, interference, -12) > 0.1


def test_longer_mixtures_are_cut_into_windows() -> None:
    rng = np.random.default_rng(2)
    modem = LinearModem("qam16", samples_per_symbol=8)
    examples, interference = keyed_carrier(rng, 8, 4000), keyed_carrier(rng, 2, 1500)
    whole, cut = (VaryingLmmse(modem, examples, block=block) for block in (2560, 640))
    assert errors(whole, modem, interference, -6) < 0.02
    assert errors(cut, modem, interference, -6) < 0.02


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        (torch.zeros((4, 4096), dtype=torch.complex64), "nothing but zeros"),
        (torch.ones((1, 32), dtype=torch.complex64), "too few"),
        (torch.full((4, 4096), torch.nan, dtype=torch.complex64), "NaN"),
    ],
)
def test_unsuitable_examples_are_refused(examples: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        VaryingLmmse(LinearModem(), examples)
