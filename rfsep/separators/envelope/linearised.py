"""Linearises the polar model of the interference about an estimate of the SOI.

With the SOI's error e = G (a - m) and the rest r = y - G m = A e^{j phi} + e, the radius deviates by
Re(e^{-j phi} e) + Im(e^{-j phi} e)^2 / 2 A and the phase by Im(e^{-j phi} e) / A. The second-order term enters by its
mean and variance (second-order extended Kalman filter; Jazwinski, Stochastic Processes and Filtering Theory, 1970,
section 9.3), so that an unsure estimate has little weight at an SINR near 0 dB. Radius and phase steps are whitened by
their own autoregressions, with Student-t weights. In pauses the rest itself is white noise.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.envelope.innovations import Innovations, robust, whitened
from rfsep.separators.envelope.layout import Layout
from rfsep.separators.envelope.nuisance import real_columns
from rfsep.separators.envelope.polar import Polar, busy_samples

_LEAST_RADIUS = 0.3  # share of the level; a smaller radius counts as this in the phase's derivative


class Rest(NamedTuple):
    """Windows without the SOI and the nuisance terms.

    Attributes:
        samples: complex64 [B, T].
        level: float32 [B, 1].
        drift: of the level, as a share of it, float32 [B, T].
        busy: float32 [B, T], 1 where the interference does not pause.
        waves: the nuisance terms' waveforms, complex64 [B, K, T].
    """

    samples: Tensor
    level: Tensor
    drift: Tensor
    busy: Tensor
    waves: Tensor


class Errors(NamedTuple):
    """Deviations from the model and their variances, float32 [B, T].

    Attributes:
        radial: innovations of the radius over the level.
        radial_noise: their variance.
        phase: innovations of the phase steps.
        phase_noise: their variance; infinite at sample 0, which has no step.
        pause_noise: variance of each axis of the rest over the level in pauses, [B, 1].
    """

    radial: Tensor
    radial_noise: Tensor
    phase: Tensor
    phase_noise: Tensor
    pause_noise: Tensor


class Information(NamedTuple):
    """Quadratic information on the symbols' I and Q and on the nuisance terms, float64.

    Attributes:
        gram: of the symbols, [B, 2 S, 2 S].
        moment: of the symbols, [B, 2 S].
        cross: of symbols and terms, [B, 2 S, N].
        term_gram: of the terms, their prior included, [B, N, N].
        term_moment: likewise, [B, N].
    """

    gram: Tensor
    moment: Tensor
    cross: Tensor
    term_gram: Tensor
    term_moment: Tensor


def unit_of(samples: Tensor) -> Tensor:
    """Returns samples complex64 divided by their magnitudes."""
    return samples / samples.abs().clamp_min(1e-6)


def rest_of(model: Polar, mixture: Tensor, soi: Tensor, terms: Tensor, level: Tensor | None, smoothing: int) -> Rest:
    """Removes the SOI complex64 [B, T] and nuisance terms float64 [B, N].

    Args:
        model: of the interference.
        mixture: complex64 [B, T].
        soi: to remove.
        terms: to remove.
        level: [B, 1] if it is known.
        smoothing: samples over which pauses are found.
    """
    nuisance = model.nuisance.terms
    rest = mixture - soi
    busy = torch.ones_like(rest.real) if model.floor is None else busy_samples(rest, smoothing).float()
    if level is None:
        level = (rest.abs() * busy).sum(1, keepdim=True) / busy.sum(1, keepdim=True).clamp_min(1.0)
        level = level.clamp_min(1e-4)
    coefficients = nuisance.complex_part(terms).to(torch.complex64)[..., None]
    # Harmonics and memory follow the phase of what is left without them.
    waves = nuisance.waves(unit_of(rest)) * (level * busy)[:, None]
    waves = nuisance.waves(unit_of(rest - (coefficients * waves).sum(1))) * (level * busy)[:, None]
    drift = terms[:, 2 * nuisance.num_complex :].float() @ nuisance.drifts(mixture.shape[1]).float()
    return Rest(rest - (coefficients * waves).sum(1), level, drift, busy, waves)


def _noise(model: Innovations, length: int, heat: float) -> Tensor:
    """Variance of innovations, float32 [length], larger where samples before the window are missing."""
    noise = torch.full((length,), model.variance)
    count = min(len(model.start), length)
    noise[:count] = model.start[:count].float()
    return heat * noise


def errors_of(model: Polar, rest: Rest, spread: Tensor, heat: float) -> Errors:
    """Returns deviations for axes of the SOI with variances ``spread`` [B, T], at ``heat`` times the model's noise."""
    length = rest.samples.shape[1]
    spread = spread / rest.level.square()
    radial = rest.samples.abs() / rest.level - rest.drift - spread / 2 - model.envelope.mean
    radial = whitened(radial * rest.busy, model.envelope.taps)
    radial_noise = _noise(model.envelope, length, heat) + spread.square() / 2
    steps = torch.angle(rest.samples[:, 1:] * rest.samples[:, :-1].conj()) - model.frequency.mean
    phase = whitened(steps * rest.busy[:, 1:], model.frequency.taps)
    phase_noise = _noise(model.frequency, length - 1, heat) + 2 * spread[:, 1:].square()
    pause_noise = ((model.floor or 1.0) ** 2 / 2 * heat) * torch.ones_like(rest.level)
    pad = torch.nn.functional.pad
    return Errors(radial, radial_noise, pad(phase, (1, 0)), pad(phase_noise, (1, 0), value=torch.inf), pause_noise)


