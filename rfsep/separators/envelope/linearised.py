"""Linearises the polar model of the interference about an estimate of the SOI."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import robust, whitened
from rfsep.separators.envelope.nuisance import real_columns
from rfsep.separators.envelope.polar import Polar
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

    def local_mean(self, samples: Tensor) -> Tensor:
        """Returns the mean of samples [B, T] under each symbol's pulse, [B, S]."""
        size = len(self.pulse)
        inside = self.windows(torch.ones((1, self.length)), size).sum(2)
        return self.windows(samples, size).sum(2) / inside.clamp_min(1.0)

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
    """Quadratic information on the symbols' I and Q and on the nuisance terms.

    Attributes:
        gram: of the symbols, float64 [B, 2 S, 2 S].
        moment: of the symbols, float64 [B, 2 S].
        cross: of symbols and terms, float64 [B, 2 S, N].
        term_gram: of the terms, prior included, float64 [B, N, N].
        term_moment: float64 [B, N].
        misfit: [B, T].
    """

    gram: Tensor
    moment: Tensor
    cross: Tensor
    term_gram: Tensor
    term_moment: Tensor
    misfit: Tensor


def filtered(columns: Tensor, taps: Tensor) -> Tensor:
    """Convolves the last axis with taps [p + 1], which lengthens it by p."""
    size = columns.shape[-1]
    toeplitz = columns.new_zeros((size, size + len(taps) - 1))
    row = torch.arange(size)
    for lag, tap in enumerate(taps.tolist()):
        toeplitz[row, row + lag] = tap
    return columns @ toeplitz


def linearise(
    layout: Layout,
    model: Polar,
    mixture: Tensor,
    symbols: Tensor,
    variance: Tensor,
    terms: Tensor,
    level: Tensor,
    freedom: float,
    heat: float = 1.0,
) -> Information:
    """Linearises about symbols complex64 [B, S] with variances [B, S]; ``level`` [B, T] of the interference."""
    nuisance = model.nuisance.terms
    residual = mixture - layout.synthesise(symbols, layout.pulse)
    unit = residual / residual.abs().clamp_min(1e-6)
    coefficients = nuisance.complex_part(terms).to(torch.complex64)
    waves = nuisance.waves(unit) * level[:, None]
    # The harmonics follow the phase of what is left without them.
    residual = residual - (coefficients[..., None] * waves).sum(1)
    radius = residual.abs()
    safe = torch.maximum(radius, 0.3 * level)
    unit = residual / radius.clamp_min(1e-6)
    waves = nuisance.waves(unit) * level[:, None]
    drifts = nuisance.drifts(layout.length).float()
    drift = terms[:, terms.shape[1] - len(drifts) :].float() @ drifts
    tangential = layout.synthesise(variance / 2, layout.pulse.square())  # variance of one axis of the SOI's error
    time = torch.arange(layout.length)

    radial = radius - level - tangential / (2 * level)
    radial = whitened(radial / level - drift - (model.envelope.mean - 1), model.envelope.taps)
    spread = (tangential / level.square()).square()
    noise = model.envelope.variance * torch.ones_like(radial)
    order = min(layout.order, layout.length)
    noise[:, :order] = model.envelope.start[:order].float()
    noise = noise * heat + spread / 2
    envelope_error = radial.square() / noise
    envelope_weight = robust(envelope_error, freedom) / noise

    steps = torch.angle(residual[:, 1:] * residual[:, :-1].conj())
    steps = torch.nn.functional.pad(steps - model.frequency.mean, (1, 0))
    innovations = whitened(steps, model.frequency.taps)
    noise = model.frequency.variance * torch.ones_like(innovations)
    noise[:, 1 : order + 1] = model.frequency.start[: layout.length - 1].float()[: noise[:, 1 : order + 1].shape[1]]
    noise = noise * heat + spread * 2
    frequency_error = innovations.square() / noise
    frequency_weight = robust(frequency_error, freedom) / noise
    frequency_weight[:, 0] = 0

    size = len(layout.pulse)
    rows = []
    term_radial, term_tangential = real_columns(waves, unit)
    drift_columns = drifts.expand(len(mixture), -1, -1)
    term_radial = torch.cat((term_radial / level[:, None], drift_columns), 1)
    term_phase = torch.cat((term_tangential / safe[:, None], 0 * drift_columns), 1)
    term_steps = torch.nn.functional.pad(term_phase.diff(dim=-1), (1, 0))
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
    moment, cross, term_gram, term_moment = 0.0, 0.0, 0.0, 0.0
    for columns, term_columns, error, weight, taps in (
        (radial_columns, term_radial, radial, envelope_weight, model.envelope.taps),
        (phase_columns, term_steps, innovations, frequency_weight, model.frequency.taps),
    ):
        root = weight.sqrt()
        columns = columns * layout.windows(root, size)[:, :, None]
        moment = moment + (columns * layout.windows(root * error, size)[:, :, None]).sum(-1)
        rows.append(columns)
        if terms.shape[1]:
            white = whitened(term_columns.flatten(0, 1), taps).reshape(term_columns.shape) * root[:, None]
            cut = layout.windows(white.flatten(0, 1), size).reshape(*white.shape[:2], layout.num_symbols, size)
            cross = cross + columns @ cut.permute(0, 2, 3, 1)  # [B, S, 2, N]
            term_gram = term_gram + white @ white.mT
            term_moment = term_moment + (white @ (root * error)[..., None])[..., 0]
    gram = banded_gram(rows, layout)
    flat = torch.view_as_real(symbols).flatten(1).double()
    misfit = torch.log1p(envelope_error / freedom) + torch.log1p(frequency_error / freedom) * (time > 0)
    moment = moment.flatten(1).double() + (gram @ flat[..., None])[..., 0]
    if not terms.shape[1]:
        empty = gram.new_zeros((len(gram), gram.shape[1], 0))
        return Information(gram, moment, empty, empty[:, :0], empty[:, 0], misfit)
    cross, term_gram = cross.flatten(1, 2).double(), term_gram.double()
    moment = moment + (cross @ terms[..., None])[..., 0]
    term_moment = term_moment.double() + (cross.mT @ flat[..., None])[..., 0] + (term_gram @ terms[..., None])[..., 0]
    term_gram = term_gram + model.nuisance.precision
    term_moment = term_moment + model.nuisance.precision @ model.nuisance.mean
    return Information(gram, moment, cross, term_gram, term_moment, misfit)


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
