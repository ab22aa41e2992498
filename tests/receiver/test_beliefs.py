"""Posterior means give back the soft bits that they came from."""

import numpy as np
import pytest
import torch

from rfsep.receiver.beliefs import are_means, llr_of_means
from rfsep.signals.constellations import constellation, demap, map_bits, posterior_mean


def observed(name: str, count: int, noise_variance: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    points, generator = constellation(name), torch.Generator().manual_seed(1)
    width = (len(points) - 1).bit_length()
    bits = torch.randint(2, (count * width,), generator=generator, dtype=torch.uint8)
    noise = noise_variance**0.5 * torch.randn(count, dtype=torch.complex64, generator=generator)
    return bits, map_bits(bits, points) + noise, points


def labels_of(points: torch.Tensor) -> np.ndarray:
    width = (len(points) - 1).bit_length()
    return ((np.arange(len(points))[:, None] >> np.arange(width)[::-1]) & 1).astype(np.uint8)


@pytest.mark.parametrize(("name", "noise"), [("bpsk", 0.5), ("qpsk", 0.6), ("psk8", 0.3), ("qam16", 0.2)])
def test_means_give_back_the_ratios_behind_them(name: str, noise: float) -> None:
    _, symbols, points = observed(name, 1000, noise)
    exact = demap(symbols, points, noise).numpy()
    told = llr_of_means(posterior_mean(symbols, points, noise).numpy(), points.numpy(), labels_of(points))
    # Next to the rim of the constellation the means say only that a bit is sure.
    doubtful = np.abs(exact) < 4
    assert doubtful.sum() > 100
    # The variance of 16-QAM is that of the power of 1,000 symbols.
    limit = 0.03 if name != "qam16" else 0.15
    assert (np.abs(told - exact) / np.maximum(np.abs(exact), 1))[doubtful].max() < limit
    assert np.array_equal(told[~doubtful] > 0, exact[~doubtful] > 0)
    assert np.abs(told[~doubtful]).min() > 3


def test_no_mean_is_beyond_what_ratios_can_tell() -> None:
    points = constellation("qam16")
    edge = (1.05 * points).numpy()
    told = llr_of_means(edge, points.numpy(), labels_of(points))
    assert np.isfinite(told).all()
    assert np.array_equal(told > 0, labels_of(points).reshape(-1) > 0)


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "psk8", "qam16"])
@pytest.mark.parametrize("noise", [1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.3])
def test_means_and_linear_estimates_are_told_apart(name: str, noise: float) -> None:
    _, symbols, points = observed(name, 4000, noise)
    assert not are_means(symbols.numpy(), points.numpy())
    assert not are_means(0.4 * symbols.numpy(), points.numpy())
    means = posterior_mean(symbols, points, noise).numpy()
    # Where no bit is in doubt, means are the points, and nothing tells them from linear estimates without noise.
    doubtful = int((demap(symbols, points, noise).abs() < 3).sum())
    if doubtful > 30:
        assert are_means(means, points.numpy())
    assert not are_means(means[:0], points.numpy())
