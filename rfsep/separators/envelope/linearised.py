"""Linearises the polar model of the interference about an estimate of the SOI."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.polar import Innovations, Polar
from rfsep.signals.linear_modem import LinearModem


class Layout:
    """Where the symbols' pulses lie in a window, as shifts of one pulse.

    Args:
        modem: the SOI's modem.
        length: samples in the window.
        begins: whether the SOI begins with the window.
        ends: whether it ends with it.
        order: taps of the prediction-error filters, less one.
    """

    def __init__(self, modem: LinearModem, length: int, *, begins: bool, ends: bool, order: int) -> None:
        self.length, self.period, self.order = length, modem.symbol_period, order
        self.pulse = modem.pulse.float()
        lead = (len(self.pulse) - 1) // 2 - self.period // 2
        before = 0 if begins else (len(self.pulse) - 1 - lead) // self.period
        after = 0 if ends else (length - 1 + lead) // self.period + 1 - modem.num_symbols(length)
        self.first = -before
        self.num_symbols = before + modem.num_symbols(length) + max(0, after)
        self.width = len(self.pulse) + 1 + order  # samples that a filtered pulse reaches
        self.left = lead - self.first * self.period  # samples of padding before the window
        self.total = (self.num_symbols - 1) * self.period + self.width
        self.reach = -(-self.width // self.period)  # symbols further apart than that are not coupled

    def padded(self, samples: Tensor) -> Tensor:
        """Returns samples [B, T] in the padded window [B, total], zero elsewhere."""
        right = self.total - self.left - self.length
        return torch.nn.functional.pad(samples, (self.left, max(0, right)))[:, : self.total]

    def windows(self, samples: Tensor, size: int) -> Tensor:
        """Cuts the part of each symbol from samples [B, T]: [B, S, size]."""
        return self.padded(samples).unfold(1, size, self.period)[:, : self.num_symbols]

    def synthesise(self, symbols: Tensor, pulse: Tensor) -> Tensor:
        """Returns the sum [B, T] of pulses [L] times symbols [B, S]."""
        spread = symbols[..., None] * pulse  # [B, S, L]
        waveform = spread.new_zeros((len(symbols), self.total))
        size, period = len(pulse), self.period
        for part in range(0, size, period):
            width = min(period, size - part)
            end = part + self.num_symbols * period
            rows = torch.nn.functional.pad(spread[..., part : part + width], (0, period - width)).flatten(1)
            stop = min(end, self.total)
            waveform[:, part:stop] += rows[:, : stop - part]
        return waveform[:, self.left : self.left + self.length]


class Information(NamedTuple):
    """Quadratic information on the symbols' I and Q: real gram [B, 2 S, 2 S] and moment [B, 2 S]; the misfit [B, T]."""

    gram: Tensor
    moment: Tensor
    misfit: Tensor


def filtered(columns: Tensor, taps: Tensor) -> Tensor:
    """Convolves the last axis with taps [p + 1], which lengthens it by p."""
    size = columns.shape[-1]
    toeplitz = columns.new_zeros((size, size + len(taps) - 1))
    row = torch.arange(size)
    for lag, tap in enumerate(taps.tolist()):
        toeplitz[row, row + lag] = tap
    return columns @ toeplitz


def _causal(process: Tensor, taps: Tensor) -> Tensor:
    kernel = taps.to(process.dtype).flip(0)[None, None]
    return torch.nn.functional.conv1d(torch.nn.functional.pad(process, (len(taps) - 1, 0))[:, None], kernel)[:, 0]


def robust(squared: Tensor, freedom: float) -> Tensor:
    """Weight of a squared, standardised error under Student's t with ``freedom`` degrees of freedom."""
    return (freedom + 1) / (freedom + squared)


