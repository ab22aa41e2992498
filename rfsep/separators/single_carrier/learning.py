"""Learns rate, pulse, constellation and noise of a single carrier from example frames."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.identification.cyclic import level, power_spectra, whiten
from rfsep.iq import power, squared
from rfsep.separators.single_carrier.detection import Channel, Detector, Found, Prior, first_phase
from rfsep.separators.single_carrier.pulses import OVERSAMPLING, coefficient_times, delayed, make_basis, spectrum
from rfsep.separators.single_carrier.synchronise import Lock, Locked, refined
from rfsep.separators.single_carrier.system import System
from rfsep.signals.constellations import constellation
from rfsep.types import InputError

_PERIODS = 1.9, 42.0  # samples per symbol
_ORDERS = {"bpsk": 2, "qpsk": 4, "qam16": 4, "psk8": 8}  # powers that have a line
_CHANCE = 1e-6  # probability that noise shows such a symbol rate
_WINDOW, _LEAST_SYMBOLS = 2560, 256
_MOST_WINDOWS = 24
_LEVEL_SPAN = 1024
_SPECTRUM_SIZE = 256
_FIRST_NOISE = 0.1  # share of the density of a carrier of period 1
_CARRIERS = torch.linspace(-0.12, 0.12, 5, dtype=torch.float64)  # symbol rates
_LEAST_LINE = 1.5  # strength of a line over that of noise alone
_ROUNDS, _DAMPING = 5, 0.7
_LOOSE = 0.02  # variance of a pulse's coefficients beside the first guess, at unit power


class Carrier(NamedTuple):
    """A single carrier as learned.

    Attributes:
        period: samples per symbol.
        points: constellation complex64.
        order: number of turns that map it to itself.
        pulse: complex128 [M], for interference of unit power, at carrier 0.
        carriers: those of the examples in cycles per sample, float64 [n].
        noise: density of the noise at unit power of the interference.
        colour: see `Prior`.
    """

    period: float
    points: Tensor
    order: int
    pulse: Tensor
    carriers: Tensor
    noise: float
    colour: float


def find_period(frames: Tensor) -> float:
    """Returns the samples per symbol of frames complex64 [F, T], by the line that their power has at the symbol rate.

    Raises:
        InputError: no line stands out.
    """
    flat = whiten(level(frames, min(_LEVEL_SPAN, frames.shape[1] // 2)))
    square = flat.abs().square().double()
    size = 1 << (2 * frames.shape[1] - 1).bit_length()
    lines = torch.fft.rfft(square - square.mean(1, keepdim=True), size).abs().square()
    lines = (lines / lines.mean(1, keepdim=True).clamp_min(1e-30)).mean(0)
    first, last = math.ceil(size / _PERIODS[1]), int(size / _PERIODS[0])
    span = min(257, (last - first) // 2 | 1)
    padded = torch.nn.functional.pad(lines[None, None], (span // 2, span // 2), mode="reflect")[0, 0]
    around = padded.unfold(0, span, 1).median(1).values
    ratio = (lines / around.clamp_min(1e-30))[first:last]
    place = int(ratio.argmax()) + first
    count = len(frames)
    # The mean of F exponentials, by Wilson and Hilferty's cube root; zero padding halves the independent cells.
    score = ((ratio.max() / 1.0).pow(1 / 3) - (1 - 1 / (9 * count))) * 3 * math.sqrt(count)
    if not float(score) > math.sqrt(2 * math.log((last - first) / _CHANCE)):
        raise InputError("single_carrier: the examples show no symbol rate; this separator needs a single carrier")
    return size / float(refined(lines[None].sqrt(), torch.tensor([place])))


def windows_of(frames: Tensor, period: float) -> Tensor:
    """Cuts frames into some windows that are on the air, complex128 [W, L] of unit power."""
    length = min(max(_WINDOW, math.ceil(_LEAST_SYMBOLS * period)), frames.shape[1])
    pieces = frames.unfold(1, length, length).flatten(0, 1).to(torch.complex128)
    loud = power(pieces)
    pieces = pieces[loud >= 0.5 * loud.median()]
    pieces = pieces[:: max(1, len(pieces) // _MOST_WINDOWS)][:_MOST_WINDOWS]
    return pieces / power(pieces).sqrt()[:, None]


def first_pulse(windows: Tensor, period: float) -> tuple[Tensor, float]:
    """Returns a pulse complex128 [M] with the windows' spectrum above its floor, and the middle of that spectrum."""
    spectra = power_spectra(windows.to(torch.complex64), _SPECTRUM_SIZE).double().mean(0)
    frequency = torch.fft.fftfreq(_SPECTRUM_SIZE, dtype=torch.float64)
    middle = torch.exp(2j * math.pi * frequency)
    centre = float((spectra.square() * middle).sum().angle()) / (2 * math.pi)
    near = (frequency - centre + 0.5).remainder(1.0) - 0.5
    beyond = spectra[(near.abs() > 0.8 / period) & (near.abs() < 1.2 / period)]
    floor = float(beyond.mean()) if len(beyond) else 0.0
    shape = (spectra - floor).clamp_min(0).sqrt() * (near.abs() < 0.8 / period)
    time = coefficient_times() * period / OVERSAMPLING
    pulse = torch.exp(2j * math.pi * time[:, None] * near) @ shape.to(torch.complex128)
    return pulse * math.sqrt(period) / _SPECTRUM_SIZE, centre


