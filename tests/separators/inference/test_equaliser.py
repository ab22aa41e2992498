"""The interference's fraction of a sample, found in mixtures that plain numpy made."""

import numpy as np
import pytest
import torch

from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.inference.equaliser import delays
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem

CARRIERS = np.r_[-28:0, 1:28]


def mixtures(late: float, num_samples: int, count: int = 40) -> torch.Tensor:
    """Returns OFDM that is ``late`` samples late, 18 dB above noise of a SOI's band, a sixteenth of the whole."""
    draw = np.random.default_rng(num_samples)
    rows = list[np.ndarray]()
    waves = np.exp(2j * np.pi * CARRIERS[:, None] * np.arange(-16, 64) / 64) / len(CARRIERS) ** 0.5
    for _ in range(count):
        blocks = num_samples // 80 + 40
        symbols = draw.choice([-1, 1], (blocks, 55, 2)) @ [1, 1j] / 2**0.5
        whole = (symbols @ waves).ravel()
        turn = np.exp(-2j * np.pi * late * np.fft.fftfreq(len(whole)))
        start = 1200 + draw.integers(80)
        ofdm = np.fft.ifft(np.fft.fft(whole) * turn)[start : start + num_samples]
        spectrum = np.zeros(num_samples, complex)
        inside = num_samples // 32
        spectrum[np.r_[-inside : inside + 1]] = draw.standard_normal((2 * inside + 1, 2)) @ [1, 1j]
        soi = np.fft.ifft(spectrum)
        rows.append(10**0.9 * ofdm + soi / np.sqrt(np.mean(np.abs(soi) ** 2)))
    return torch.from_numpy(np.array(rows)).to(torch.complex64)


@pytest.mark.parametrize("num_samples", [400, 1280])
def test_no_delay_is_none(num_samples: int) -> None:
    """Exactly: a filter that undoes next to nothing would cost a short window its ends."""
    separator = CyclicLmmse(LinearModem(), torch.zeros((0, 0)), OfdmModem())
    found = delays(separator._synchroniser(num_samples), mixtures(0.0, num_samples))
    assert (found == 0).all()


@pytest.mark.parametrize(("late", "num_samples"), [(0.37, 1280), (0.5, 1280), (-0.25, 640)])
def test_a_delay_is_found(late: float, num_samples: int) -> None:
    separator = CyclicLmmse(LinearModem(), torch.zeros((0, 0)), OfdmModem())
    error = delays(separator._synchroniser(num_samples), mixtures(late, num_samples)) - late
    assert (error - error.round()).abs().max() < 0.06
