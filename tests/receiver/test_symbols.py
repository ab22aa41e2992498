"""Gain, noise and expected points of symbols are those that were sent."""

import numpy as np
import pytest

from rfsep.receiver.symbols import soft_symbols
from rfsep.signals.constellations import constellation


@pytest.mark.parametrize(("name", "noise"), [("bpsk", 0.3), ("qpsk", 0.1), ("qpsk", 0.5), ("qam16", 0.05)])
def test_gain_and_noise_are_told_and_means_are_posterior_means(name: str, noise: float) -> None:
    points = constellation(name).numpy().astype(np.complex128)
    generator = np.random.default_rng(1)
    sent = points[generator.integers(len(points), size=20_000)]
    symbols = 0.7 * (sent + (noise / 2) ** 0.5 * generator.standard_normal((20_000, 2)) @ [1, 1j])
    found = soft_symbols(symbols, points)
    assert abs(found.gain / 0.7 - 1) < 0.02
    assert abs(found.noise / (0.49 * noise) - 1) < 0.06
    weights = np.exp(-(np.abs(symbols[:, None] / 0.7 - points) ** 2) / noise)
    expected = weights @ points / weights.sum(1)
    assert np.sqrt(np.mean(np.abs(found.mean - expected) ** 2)) < 0.03
    variance = np.mean(weights @ np.abs(points) ** 2 / weights.sum(1) - np.abs(expected) ** 2)
    assert abs(found.variance - variance) < 0.1 * variance + 1e-3


def test_few_symbols_are_all_looked_at() -> None:
    points = constellation("qpsk").numpy().astype(np.complex128)
    found = soft_symbols(np.tile(0.2 * points, 3), points)
    assert np.allclose(found.mean, np.tile(points, 3), atol=1e-3)
    assert abs(found.gain - 0.2) < 1e-3
    assert found.noise < 1e-5