def _fits(symbols: Tensor, points: Tensor) -> float:
    """Returns the mean log-likelihood of filtered symbols complex128 [W, N] of these points in white noise."""
    seen = symbols / power(symbols).sqrt()[:, None]
    points = points.to(torch.complex128)
    gain, noise = torch.full((len(seen), 1), 0.9, dtype=torch.float64), torch.full((len(seen), 1), 0.2).double()
    for _ in range(20):
        distance = squared(seen[..., None] - gain[..., None] * points) / noise[..., None]  # [W, N, P]
        weight = torch.softmax(-distance, -1)
        mean, energy = weight.to(points.dtype) @ points, weight @ squared(points)
        gain = (seen * mean.conj()).real.sum(1, keepdim=True) / energy.sum(1, keepdim=True)
        noise = (1 - gain.square() * energy.mean(1, keepdim=True)).clamp_min(1e-4)
    distance = squared(seen[..., None] - gain[..., None] * points) / noise[..., None]
    return float((torch.logsumexp(-distance, -1) - math.log(len(points)) - noise.log()).mean(1).median())


class _Trial(NamedTuple):
    name: str
    locked: Locked
    line: float


def _lock(windows: Tensor, pulse: Tensor, period: float, name: str, noise: float, carriers: Tensor) -> _Trial:
    """Synchronises windows complex128 [W, L] of unit power by the power that fits a constellation."""
    order = _ORDERS[name]
    moment = (constellation(name).to(torch.complex128) ** order).mean()
    silence = torch.zeros(2, dtype=torch.complex128)
    lock = Lock(period, order, float(moment.angle()), windows.shape[1], silence)
    locked = lock(windows, pulse[None], torch.full((len(windows),), noise).double(), carriers)
    count = locked.symbols.shape[1]
    return _Trial(name, locked, float(locked.score.median()) / math.sqrt(math.log(4 * count) / count))


def _constellation(windows: Tensor, pulse: Tensor, period: float, noise: float, carriers: Tensor) -> str:
    """Returns the constellation: the least power that has a line decides, then the likelihood of the symbols."""
    trials = [_lock(windows, pulse, period, name, noise, carriers) for name in _ORDERS]
    clear = [trial for trial in trials if trial.line > _LEAST_LINE]
    if not clear:
        raise InputError("single_carrier: the examples' symbols are not of BPSK, QPSK, 8-PSK or 16-QAM")
    least = min(_ORDERS[trial.name] for trial in clear)
    alike = [trial for trial in clear if _ORDERS[trial.name] == least]
    return max(alike, key=lambda trial: _fits(trial.locked.symbols, constellation(trial.name))).name


def learn(frames: Tensor) -> Carrier:
    """Learns a single carrier from frames complex64 [F, T].

    Raises:
        InputError: the frames are too short, silent or hold NaN, or no single carrier is found in them.
    """
    if frames.numel() == 0 or frames.shape[1] < _WINDOW // 4:
        raise InputError(f"single_carrier: needs example frames of {_WINDOW // 4} samples or more")
    if not torch.isfinite(torch.view_as_real(frames)).all() or not frames.any():
        raise InputError("single_carrier: the example frames hold NaN or infinity, or nothing but zeros")
    period = find_period(frames)
    windows = windows_of(frames, period)
    pulse, centre = first_pulse(windows, period)
    carriers, noise, colour = centre + _CARRIERS / period, _FIRST_NOISE * period, 1.0
    name = _constellation(windows, pulse, period, noise, carriers)
    for _ in range(2):
        locked = _lock(windows, pulse, period, name, noise, carriers).locked

        found = _detected(windows, pulse, period, name, noise, locked, colour)
        noises = found.channel.noise_power
        good = noises <= noises.median()
        middle = float(locked.carrier[good].median())
        pulse = _mean_pulse(found.channel.pulse[good], locked.delay[good], pulse)
        colour = _colour(found.rest[good].flatten(1)[:, : windows.shape[1]], pulse, middle, period)
        noise = float(noises[good].median())
    return Carrier(period, constellation(name), _ORDERS[name], pulse, locked.carrier[good], noise, colour)


def _detected(
    windows: Tensor, pulse: Tensor, period: float, name: str, noise: float, locked: Locked, colour: float
) -> Found:
    """Detects the symbols of windows complex128 [W, L] of unit power, and fits a pulse to each."""
    num_samples = windows.shape[1]
    nothing = torch.zeros((num_samples, 0), dtype=torch.complex128)
    points = constellation(name)
    system = System(nothing, points, make_basis(period, num_samples), points)
    start = delayed(pulse.expand(len(windows), -1), locked.delay)
    power_of_noise = torch.full((len(windows),), noise, dtype=torch.float64)
    channel = Channel(start, first_phase(system, locked.carrier, locked.phase), power_of_noise)
    prior = Prior(start, torch.full_like(power_of_noise, 1 / _LOOSE), colour)
    return Detector(system).detect(system.cut(windows), channel, prior, _ROUNDS, _DAMPING)


def _mean_pulse(pulses: Tensor, delay: Tensor, template: Tensor) -> Tensor:
    """Returns the mean of pulses complex128 [W, M], without their delays float64 [W] and phases."""
    aligned = delayed(pulses, -delay)
    likeness = aligned @ template.conj()  # [W]
    return (aligned * (likeness.conj() / likeness.abs().clamp_min(1e-30))[:, None]).mean(0)


def _colour(rest: Tensor, pulse: Tensor, carrier: float, period: float) -> float:
    """Returns the density of noise complex128 [W, L] in a pulse's band over its mean density."""
    noise = power_spectra(rest.to(torch.complex64), _SPECTRUM_SIZE).double().mean(0)
    frequency = torch.fft.fftfreq(_SPECTRUM_SIZE, dtype=torch.float64) - carrier
    weight = squared(spectrum(pulse[None], (frequency - frequency.round())[None], period)[0])
    return float((weight * noise).sum() / (weight.sum() * noise.mean()))
