"""Decimates the band of a narrow SOI, so that a window of interference has few dimensions."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rfsep.separators.inference.symbol_posterior import Response
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem

DECIMATION = 8
_CUT, NUM_TAPS, _KAISER = 0.058, 97, 7.0  # The low-pass attenuates the QPSK SOI, up to 0.047 cycles, by at most 1 dB.
FIRST_TAP = DECIMATION // 2 - 1 - NUM_TAPS // 2  # sample at which the first row's filter begins

# A SOI with more than this share of its power above 0.0625 cycles per sample, half the lower rate, is too wide.
_STOP = 0.0625
_MOST_OUTSIDE = 0.01


class Band(NamedTuple):
    """The SOI's band at a lower rate.

    Attributes:
        decimator: complex128 [Q, T].
        noise: covariance of decimated white noise of unit power, complex128 [Q, Q].
        response: decimated waveforms of the SOI's symbols, complex128 [Q, S].
    """

    decimator: Tensor
    noise: Tensor
    response: Tensor

    def decimated(self, window: Tensor) -> Tensor:
        """Returns a window complex64 [T] behind the decimator, whose zeros are left out: complex128 [Q]."""
        padded = pad(window.to(torch.complex128), (-FIRST_TAP, NUM_TAPS))
        rows = padded.unfold(0, NUM_TAPS, DECIMATION)[: len(self.decimator)]
        return rows @ low_pass().to(torch.complex128)

    def single(self) -> "Band":
        """Returns the band with noise and response complex64."""
        return self._replace(noise=self.noise.to(torch.complex64), response=self.response.to(torch.complex64))


@cache
def low_pass() -> Tensor:
    """Returns the taps of the decimator's filter, float64."""
    time = torch.arange(NUM_TAPS, dtype=torch.float64) - NUM_TAPS // 2
    taps = torch.sinc(2 * _CUT * time) * torch.kaiser_window(NUM_TAPS, False, _KAISER, dtype=torch.float64)
    return taps / taps.sum()


def make_band(response: Response) -> Band:
    """Returns the band of windows whose SOI has this response."""
    num_samples = len(response.waveforms)
    row = torch.arange(num_samples // DECIMATION) * DECIMATION + FIRST_TAP
    tap = torch.arange(num_samples) - row[:, None]  # [Q, T]
    inside = (tap >= 0) & (tap < NUM_TAPS)
    rows = torch.where(inside, low_pass()[tap.clamp(0, NUM_TAPS - 1)], 0.0).to(torch.complex128)
    return Band(rows, rows @ rows.mH, rows @ response.waveforms)


def fits_band(modem: Modem) -> bool:
    """Tells whether a SOI is narrow enough for the decimated band."""
    lags = modem_autocorrelation(modem, 256)
    spectrum = torch.fft.fft(torch.cat((lags, lags[1:].flip(0).conj()))).real
    outside = torch.fft.fftfreq(len(spectrum)).abs() > _STOP
    return bool(spectrum[outside].sum() < _MOST_OUTSIDE * spectrum.sum())
