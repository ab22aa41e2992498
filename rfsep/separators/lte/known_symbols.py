"""Symbols of an LTE downlink whose carriers are known: their waveforms, and their fit to a window through channels."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.lte.resource_blocks import FFT_SIZE, PREFIX

# Tuned; split not recorded. First tap and number of taps of a fitted channel, in samples from its strongest part.
_FIRST_TAP, _TAPS = -8, 36

# Tuned; split not recorded. Rounds of expectation maximisation.
_ROUNDS = 4

# A guard against division by zero.
_SILENCE = 1e-12


class KnownSymbol(NamedTuple):
    """One symbol of one cell.

    Attributes:
        bodies: what each port sends at unit power per carrier, without its prefix: complex64 [P, FFT_SIZE].
        start: sample at which the body begins; it may lie outside the window.
        fraction: fractional part of the carrier offset, in carriers.
    """

    bodies: Tensor
    start: int
    fraction: float


def make_body(carriers: Tensor, values: Tensor) -> Tensor:
    """Returns the body complex64 [FFT_SIZE] with values complex64 [n] on carriers int64 [n], negative ones included."""
    spectrum = torch.zeros(FFT_SIZE, dtype=torch.complex64)
    spectrum[carriers % FFT_SIZE] = values.to(torch.complex64)
    body: Tensor = torch.fft.ifft(spectrum, norm="ortho")
    return body


def waveforms(symbol: KnownSymbol, num_samples: int, first: int = 0, count: int = 1) -> Tensor:
    """Returns what ports send in a window, at ``count`` delays from ``first`` on: complex64 [P, count, T]."""
    since = torch.arange(1 - count - first, num_samples - first) - symbol.start  # since the latest path's first sample
    inside = (since >= -PREFIX) & (since < FFT_SIZE)
    turn = torch.polar(inside.float(), 2 * torch.pi / FFT_SIZE * symbol.fraction * since)
    sent: Tensor = (symbol.bodies[:, since % FFT_SIZE] * turn).unfold(1, num_samples, 1).flip(1)
    return sent


class Fit(NamedTuple):
    """Symbols in a window, as channels of a few taps bring them.

    Attributes:
        waveform: of all symbols together, complex64 [T].
        taps: of each port of each symbol, complex64 [P, taps] each.
    """

    waveform: Tensor
    taps: list[Tensor]


def fitted(window: Tensor, symbols: list[KnownSymbol], weight: Tensor) -> Fit:
    """Fits taps whose powers are learned from the window by expectation maximisation.

    Args:
        window: complex64 [T].
        symbols: at least one.
        weight: amplitudes that whiten the window's spectrum, float32 [F].
    """
    size, num_samples = len(weight), len(window)
    columns = torch.cat([waveforms(one, num_samples, _FIRST_TAP, _TAPS).flatten(0, 1) for one in symbols])
    owner = torch.arange(len(symbols)).repeat_interleave(torch.tensor([len(one.bodies) * _TAPS for one in symbols]))
    group = owner * _TAPS + torch.arange(len(owner)) % _TAPS  # The ports of a symbol share the power of each tap.
    members = torch.bincount(group).to(torch.float64)
    heard = torch.fft.fft(columns, size) * weight
    target = torch.fft.fft(window, size) * weight / size
    gram = (heard.conj() @ heard.T / size).to(torch.complex128)
    moment = (heard.conj() @ target).to(torch.complex128)
    energy = float(squared(torch.fft.ifft(target * size)).sum())
    noise, scale = energy / num_samples, float(gram.diagonal().real.mean().clamp_min(_SILENCE))
    power = torch.full((len(gram),), energy / scale / len(gram), dtype=torch.float64)
    for _ in range(_ROUNDS):
        inverse = torch.linalg.inv(gram / noise + torch.diag_embed(1 / power).to(gram.dtype))
        taps = inverse @ moment / noise
        left = energy - 2 * float((taps.conj() @ moment).real) + float((taps.conj() @ gram @ taps).real)
        spread = float((gram @ inverse).diagonal().real.sum())
        second = torch.zeros_like(members).index_add(0, group, squared(taps) + inverse.diagonal().real) / members
        power = second[group].clamp_min(_SILENCE)
        noise = max((left + spread) / num_samples, _SILENCE)
    single = taps.to(torch.complex64)
    split = single.split([len(one.bodies) * _TAPS for one in symbols])
    return Fit(single @ columns, [part.view(-1, _TAPS) for part in split])


def channel(taps: Tensor, carriers: Tensor) -> Tensor:
    """Returns the gains complex64 [P, n] that taps complex64 [P, taps] of `fitted` give to carriers int64 [n]."""
    delay = _FIRST_TAP + torch.arange(taps.shape[1])
    phase = -2 * torch.pi / FFT_SIZE * delay[:, None] * carriers
    return taps @ torch.polar(torch.ones_like(phase), phase)
