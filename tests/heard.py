"""Recordings of every kind that `identify` tells apart, in plain numpy, with random carriers, rates and shapes."""

from collections.abc import Callable

import numpy as np

Random = np.random.Generator
Wave = np.ndarray  # complex128 [T]


def points_of(name: str) -> np.ndarray:
    """Points of unit power, by levels of equal distance, or on a circle."""
    if name in ("bpsk", "psk8"):
        size = 2 if name == "bpsk" else 8
        return np.exp(2j * np.pi * np.arange(size) / size)
    levels = np.arange(1.0, {"qpsk": 2, "qam16": 4, "qam64": 8}[name] + 1)
    grid = np.add.outer(levels, 1j * levels)
    grid = grid - grid.mean()
    return (grid / np.sqrt(np.mean(np.abs(grid) ** 2))).ravel()


def ofdm(random: Random, length: int) -> Wave:
    """OFDM of 16 to 2,048 carriers, prefix of 1/16 to 1/4, guards on both sides, an empty middle carrier."""
    size = int(random.integers(64, 2049)) if random.random() < 0.5 else 2 ** int(random.integers(6, 12))
    prefix = int(size * random.uniform(1 / 16, 1 / 4))
    used = int(size * random.uniform(0.35, 0.44))
    carriers = np.r_[1 : used + 1, size - used : size]
    count = length // (size + prefix) + 2
    grid = np.zeros((count, size), complex)
    grid[:, carriers] = random.choice(points_of(random.choice(["bpsk", "qpsk", "qam16", "qam64"])), (count, 2 * used))
    bodies = np.fft.ifft(grid, axis=1)
    stream = np.concatenate((bodies[:, size - prefix :], bodies), axis=1).ravel()
    return moved(stream[int(random.integers(size)) :][:length], random.uniform(-0.4, 0.4) / size)


def pulse_train(symbols: np.ndarray, period: float, pulse: Callable[[np.ndarray], np.ndarray], length: int) -> Wave:
    """Sums pulses of up to 8 symbols to each side, at any rate."""
    time = np.arange(length) / period + 10
    first = np.floor(time).astype(int)
    total = np.zeros(length, complex)
    for step in range(-8, 9):
        total += symbols[first + step] * pulse(time - first - step)
    return total


def root_raised_cosine(roll_off: float) -> Callable[[np.ndarray], np.ndarray]:
    """The pulse over time in symbols; J. G. Proakis, Digital Communications, eq. 9.2-32 in the time domain."""

    def pulse(time: np.ndarray) -> np.ndarray:
        time = time + 1e-7  # away from the removable poles
        above = np.sin(np.pi * time * (1 - roll_off)) + 4 * roll_off * time * np.cos(np.pi * time * (1 + roll_off))
        return np.asarray(above / (np.pi * time * (1 - (4 * roll_off * time) ** 2)))

    return pulse


def single_carrier(random: Random, length: int) -> Wave:
    """PSK and QAM of 2.5 to 20 samples a symbol and roll-offs of .2 to .6."""
    period = random.uniform(2.5, 20)
    symbols = random.choice(points_of(random.choice(["bpsk", "qpsk", "psk8", "qam16"])), int(length / period) + 40)
    wave = pulse_train(symbols, period, root_raised_cosine(random.uniform(0.2, 0.6)), length)
    return moved(wave, random.uniform(-0.12, 0.12))


def frequency_modulated(frequency: np.ndarray, random: Random) -> Wave:
    """A wave of constant envelope from its frequency in cycles per sample."""
    return np.exp(2j * np.pi * (np.cumsum(frequency) + random.random()))


def fsk(random: Random, length: int) -> Wave:
    """FSK of two or four tones, GFSK and MSK, of 5 to 120 samples a symbol and an index of .5 to 3."""
    period = np.exp(random.uniform(np.log(5), np.log(120)))
    form = random.choice(["msk", "gfsk", "fsk", "fsk4"])
    index = 0.5 if form == "msk" else random.uniform(0.5, min(3.0, 0.25 * period / (3 if form == "fsk4" else 1)))
    levels = np.array([-3.0, -1, 1, 3]) if form == "fsk4" else np.array([-1.0, 1])
    symbols = random.choice(levels, int(length / period) + 40)
    steps = symbols[np.floor(np.arange(length) / period).astype(int) + 10]
    if form == "gfsk":
        width = 0.1325 * period / random.uniform(0.3, 0.7)  # sqrt(ln 2) / (2 pi BT) symbols, M.2201 of the ITU
        taps = np.exp(-0.5 * (np.arange(-int(4 * width) - 1, int(4 * width) + 2) / width) ** 2)
        steps = np.convolve(steps, taps / taps.sum(), "same")
    return frequency_modulated(steps * index / (2 * period) + random.uniform(-0.1, 0.1), random)


