"""Takes the channel and the fraction of a sample from an interference, so that it arrives as it was sent.

The mixture is filtered, not the model: OFDM without inter-symbol interference keeps independent blocks and small
matrices. The SOI passes the filter too, and its pulses are filtered likewise. A fraction of a sample alone leaves white
noise white; a channel with rays colours it by its inverse.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.synchronise import Synchroniser
from rfsep.separators.windows import check_finite
from rfsep.signals.ofdm_modem import OfdmModem, filtered, turned

_SIZE = 2048  # frequencies at which a channel is inverted
_REACH = 160  # taps on each side of the inverse
_LEAST = 1e-4  # A channel is inverted no further than this share of its largest power.
_STEPS = 8  # delays per sample that are compared
_UNIT = 64  # Delays are multiples of 1 / 64 sample; what is left turns the carriers, which detection fits.
_SAMPLES = 8192  # samples from which the delay is found
_LEAST_DELAY = 0.04  # A smaller delay is left to detection.
_EVIDENCE = 8.0  # nats by which a delay has to be likelier than none; a filter harms the ends of a short window


class Inverse:
    """The filter that undoes a modem's channel and a delay, on the turned signal as it is received.

    Args:
        modem: the interference's.
        delay: samples beyond the modem's.
    """

    lead = _REACH

    def __init__(self, modem: OfdmModem, delay: float) -> None:
        self._carrier = modem.carrier
        grid = torch.fft.fftfreq(_SIZE, dtype=torch.float64)
        late = modem.delay + delay
        response = modem.response(grid) * _turn(grid * modem.delay)  # The taps alone have a smooth response.
        size = squared(response)
        taps = torch.fft.ifft(response.conj() / (size + _LEAST * size.max())).roll(_REACH)[: 2 * _REACH + 1]
        self._response = modem.received(0.0, [complex(tap) for tap in taps.tolist()], _REACH, -late).response

    def __call__(self, waveform: Tensor) -> Tensor:
        """Filters waveforms complex [B, T], which are silent beyond their ends."""
        return turned(filtered(turned(waveform, -self._carrier), self._response, 2 * _REACH), self._carrier)

    def gain(self, size: int) -> Tensor:
        """Returns its power gain float64 [size] at frequencies as ``torch.fft.fft`` has them."""
        frequency = torch.fft.fftfreq(size, dtype=torch.float64) - self._carrier
        return squared(self._response(frequency - frequency.round()))


def inverse(modem: OfdmModem, delay: float) -> Inverse | None:
    """Returns the filter that undoes a modem's channel and ``delay`` samples more; None where there is none."""
    return None if modem.flat and delay == 0 else Inverse(modem, delay)


def _turn(cycles: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles)


def delays(synchroniser: Synchroniser, mixture: Tensor) -> Tensor:
    """Returns by which fraction of a sample the interference of mixtures complex64 [B, T] is late: float64 [B].

    Blocks of the interference in a mixture behind the stationary Wiener filter have no power outside their span. It is
    least where they are cut at the right time. Without evidence for a delay, as in a short window, it is 0.

    Args:
        synchroniser: for mixtures of that length, and blocks that are independent.
        mixture: complex64 [B, T].
    """
    noise = synchroniser.assumed_noise
    gain = synchroniser.first_gain(mixture)
    extracted, error = synchroniser.extracted(mixture, gain, noise)
    period, length = synchroniser.model.grid.period, mixture.shape[1]
    if length < 3 * period:
        return torch.zeros(len(mixture), dtype=torch.float64)
    start = (-synchroniser.block_costs(extracted, gain, error).argmin(1)) % period + period - 1  # a sample too early
    held = length - 2 * period
    spectrum = torch.fft.fft(extracted.to(torch.complex128), 2 * length)
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
    whole = cost[:, _STEPS // 2 :: _STEPS].amin(1)  # the best start without a delay
    likelier = (whole - cost.amin(1)) * (held // period)
    return torch.where(likelier > _EVIDENCE, found - found.round(), 0.0)


class AsSent(NamedTuple):
    """Mixtures without the channel and the delay of their interference.

    Attributes:
        rows: int64 [n], which mixtures.
        mixture: complex64 [n, T].
        delay: samples by which the interference was late beyond its modem's delay.
    """

    rows: Tensor
    mixture: Tensor
    delay: float


def as_sent(received: OfdmModem, synchroniser: Callable[[int], Synchroniser], mixture: Tensor) -> list[AsSent]:
    """Filters mixtures complex64 [B, T] so that the interference has neither channel nor fraction of a sample.

    Args:
        received: the interference's modem as examples show it.
        synchroniser: for mixtures of a length that the interference's channel was taken from.
        mixture: complex64 [B, T].

    Raises:
        InputError: a mixture holds NaN or infinity.
    """
    check_finite(mixture)
    found, start = list[AsSent](), max(0, mixture.shape[1] - _SAMPLES) // 2
    undone = inverse(received, 0.0)
    middle = (mixture if undone is None else undone(mixture))[:, start : start + _SAMPLES]
    delay = [_coarse(one) for one in delays(synchroniser(middle.shape[1]), middle).tolist()]
    for one in sorted(set(delay)):
        rows = torch.tensor([row for row, own in enumerate(delay) if own == one])
        undone = inverse(received, one)
        found.append(AsSent(rows, mixture[rows] if undone is None else undone(mixture[rows]), one))
    return found


def _coarse(delay: float) -> float:
    """Returns a delay as a multiple of 1 / 64 sample, 0 where detection copes with it."""
    return 0.0 if abs(delay) < _LEAST_DELAY else round(delay * _UNIT) / _UNIT
