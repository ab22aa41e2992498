"""Expectation propagation over the symbols of SOI and single carrier, in turn with the carrier's pulse and phase.

Between updates of the symbols' sites (see `rfsep.separators.inference.expectation_propagation`), pulse, phase and noise
maximise the expected likelihood (expectation maximisation; Dempster, Laird & Rubin, J. R. Stat. Soc. B 39(1), 1977).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.expectation_propagation import Marginals, Sites, cavity_of, updated
from rfsep.separators.single_carrier.pulses import BLOCK, delays
from rfsep.separators.single_carrier.system import Model, System

_LEAST_VARIANCE = 1e-6  # least variance of a decided part of a symbol of unit power
_UPDATES = 2  # updates of the sites between two fits of the channel
_PHASE_BLOCKS = 6.0  # blocks over which the phase is averaged, tuned (on val)


class Channel(NamedTuple):
    """What the interference's symbols meet.

    Attributes:
        pulse: complex128 [B, M], with gain and constant phase.
        phase: float64 [B, K, P], radians.
        drift: of the symbols' timing about the window's middle, symbols per sample, float64 [B].
        noise_power: float64 [B].
    """

    pulse: Tensor
    phase: Tensor
    drift: Tensor
    noise_power: Tensor


class Prior(NamedTuple):
    """What is known of the channel beforehand.

    Attributes:
        pulse: complex128 [B, M].
        precision: float64 [B], of each of its coefficients.
        colour: density of the noise in the interference's band over its mean density.
    """

    pulse: Tensor
    precision: Tensor
    colour: float


class Found(NamedTuple):
    """The state of windows.

    Attributes:
        channel: of the interference.
        unknowns: posterior under the discrete prior, [B, U].
        rest: complex128 [B, K, P], samples that the model leaves unexplained.
    """

    channel: Channel
    unknowns: Marginals
    rest: Tensor


class Detector:
    """Detects the symbols of windows of one length.

    Args:
        system: unknowns of SOI and interference.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self._kinds = ((system.carrier_place, system.points), (system.soi_place, system.soi_points))

    def start(self, num_rows: int) -> Sites:
        """Returns the sites of Gaussian symbols [B, U]."""
        precision = torch.empty((num_rows, self.system.num_unknowns), dtype=torch.float64)
        for place, points in self._kinds:
            precision[:, place] = 1 / points.square().mean(0)
        return Sites(precision, torch.zeros_like(precision))

    def detect(self, samples: Tensor, channel: Channel, prior: Prior, rounds: int, damping: float) -> Found:
        """Detects the symbols of windows complex128 [B, K, P]."""
        sites = self.start(len(samples))
        unknowns = Marginals(sites.shift, 1 / sites.precision)
        for _ in range(rounds):
            delay = self._delays(channel.drift)
            pulses = (delay @ channel.pulse[:, None, :, None])[..., 0]  # [B, K, M]
            model = self.system.model(samples, pulses, channel.phase)
            for _ in range(_UPDATES):
                solved = self.system.solve(model, sites, channel.noise_power)
                cavity = cavity_of(solved.marginals, sites)
                unknowns = self._tilted(cavity)
                sites = updated(sites, cavity, unknowns, damping)
            channel = self._refined(model, channel, prior, unknowns, solved.trace, delay)
        rest = samples - self.system.fitted(model, unknowns.mean)
        return Found(channel, unknowns, rest)

    def _delays(self, drift: Tensor) -> Tensor:
        """Returns matrices complex128 [B, K, M, M] that delay the pulses of each block."""
        middle = (torch.arange(self.system.num_blocks) + 0.5) * BLOCK - self.system.num_samples / 2
        return delays(drift[:, None] * middle).to(torch.complex128)

    def _tilted(self, cavity: Marginals) -> Marginals:
        mean, variance = torch.zeros_like(cavity.mean), torch.full_like(cavity.variance, _LEAST_VARIANCE)
        for place, points in self._kinds:
            mean[:, place], variance[:, place] = tilted(cavity.mean[:, place], cavity.variance[:, place], points)
        return Marginals(mean, variance)

    def _refined(
        self, model: Model, channel: Channel, prior: Prior, unknowns: Marginals, trace: Tensor, delay: Tensor
    ) -> Channel:
        """Fits pulse, phase and noise to the symbols."""
        system = self.system
        place = system.carrier_place
        carrier = torch.zeros_like(unknowns.mean)
        carrier[:, place] = unknowns.mean[:, place]
        rest = model.samples - system.fitted(model, unknowns.mean - carrier)
        back = torch.polar(torch.ones_like(channel.phase), -channel.phase)
        symbols = system.symbols(unknowns.mean, place)
        doubt = unknowns.variance[:, place].sum(2) @ system.basis.inside
        held = torch.nn.functional.pad(symbols, (0, 1))[:, system.basis.columns]  # [B, K, c]
        parts = torch.view_as_real(held).permute(1, 2, 0, 3).flatten(2)  # [K, c, 2 B]
        kernels = system.basis.kernels.transpose(2, 3).flatten(1, 2)  # [K, P M, c]
        design = (kernels @ parts).view(system.num_blocks, -1, kernels.shape[1] // BLOCK, len(symbols), 2)
        design = torch.view_as_complex(design).permute(3, 0, 1, 2) @ delay  # [B, K, P, M]
        return self._fit(design, rest * back, channel, prior, doubt, trace)

    def _fit(
        self, design: Tensor, turned: Tensor, channel: Channel, prior: Prior, doubt: Tensor, trace: Tensor
    ) -> Channel:
        flat = design.flatten(1, 2)
        noise = channel.noise_power
        matrix = flat.mH @ flat + doubt[:, None, None] * self.system.basis.gram
        weight = prior.precision * noise
        matrix.diagonal(dim1=1, dim2=2).add_(weight[:, None])
        moment = (flat.mH @ turned.flatten(1)[..., None])[..., 0] + weight[:, None] * prior.pulse
        pulse = torch.linalg.solve(matrix, moment[..., None])[..., 0]
        wave = (flat @ pulse[..., None])[..., 0].view(turned.shape)
        phase = channel.phase + smoothed_phase(wave, turned)
        drift = channel.drift + self._more_drift(wave, turned)
        rest = (squared(turned - wave).sum((1, 2)) + trace) / self.system.num_samples
        return Channel(pulse, phase, drift, prior.colour * rest)

    def _more_drift(self, wave: Tensor, seen: Tensor) -> Tensor:
        """Drift float64 [B] of ``seen`` beside ``wave``, complex128 [B, K, P], by least squares on its derivative."""
        flat, rest = wave.flatten(1), (seen - wave).flatten(1)
        frequency = torch.fft.fftfreq(flat.shape[1], dtype=torch.float64)
        slope = torch.fft.ifft(torch.fft.fft(flat) * (-2j * math.pi * self.system.basis.period * frequency))
        time = torch.arange(flat.shape[1], dtype=torch.float64) - self.system.num_samples / 2
        change = slope * time  # effect of a drift of 1
        found: Tensor = (change.conj() * rest).real.sum(1) / squared(change).sum(1).clamp_min(1e-30)
        return found


def smoothed_phase(wave: Tensor, seen: Tensor) -> Tensor:
    """Returns the phase float64 [B, K, P] of ``seen`` beside ``wave``, complex128 [B, K, P], averaged over blocks."""
    num_blocks, size = wave.shape[1:]
    moment = (wave.conj() * seen).sum(2)  # [B, K]
    centre = torch.arange(num_blocks, dtype=torch.float64)
    near = torch.exp(-0.5 * ((centre[:, None] - centre) / _PHASE_BLOCKS).square()).to(moment.dtype)
    mean = moment @ near
    place = (torch.arange(num_blocks * size, dtype=torch.float64) + 0.5) / size - 0.5
    left = place.floor().clamp(0, max(0, num_blocks - 2)).long()
    share = (place - left).clamp(0, 1)
    right = (left + 1).clamp(max=num_blocks - 1)
    unit = mean / mean.abs().clamp_min(1e-30)
    between = unit[:, left] * (1 - share) + unit[:, right] * share
    return between.angle().view(wave.shape)


def tilted(mean: Tensor, variance: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior of symbols with the points real [P, d] given Gaussian evidence on each part, real [B, n, d]."""
    distance = (mean[..., None, :] - points).square() / variance[..., None, :]  # [B, n, P, d]
    weight = torch.softmax(-0.5 * distance.sum(-1), -1)  # [B, n, P]
    found = weight @ points
    spread = weight @ points.square() - found.square()
    return found, spread.clamp_min(_LEAST_VARIANCE)