def fm(random: Random, length: int) -> Wave:
    """Analogue FM by a message of lowpass noise."""
    width = int(random.integers(10, 200))
    message = np.convolve(random.standard_normal(length + width), np.hanning(width), "valid")[:length]
    return frequency_modulated(message / message.std() * random.uniform(0.01, 0.06) + random.uniform(-0.1, 0.1), random)


def chirp(random: Random, length: int) -> Wave:
    """Sweeps up, down, in symbols that begin anywhere in the band (spread-spectrum chirps), or in pulses."""
    period, band = int(random.integers(256, 8192)), random.uniform(0.1, 0.8)
    time = np.arange(length) + int(random.integers(period))
    form = random.choice(["sweep", "symbols", "pulses"])
    start = random.random(length // period + 3)[time // period] if form == "symbols" else 0.0
    slope = random.choice([-1, 1]) * band * ((time / period + start) % 1 - 0.5)
    wave = frequency_modulated(slope + random.uniform(-0.1, 0.1), random)
    return wave * (time % (4 * period) < period) if form == "pulses" else wave


def pulses(random: Random, length: int) -> Wave:
    """On-off keying of a tone, pulse positions in short messages, radar pulses, or ringing of a switched converter."""
    form = random.choice(["ook", "ppm", "radar", "ringing"])
    time = np.arange(length)
    if form == "ook":
        unit = int(random.integers(20, 300))
        wave = random.integers(0, 2, length // unit + 1)[time // unit] * (time % (150 * unit) < 100 * unit)
        return moved(wave.astype(complex), random.uniform(-0.2, 0.2))
    if form == "ppm":
        half, gap = int(random.integers(1, 6)), int(random.integers(600, 3000))
        bits = np.repeat(random.integers(0, 2, length // (2 * half) + 1), 2 * half)[:length]
        wave = ((time // half) % 2 == bits) * (time % (112 * 2 * half + gap) < 112 * 2 * half)
        turns = random.random(length // (112 * 2 * half + gap) + 1)[time // (112 * 2 * half + gap)]
        return moved(wave * np.exp(2j * np.pi * turns), random.uniform(-0.2, 0.2))
    period = int(random.integers(150, 1500))
    turn = np.exp(2j * np.pi * random.random(length // period + 1))[time // period]
    if form == "radar":
        return moved((time % period < random.uniform(0.02, 0.15) * period) * turn, random.uniform(-0.2, 0.2))
    return moved(np.exp(-(time % period) / random.uniform(3, 20)) * turn, random.uniform(-0.1, 0.1))


def noise(random: Random, length: int) -> Wave:
    """Gaussian noise, white or of a random width."""
    white = random.standard_normal(length) + 1j * random.standard_normal(length)
    if random.random() < 0.4:
        return white
    taps = np.hanning(int(random.integers(4, 40)))
    return moved(np.convolve(white, taps, "same"), random.uniform(-0.2, 0.2))


def moved(wave: Wave, offset: float) -> Wave:
    """Moves a wave by ``offset`` cycles per sample."""
    return wave * np.exp(2j * np.pi * offset * np.arange(len(wave)))


MAKERS: dict[str, tuple[Callable[[Random, int], Wave], ...]] = {
    "ofdm": (ofdm,),
    "single_carrier": (single_carrier,),
    "constant_envelope": (fsk, fm),
    "chirp": (chirp,),
    "pulses": (pulses,),
    "noise": (noise,),
}


def heard(kind: str, number: int, snr_db: float, num_frames: int = 24, num_samples: int = 8192) -> np.ndarray:
    """Frames complex64 [F, T] of one recording of a kind in white noise; ``number`` is its seed."""
    random = np.random.default_rng((number, sorted(MAKERS).index(kind)))
    maker = MAKERS[kind][number % len(MAKERS[kind])]
    wave = maker(random, num_frames * num_samples)
    wave = wave / np.sqrt(np.mean(np.abs(wave) ** 2))
    white = random.standard_normal((2, len(wave))) / np.sqrt(2)
    total = wave + 10 ** (-snr_db / 20) * (white[0] + 1j * white[1])
    return total.reshape(num_frames, num_samples).astype(np.complex64)
