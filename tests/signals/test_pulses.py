"""Pulses are right where their closed forms are 0/0."""

import pytest

from rfsep.signals.pulses import root_raised_cosine


@pytest.mark.parametrize(("roll_off", "samples"), [(0.3, 6), (0.3, 12), (0.35, 7), (0.35, 28), (0.25, 49), (0.5, 16)])
def test_the_limits_are_found_where_times_are_rounded(roll_off: float, samples: int) -> None:
    """The pulse changes smoothly with the roll-off; here a tap lies at T/(4 a), or a rounding beside it."""
    here, below, above = (
        root_raised_cosine(samples, roll_off + change, 8 * samples + 1, unit_energy=False)
        for change in (0.0, -1e-5, 1e-5)
    )
    assert (here - (below + above) / 2).abs().max() < 1e-8
