"""The timing network: parameters, Keras' padding of even kernels, wrong arguments."""

import pytest
import torch
from torch import nn

from rfsep.models.timing_cnn import TimingCnn


def test_parameter_count_is_that_of_the_published_layers() -> None:
    layers = (2 * 100 + 1) * 80 + (80 * 50 + 1) * 40 + (40 * 25 + 1) * 20 + (20 * 160 + 1) * 80 + 81 * 80
    assert sum(parameter.numel() for parameter in TimingCnn().parameters()) == layers + 4


def test_convolutions_are_padded_as_keras_does() -> None:
    """ "Same" padding of 99, 48 and 23 zeros puts 49, 24 and 11 in front: these taps alone pick every fourth sample."""
    model = TimingCnn().eval()
    for layer, tap in zip([one for one in model.convolutions if isinstance(one, nn.Conv2d)], (49, 24, 11), strict=True):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        layer.weight.data[0, 0, 0, tap] = 1
    mixture = torch.rand(2, 2, 640)
    picked = model.convolutions(mixture[:, :, None])  # [B, 20, 1, 160]
    assert torch.equal(picked[:, 0, 0], mixture[:, 0, ::4])


def test_learns_the_delay_of_a_pulse() -> None:
    torch.manual_seed(0)
    model = TimingCnn(num_samples=32, delays=8, kernel=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    mixtures = torch.zeros(8, 2, 32)
    mixtures[torch.arange(8), 0, torch.arange(8)] = 1
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(mixtures), torch.arange(8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model(mixtures).argmax(1), torch.arange(8))


def test_one_set_of_weights_looks_for_every_delay() -> None:
    """A window that repeats, turned by four samples: its logits turn by four, as far as the ends do not show."""
    torch.manual_seed(0)
    model = TimingCnn(num_samples=1600, folded=True).eval()
    window = torch.randn(1, 2, 80).repeat(1, 1, 20)
    with torch.no_grad():
        moved = [model(window.roll(-delay, 2)) for delay in (0, 4, 40)]  # delay samples into what was the first
    spread = float(moved[0].std())
    for logits, delay in zip(moved[1:], (4, 40), strict=True):
        assert float((logits - moved[0].roll(delay, 1)).abs().max()) < 0.2 * spread
        assert float((logits - moved[0].roll(delay + 1, 1)).abs().max()) > 2 * spread


def test_windows_of_whole_periods_alone_are_folded() -> None:
    with pytest.raises(ValueError, match="num_samples 648 must be a multiple of the 80 delays"):
        TimingCnn(num_samples=648, folded=True)
    assert TimingCnn(num_samples=648)(torch.randn(1, 2, 648)).shape == (1, 80)


@pytest.mark.parametrize("name", ["num_samples", "delays", "kernel"])
def test_wrong_arguments_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} 10 must be a multiple of 4"):
        TimingCnn(**{name: 10})
