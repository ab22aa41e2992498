"""Waveforms by their formulas in plain numpy, for tests of what receives them."""

import numpy as np


def pulse(time: np.ndarray, roll_off: float) -> np.ndarray:
    """Root raised cosine at times in symbols; the times hit no pole."""
    sines = np.sin(np.pi * time * (1 - roll_off)) + 4 * roll_off * time * np.cos(np.pi * time * (1 + roll_off))
    return np.asarray(sines / (np.pi * time * (1 - (4 * roll_off * time) ** 2)))


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    """White Gaussian noise of unit power, complex128 [num_samples]."""
    parts = np.random.default_rng(seed).normal(size=(num_samples, 2)) / np.sqrt(2)
    return parts.view(np.complex128)[:, 0]
