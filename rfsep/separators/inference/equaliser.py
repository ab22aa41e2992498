"""Takes the channel and the fraction of a sample from an interference, so that it arrives as it was sent.

The mixture is filtered, not the model: OFDM without inter-symbol interference keeps independent blocks and small
matrices. The SOI passes the filter too, and its pulses are filtered likewise. A fraction of a sample alone leaves white
noise white; a channel with rays colours it by its inverse.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.synchronise import Synchroniser
from rfsep.signals.ofdm_modem import OfdmModem, convolved

_SIZE = 2048  # frequencies at which a channel is inverted
_REACH = 160  # taps on each side of the inverse
_LEAST = 1e-4  # A channel is inverted no further than this share of its largest power.
_STEPS = 8  # delays per sample that are compared
_UNIT = 64  # Delays are multiples of 1 / 64 sample; what is left turns the carriers, which detection fits.
_SAMPLES = 8192  # samples from which the delay is found
_LEAST_DELAY = 0.04  # A smaller delay is left to detection.


class Inverse(NamedTuple):
    """A filter.

    Attributes:
        taps: complex128 [2 lead + 1].
        lead: number of taps ahead of the one at delay 0.
    """

    taps: Tensor
    lead: int

    def __call__(self, waveform: Tensor) -> Tensor:
        """Filters waveforms complex [B, T], which are silent beyond their ends."""
        return convolved(waveform, self.taps, self.lead)

    def gain(self, size: int) -> Tensor:
        """Returns its power gain float64 [size] at frequencies as `torch.fft.fft` has them."""
        return squared(torch.fft.fft(self.taps, max(size, len(self.taps))))[:size]


def inverse(modem: OfdmModem, delay: float) -> Inverse | None:
    """Returns the filter that undoes a modem's channel and ``delay`` samples more; None where there is nothing to undo.

    It works on the turned signal, as it is received.
    """
    if modem.flat and delay == 0:
        return None
    frequency = torch.fft.fftfreq(_SIZE, dtype=torch.float64)
    response = torch.fft.fft(modem.channel, _SIZE) * _turn(frequency * modem.channel_lead)
    size = squared(response)
    wanted = response.conj() / (size + _LEAST * size.max()) * _turn(frequency * delay)
    taps = torch.fft.ifft(wanted).roll(_REACH)[: 2 * _REACH + 1]
    return Inverse(taps * _turn(modem.carrier * torch.arange(-_REACH, _REACH + 1)), _REACH)


def _turn(cycles: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles)


def delays(synchroniser: Synchroniser, mixture: Tensor) -> Tensor:
    """Returns by which fraction of a sample the interference of mixtures complex64 [B, T] is late: float64 [B].

    Blocks of the interference in a mixture behind the stationary Wiener filter have no power outside their span. It is
    least where they are cut at the right time.

    Args:
        synchroniser: for mixtures of that length, and blocks that are independent.
        mixture: complex64 [B, T].
    """
    noise = synchroniser.assumed_noise
    gain = synchroniser.first_gain(mixture)
    filtered, error = synchroniser.extracted(mixture, gain, noise)
    period, length = synchroniser.model.grid.period, mixture.shape[1]
    if length < 3 * period:
        return torch.zeros(len(mixture), dtype=torch.float64)
    start = (-synchroniser.block_costs(filtered, gain, error).argmin(1)) % period + period - 1  # a sample too early
    held = length - 2 * period
    spectrum = torch.fft.fft(filtered.to(torch.complex128), 2 * length)
    frequency = torch.fft.fftfreq(2 * length, dtype=torch.float64)
    costs = list[Tensor]()
    for step in range(_STEPS):
        late = torch.fft.ifft(spectrum * _turn(frequency * (step / _STEPS - 0.5)))[:, :length]
        aligned = late.gather(1, start[:, None] + torch.arange(held)).to(torch.complex64)
        costs.append(synchroniser.block_costs(aligned, gain, error, (0, -1, -2)))  # [B, 3]
    cost = torch.stack(costs, 2).flatten(1).double()  # [B, 3 * steps], over rising delay
    best = cost.argmin(1).clamp(1, cost.shape[1] - 2)
    left, here, right = (cost.gather(1, (best + move)[:, None])[:, 0] for move in (-1, 0, 1))
    vertex = (0.5 * (left - right) / (left + right - 2 * here).clamp_min(1e-12)).clamp(-1, 1)
    found = (best + vertex) / _STEPS - 0.5
    return found - found.round()


def coarse(delay: Tensor) -> list[float]:
    """Returns delays as multiples of 1 / 64 sample, 0 where detection copes with them."""
    return [0.0 if abs(one) < _LEAST_DELAY else round(one * _UNIT) / _UNIT for one in delay.tolist()]


def middle(mixture: Tensor) -> Tensor:
    """Returns the middle of mixtures complex64 [B, T], as long as the search for the delay needs."""
    start = max(0, mixture.shape[1] - _SAMPLES) // 2
    return mixture[:, start : start + _SAMPLES]
