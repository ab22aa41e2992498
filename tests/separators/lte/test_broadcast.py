"""The broadcast channel beneath a SOI: detected where it is, and left alone where it is not."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.separators.inference.band import make_band
from rfsep.separators.inference.symbol_posterior import make_response
from rfsep.separators.lte.broadcast import broadcast
from rfsep.separators.lte.cell_symbols import Pilots
from rfsep.signals.linear_modem import LinearModem

MODEM = LinearModem()
NUM_SAMPLES, START, CELL = 2560, 700, 7
BAND = make_band(make_response(MODEM, NUM_SAMPLES, whole=True))
FOUND = Pilots(CELL, 1, 0, 0, 0.0, START - 2 * 1370, 100, 10.0)  # so that symbol 2 of slot 1 begins at START


def third_symbol(gains: np.ndarray, draw: np.random.Generator) -> Tensor:
    """Returns symbol 2 of the broadcast channel from one or two ports with flat gains, in plain numpy: [T]."""
    values = (draw.choice([-1, 1], 72) + 1j * draw.choice([-1, 1], 72)) / 2**0.5
    if len(gains) == 2:
        other = np.empty(72, complex)
        other[0::2], other[1::2] = -values[1::2].conj(), values[0::2].conj()
        values = (gains[0] * values + gains[1] * other) / 2**0.5
    else:
        values = gains[0] * values
    spectrum = np.zeros(1280, complex)
    spectrum[np.r_[-36:0, 1:37]] = values
    body = np.fft.ifft(spectrum) * 1280**0.5
    waveform = np.zeros(NUM_SAMPLES, complex)
    waveform[START - 90 : START + 1280] = np.r_[body[-90:], body]
    return torch.from_numpy(waveform).to(torch.complex64)


def flat(gains: np.ndarray) -> Tensor:
    """Returns taps of two ports without delay, complex64 [2, 36]."""
    taps = torch.zeros(2, 36, dtype=torch.complex64)
    taps[: len(gains), 8] = torch.from_numpy(gains).to(torch.complex64)
    return taps


@pytest.mark.parametrize("gains", [np.array([12 * np.exp(0.4j)]), np.array([12, 9j])])
def test_channel_is_detected_beneath_the_soi(gains: np.ndarray) -> None:
    """The phase has turned since the pilots, as a carrier offset turns it."""
    sent = third_symbol(gains, np.random.default_rng(1))
    soi = MODEM.sample(1, NUM_SAMPLES, torch.Generator().manual_seed(1)).waveform[0]
    found = broadcast(soi + sent, BAND, FOUND, flat(gains * np.exp(0.9j)))
    assert (found - sent).abs().square().sum() < 0.03 * sent.abs().square().sum()


def test_nothing_is_found_where_nothing_is() -> None:
    soi = MODEM.sample(1, NUM_SAMPLES, torch.Generator().manual_seed(2)).waveform[0]
    assert not broadcast(soi, BAND, FOUND, flat(np.array([12.0]))).any()
    elsewhere = FOUND._replace(slot=3)
    sent = third_symbol(np.array([12.0]), np.random.default_rng(3))
    assert not broadcast(soi + sent, BAND, elsewhere, flat(np.array([12.0]))).any()