def misfit_of(model: Polar, rest: Rest, errors: Errors) -> Tensor:
    """Returns the misfit [B, T], the sum of log(1 + error^2 / (variance freedom)) of a sample's two errors."""
    busy = torch.log1p(errors.radial.square() / errors.radial_noise / model.freedom)
    busy = busy + torch.log1p(errors.phase.square() / errors.phase_noise / model.freedom)
    power = (rest.samples.abs() / rest.level).square()
    paused = torch.log1p(power / errors.pause_noise / model.freedom)
    return busy * rest.busy + paused * (1 - rest.busy)


def _filtered(columns: Tensor, taps: Tensor) -> Tensor:
    """Convolves the last axis with taps [p + 1], which lengthens it by p."""
    size = columns.shape[-1]
    toeplitz = columns.new_zeros((size, size + len(taps) - 1))
    row = torch.arange(size)
    for lag, tap in enumerate(taps.tolist()):
        toeplitz[row, row + lag] = tap
    return columns @ toeplitz


class _Rows(NamedTuple):
    """Weighted equations of one kind, of symbols [B, S, 2, W], of terms [B, N, T] and of errors [B, T]."""

    columns: Tensor
    terms: Tensor
    errors: Tensor


def _radial_rows(layout: Layout, model: Polar, rest: Rest, errors: Errors) -> _Rows:
    unit, size = unit_of(rest.samples), len(layout.pulse)
    weight = robust(errors.radial.square() / errors.radial_noise, model.freedom) / errors.radial_noise
    root = weight.sqrt() * rest.busy
    masked = torch.stack([layout.windows(axis * rest.busy / rest.level, size) for axis in (unit.real, unit.imag)], 2)
    columns = _filtered(masked * layout.pulse, model.envelope.taps)
    columns = torch.nn.functional.pad(columns, (0, 1)) * layout.windows(root, layout.width)[:, :, None]
    drifts = model.nuisance.terms.drifts(layout.length).float().expand(len(unit), -1, -1)
    terms = torch.cat((real_columns(rest.waves, unit)[0] / rest.level[:, None], drifts), 1) * rest.busy[:, None]
    white = whitened(terms.flatten(0, 1), model.envelope.taps).reshape(terms.shape)
    return _Rows(columns, white * root[:, None], errors.radial * root)


def _phase_rows(layout: Layout, model: Polar, rest: Rest, errors: Errors) -> _Rows:
    unit, size = unit_of(rest.samples), len(layout.pulse)
    radius = torch.maximum(rest.samples.abs(), _LEAST_RADIUS * rest.level)
    weight = robust(errors.phase.square() / errors.phase_noise, model.freedom) / errors.phase_noise
    root = weight.sqrt() * rest.busy
    shifted = torch.stack([layout.windows(axis / radius, size) for axis in (-unit.imag, unit.real)], 2)
    steps = torch.nn.functional.pad(shifted * layout.pulse, (1, 1)).diff(dim=-1)
    known = rest.busy * (torch.arange(layout.length) > 0)  # Sample 0 has no step.
    columns = _filtered(steps * layout.windows(known, size + 1)[:, :, None], model.frequency.taps)
    columns = columns * layout.windows(root, layout.width)[:, :, None]
    terms = real_columns(rest.waves, unit)[1] / radius[:, None]
    terms = torch.nn.functional.pad(terms.diff(dim=-1), (1, 0)) * rest.busy[:, None]
    white = whitened(terms.flatten(0, 1), model.frequency.taps).reshape(terms.shape) * root[:, None]
    no_drift = white.new_zeros((len(white), len(model.nuisance.terms.levels), layout.length))
    return _Rows(columns, torch.cat((white, no_drift), 1), errors.phase * root)