def linearise(
    layout: Layout,
    model: Polar,
    mixture: Tensor,
    symbols: Tensor,
    variance: Tensor,
    level: Tensor,
    freedom: float,
    heat: float = 1.0,
) -> Information:
    """Linearises about symbols complex64 [B, S] with variances [B, S]; ``level`` [B, T] of the interference."""
    residual = mixture - layout.synthesise(symbols, layout.pulse)
    radius = residual.abs()
    safe = torch.maximum(radius, 0.3 * level)
    unit = residual / radius.clamp_min(1e-6)
    tangential = layout.synthesise(variance / 2, layout.pulse.square())  # variance of one axis of the SOI's error
    time = torch.arange(layout.length)

    radial = radius - level - tangential / (2 * level)
    radial = _causal(radial / level - (model.envelope.mean - 1), model.envelope.taps)
    spread = (tangential / level.square()).square()
    noise = model.envelope.variance * torch.ones_like(radial)
    order = min(layout.order, layout.length)
    noise[:, :order] = model.envelope.start[:order].float()
    noise = noise * heat + spread / 2
    envelope_error = radial.square() / noise
    envelope_weight = robust(envelope_error, freedom) / noise

    steps = torch.angle(residual[:, 1:] * residual[:, :-1].conj())
    steps = torch.nn.functional.pad(steps - model.frequency.mean, (1, 0))
    innovations = _causal(steps, model.frequency.taps)
    noise = model.frequency.variance * torch.ones_like(innovations)
    noise[:, 1 : order + 1] = model.frequency.start[: layout.length - 1].float()[: noise[:, 1 : order + 1].shape[1]]
    noise = noise * heat + spread * 2
    frequency_error = innovations.square() / noise
    frequency_weight = robust(frequency_error, freedom) / noise
    frequency_weight[:, 0] = 0

    size = len(layout.pulse)
    rows = []
    # The radius falls by Re(conj(unit) pulse a), the phase by Im(conj(unit) pulse a) / radius.
    x = layout.windows(unit.real / level, size) * layout.pulse
    z = layout.windows(unit.imag / level, size) * layout.pulse
    radial_columns = filtered(torch.stack((x, z), 2), model.envelope.taps)  # [B, S, 2, L + p]
    radial_columns = torch.nn.functional.pad(radial_columns, (0, 1))
    x = layout.windows(-unit.imag / safe, size) * layout.pulse
    z = layout.windows(unit.real / safe, size) * layout.pulse
    phase = torch.nn.functional.pad(torch.stack((x, z), 2), (1, 1))
    inside = layout.windows((time > 0).float()[None], size + 1)[:, :, None]
    phase = phase.diff(dim=-1) * inside
    phase_columns = filtered(phase, model.frequency.taps)  # [B, S, 2, L + 1 + p]
    size = layout.width
    moment = 0.0
    for columns, error, weight in (
        (radial_columns, radial, envelope_weight),
        (phase_columns, innovations, frequency_weight),
    ):
        root = weight.sqrt()
        columns = columns * layout.windows(root, size)[:, :, None]
        moment = moment + (columns * layout.windows(root * error, size)[:, :, None]).sum(-1)
        rows.append(columns)
    gram = banded_gram(rows, layout)
    flat = torch.view_as_real(symbols).flatten(1).double()
    moment = moment.flatten(1).double() + (gram @ flat[..., None])[..., 0]
    misfit = torch.log1p(envelope_error / freedom) + torch.log1p(frequency_error / freedom) * (time > 0)
    return Information(gram, moment, misfit)


def banded_gram(rows: list[Tensor], layout: Layout) -> Tensor:
    """Inner products of columns [B, S, 2, K]: float64 [B, 2 S, 2 S], zero between symbols that do not overlap."""
    batch, count = rows[0].shape[:2]
    gram = torch.zeros((batch, count, 2, count, 2), dtype=torch.float64)
    for lag in range(min(layout.reach, count)):
        shift = lag * layout.period
        part = 0.0
        for columns in rows:
            size = columns.shape[-1]
            if shift >= size:
                continue
            early = columns[:, : count - lag, :, None, shift:]
            late = columns[:, lag:, None, :, : size - shift]
            part = part + (early * late).sum(-1)  # [B, S - lag, 2, 2]
        part = part.double()
        gram.diagonal(lag, 1, 3).copy_(part.permute(0, 2, 3, 1))
        if lag:
            gram.diagonal(-lag, 1, 3).copy_(part.permute(0, 3, 2, 1))
    return gram.flatten(3).flatten(1, 2)
