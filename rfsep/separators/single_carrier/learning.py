"""Learns rate, pulse, constellation and noise of a single carrier from example frames."""

import math
from typing import Any

import torch
from torch import Tensor

from rfsep.identification.cyclic import level, power_spectra, whiten
from rfsep.iq import power, squared
from rfsep.separators.single_carrier.detection import Found
from rfsep.separators.single_carrier.pulses import OVERSAMPLING, coefficient_times, delayed, spectrum
from rfsep.separators.single_carrier.receiver import ORDERS, Carrier, Receiver, silence
from rfsep.separators.single_carrier.synchronise import Locked, refined
from rfsep.signals.constellations import constellation
from rfsep.types import InputError

_PERIODS = 1.9, 42.0  # samples per symbol
_CHANCE = 1e-6  # probability that noise shows such a symbol rate
_WINDOW, _LEAST_SYMBOLS = 2560, 256
_LEARNED_SYMBOLS, _FEWEST_WINDOWS, _MOST_WINDOWS = 10000, 6, 20
_MOST_NOISE = 0.5  # share of the power that may be left unexplained
_LEVEL_SPAN = 1024
_SPECTRUM_SIZE = 256
_FIRST_NOISE = 0.1  # share of the density of a carrier of period 1
_FIRST_RANGE = 0.12  # farthest carrier from the middle of the band, in symbol rates
_MARGIN = 0.05  # farthest carrier beyond those of the examples, in symbol rates
_REFINEMENTS = 2
_TOGETHER = 4  # windows
_LEAST_AMPLITUDE = 1e-6  # stands for silence
_LEAST_LINE = 1.5  # strength of a line over that of noise alone


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
    wanted = min(max(int(_LEARNED_SYMBOLS * period / length), _FEWEST_WINDOWS), _MOST_WINDOWS)
    pieces = pieces[:: max(1, len(pieces) // wanted)][:wanted]
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


def _line(windows: Tensor, guess: Carrier) -> tuple[Locked, float]:
    """Synchronises windows complex128 [W, L], and returns the strength of their line over that of noise alone."""
    locked = Receiver(guess, silence(windows.shape[1])).locked(windows, torch.ones(len(windows), dtype=torch.float64))
    return locked, float(locked.score.median()) / _chance_line(locked)


def _chance_line(locked: Locked) -> float:
    """Returns about the strongest line that symbols of random phase show."""
    count = locked.symbols.shape[1]
    return math.sqrt(math.log(4 * count) / count)


def _constellation(windows: Tensor, guess: Carrier) -> str:
    """Returns the constellation: the least power that has a line decides, then the likelihood of the symbols."""
    trials = {name: _line(windows, guess._replace(name=name)) for name in ORDERS}
    clear = [name for name, (_, line) in trials.items() if line > _LEAST_LINE]
    if not clear:
        raise InputError("single_carrier: the examples' symbols are not of BPSK, QPSK, 8-PSK or 16-QAM")
    least = min(ORDERS[name] for name in clear)
    alike = [name for name in clear if ORDERS[name] == least]
    return max(alike, key=lambda name: _fits(trials[name][0].symbols, constellation(name)))


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
    low, high = centre - _FIRST_RANGE / period, centre + _FIRST_RANGE / period
    guess = Carrier(period, "bpsk", pulse, low, high, _FIRST_NOISE * period, 1.0)
    guess = guess._replace(name=_constellation(windows, guess))
    for _ in range(_REFINEMENTS):
        guess = _refined(windows, guess)
    if guess.noise > _MOST_NOISE * guess.colour:
        raise InputError("single_carrier: no linear single carrier explains the examples")
    return guess


def _refined(windows: Tensor, guess: Carrier) -> Carrier:
    """Fits pulse, carriers and noise to the symbols of windows complex128 [W, L] of unit power."""
    receiver = Receiver(guess, silence(windows.shape[1]))
    locked, found = _alone(receiver, windows)
    noise = found.channel.noise_power
    good = noise <= noise.median()
    clear = locked.carrier[good | (locked.score > _LEAST_LINE * _chance_line(locked))]
    pulse = _mean_pulse(found.channel.pulse[good], locked.delay[good], guess.pulse)
    rest = found.rest[good].flatten(1)[:, : windows.shape[1]]
    margin = _MARGIN / guess.period
    return guess._replace(
        pulse=pulse,
        lowest=float(clear.min()) - margin,
        highest=float(clear.max()) + margin,
        noise=float(noise[good].median()),
        colour=_colour(rest, pulse, float(locked.carrier[good].median()), guess.period),
    )


def _alone(receiver: Receiver, windows: Tensor) -> tuple[Locked, Found]:
    """Receives carriers of unit power without a SOI, in a few windows complex128 [W, L] at a time."""
    parts = []
    for rows in torch.split(windows, _TOGETHER):
        gain = torch.ones(len(rows), dtype=torch.float64)
        locked = receiver.locked(rows, gain)
        parts.append((locked, receiver.detect(rows, gain, locked)))
    joined: tuple[Locked, Found] = _joined(parts)
    return joined


def _joined(parts: Any) -> Any:
    """Joins rows of tensors, or of every tensor in nested tuples."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    columns = [_joined(column) for column in zip(*parts, strict=True)]
    return type(parts[0])(*columns) if hasattr(parts[0], "_fields") else tuple(columns)


def remodulated(interference: Tensor, carrier: Carrier) -> Tensor:
    """Returns the modulated part complex64 [B, T] of a carrier complex64 [B, T], by symbols detected without a SOI."""
    amplitude = power(interference.to(torch.complex128)).sqrt().clamp_min(_LEAST_AMPLITUDE)[:, None]
    receiver = Receiver(carrier, silence(interference.shape[1]))
    _, found = _alone(receiver, interference / amplitude)
    rest = found.rest.flatten(1)[:, : interference.shape[1]]
    return (interference - amplitude * rest).to(torch.complex64)


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
