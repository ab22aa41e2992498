"""Averages of the power over time."""

import numpy as np
import pytest
import torch

from rfsep.identification.cyclic import local_power


@pytest.mark.parametrize(("count", "span"), [(5000, 256), (700, 16), (10, 256), (1, 256)])
def test_local_power_is_the_mean_of_the_samples_within_the_frame(count: int, span: int) -> None:
    """Against plain numpy, sample by sample; the first third is 60 dB louder, so that rounding would show behind it."""
    rng = np.random.default_rng(0)
    frames = (rng.standard_normal((2, count)) + 1j * rng.standard_normal((2, count))).astype(np.complex64)
    frames[:, : count // 3] *= 1000
    square = np.abs(frames.astype(complex)) ** 2
    half = (min(span, count // 2) | 1) // 2
    expected = [square[:, max(n - half, 0) : n + half + 1].mean(1) for n in range(count)]
    found = local_power(torch.from_numpy(frames), span)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), np.transpose(expected), rtol=1e-5)