def _pause_rows(layout: Layout, model: Polar, rest: Rest, errors: Errors) -> list[_Rows]:
    """Both axes of the rest where the interference pauses; the nuisance terms pause as well."""
    power = (rest.samples.abs() / rest.level).square()
    root = (robust(power / errors.pause_noise, model.freedom) / errors.pause_noise).sqrt() * (1 - rest.busy)
    root = root / rest.level
    zero = torch.zeros_like(layout.windows(root, layout.width))
    columns = layout.windows(root, layout.width) * torch.nn.functional.pad(layout.pulse, (0, layout.order + 1))
    none = rest.waves.real.new_zeros((len(root), len(model.nuisance.mean), layout.length))
    return [
        _Rows(torch.stack((columns, zero), 2), none, rest.samples.real * root),
        _Rows(torch.stack((zero, columns), 2), none, rest.samples.imag * root),
    ]


def linearise(layout: Layout, model: Polar, rest: Rest, errors: Errors, symbols: Tensor, terms: Tensor) -> Information:
    """Linearises about symbols complex64 [B, S] and nuisance terms float64 [B, N], whose rest and errors are given."""
    parts = [_radial_rows(layout, model, rest, errors), _phase_rows(layout, model, rest, errors)]
    if model.floor is not None:
        parts += _pause_rows(layout, model, rest, errors)
    gram = _banded_gram([part.columns for part in parts], layout)
    flat = torch.view_as_real(symbols).flatten(1).double()
    moment = (gram @ flat[..., None])[..., 0]
    cross = moment.new_zeros((*moment.shape, terms.shape[1]))
    term_gram = model.nuisance.precision.expand(len(terms), -1, -1)
    term_moment = (model.nuisance.precision @ model.nuisance.mean).expand(terms.shape)
    for part in parts:
        cut = layout.windows(part.errors, layout.width)[:, :, None]
        moment = moment + (part.columns * cut).sum(-1).flatten(1).double()
        if terms.shape[1]:
            shape = (*part.terms.shape[:2], layout.num_symbols, layout.width)
            cut = layout.windows(part.terms.flatten(0, 1), layout.width).reshape(shape)
            cross = cross + (part.columns @ cut.permute(0, 2, 3, 1)).flatten(1, 2).double()
            own = (part.terms @ part.terms.mT).double()
            term_gram = term_gram + own
            told = (part.terms @ part.errors[..., None])[..., 0].double()
            term_moment = term_moment + told + (own @ terms[..., None])[..., 0]
    moment = moment + (cross @ terms[..., None])[..., 0]
    term_moment = term_moment + (cross.mT @ flat[..., None])[..., 0]
    return Information(gram, moment, cross, term_gram, term_moment)


def _banded_gram(parts: list[Tensor], layout: Layout) -> Tensor:
    """Inner products of columns [B, S, 2, W]: float64 [B, 2 S, 2 S], zero between symbols that do not overlap."""
    batch, count = parts[0].shape[:2]
    gram = torch.zeros((batch, count, 2, count, 2), dtype=torch.float64)
    for lag in range(min(layout.reach, count)):
        shift = lag * layout.period
        total = torch.zeros((batch, count - lag, 2, 2))
        for columns in parts:
            early = columns[:, : count - lag, :, None, shift:]
            late = columns[:, lag:, None, :, : layout.width - shift]
            total += (early * late).sum(-1)
        gram.diagonal(lag, 1, 3).copy_(total.permute(0, 2, 3, 1))
        gram.diagonal(-lag, 1, 3).copy_(total.permute(0, 3, 2, 1))
    return gram.flatten(3).flatten(1, 2)
