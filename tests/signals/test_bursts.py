"""On and off times are in equilibrium, and the duty cycle is its closed form."""

import math

import pytest
import torch

from rfsep.signals.bursts import Bursts, check_range, gate
from rfsep.types import InputError


def test_on_with_the_duty_cycle_at_every_instant() -> None:
    """A start uniform within an ordinary cycle would be on at sample 0 with 1 - 0.1 ln(10.9) = 0.76, not 0.83."""
    bursts, rows, instants = Bursts((1.0, 1000.0), (100.0, 100.0)), 20_000, (0.0, 50.0, 700.0, 2000.0)
    edges = bursts.edges(rows, 2000, torch.Generator().manual_seed(0))
    assert (edges.diff(dim=1) >= 0).all()
    assert (edges[:, 0] <= 0).all()
    assert (edges[:, -1] >= 2000 - 100).all()  # the last silence reaches the end
    duty = 500.5 / 600.5
    for instant in instants:
        on = torch.searchsorted(edges, torch.full((rows, 1), instant, dtype=torch.float64), right=True) % 2 == 1
        assert abs(on.double().mean() - duty) < 4 * math.sqrt(duty * (1 - duty) / rows)


def test_time_to_the_end_of_the_first_burst_is_the_equilibrium_law() -> None:
    """Remaining time of U[0, a] seen at a random instant has density 2 (a - t) / a^2 and mean a / 3."""
    bursts, rows = Bursts((1e-3, 900.0), (1e-3, 1e-3)), 20_000
    remaining = bursts.edges(rows, 0, torch.Generator().manual_seed(1))[:, 1].clamp(min=0)
    assert abs(remaining.mean() - 300.0) < 4 * math.sqrt(900.0**2 / 18 / rows)


def test_power_of_the_gate_with_ramps() -> None:
    bursts, ramp = Bursts((100.0, 300.0), (50.0, 250.0)), 40.0
    edges = bursts.edges(2000, 3000, torch.Generator().manual_seed(2))
    amplitude = gate(edges, 3000, ramp)
    assert amplitude.min() == 0
    assert amplitude.max() <= 1
    power = amplitude.double().square().mean(1)
    expected = (200 - 80 + 80 * 3 / 8) / 350
    assert bursts.duty(ramp) == pytest.approx(expected)
    assert abs(power.mean() - expected) < 4 * power.std() / math.sqrt(2000)
    assert amplitude.diff(dim=1).abs().max() <= math.pi / 2 / ramp * 1.001  # the steepest slope of sin^2


def test_the_gate_is_its_formula_at_every_sample() -> None:
    """Bursts that begin before the window and end behind it, and one without a pause before the next."""
    edges = torch.tensor([[-30.5, 40.25, 60.0, 141.5, 141.5, 400.0], [10.0, 100.0, 190.75, 280.0, 299.5, 500.0]])
    edges = edges.double()
    sample = torch.arange(300.0, dtype=torch.float64)[:, None]
    for row, amplitude in zip(edges, gate(edges, 300, 20.0), strict=True):
        depth = torch.minimum(sample - row[0::2], row[1::2] - sample).amax(1)  # samples into the burst
        expected = torch.sin((depth / 20).clamp(0, 1) * math.pi / 2).square()
        torch.testing.assert_close(amplitude.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("values", [(2.0, 1.0), (0.0, 1.0), (1.0, 9.0), (1.0,), (math.nan, 2.0)])
def test_ranges_are_checked(values: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="period"):
        check_range("period", values, 1.0, 8.0)
