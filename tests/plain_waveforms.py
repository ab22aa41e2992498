"""Waveforms by their formulas in plain numpy, for tests of what receives them."""

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor


def pulse(time: np.ndarray, roll_off: float) -> np.ndarray:
    """Root raised cosine at times in symbols; the times hit no pole."""
    sines = np.sin(np.pi * time * (1 - roll_off)) + 4 * roll_off * time * np.cos(np.pi * time * (1 + roll_off))
    return np.asarray(sines / (np.pi * time * (1 - (4 * roll_off * time) ** 2)))


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    """White Gaussian noise of unit power, complex128 [num_samples]."""
    parts = np.random.default_rng(seed).normal(size=(num_samples, 2)) / np.sqrt(2)
    return parts.view(np.complex128)[:, 0]


def ringing(rng: np.random.Generator, num_frames: int, length: int) -> tuple[Tensor, Tensor]:
    """Shocks behind a resonance of each frame's own: complex64 [F, T] of unit power, and the filters [F, 3]."""
    frames, filters = [], []
    for _ in range(num_frames):
        poles = np.array([0.95, 0.9]) * np.exp(2j * np.pi * rng.uniform(-0.05, 0.05, 2))
        shocks = (rng.random(length) < 0.02) * np.exp(2j * np.pi * rng.random(length))
        filters.append(np.poly(poles))
        frames.append(lfilter([1.0], filters[-1], shocks))
    waveform = np.array(frames) / np.sqrt(np.mean(np.abs(frames) ** 2))
    return torch.from_numpy(waveform.astype(np.complex64)), torch.from_numpy(np.array(filters))
