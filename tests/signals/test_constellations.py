"""Posterior means of symbols by their parts against the sum over all points."""

import pytest
import torch

from rfsep.signals.constellations import constellation, posterior_mean_and_variance


@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16", "qam64", "pam4", "psk8", "qpsk_axes"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_posterior_means_against_the_sum_over_all_points(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    points = constellation(name)
    symbols = torch.randn((3, 500), dtype=dtype, generator=generator)
    for noise_variance in (0.3, torch.rand((3, 1), generator=generator).double() + 0.05):
        distance = (symbols[..., None] - points).abs().square()
        weights = torch.softmax(-distance / torch.as_tensor(noise_variance)[..., None], -1)
        mean = (weights * points).sum(-1)
        variance = (weights * (points - mean[..., None]).abs().square()).sum(-1)
        found = posterior_mean_and_variance(symbols, points, noise_variance)
        torch.testing.assert_close(found[0], mean.to(dtype), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[1], variance.to(found[1].dtype), rtol=1e-4, atol=1e-5)
        assert found[0].dtype == dtype
