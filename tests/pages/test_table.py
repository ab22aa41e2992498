"""The line below a table of scores that says where a separator is of no use."""

from typing import Any

import numpy as np
import pytest

from rfsep.pages.table import shortfalls

LEVELS = [-24.0, -12.0, 0.0]
FILTERED = {"mse_db_high": [-0.3, -3.0, -15.0], "ber_high": [0.41, 0.16, 0.001]}
ZERO = [0.0, 0.0, 0.0]


def row(mse_db: list[float], ber: list[float] | None) -> dict[str, Any]:
    return {"separator": "mine", "sinr_db": LEVELS, "mse_db": mse_db, "ber": ber}


def test_a_separator_that_is_good_at_every_level_is_not_spoken_of() -> None:
    assert shortfalls(row([-0.3, -3.0, -15.0], [0.41, 0.16, 0.001]), FILTERED, ZERO) == ""


@pytest.mark.parametrize(
    ("mse_db", "ber", "line"),
    [
        ([-0.2, -4.0, -20.0], [0.4, 0.1, 0.0], "MSE is worse than the matched filter's at -24 dB"),
        ([-0.4, -4.0, -20.0], [0.42, 0.1, 0.01], "BER is worse than the matched filter's at -24, 0 dB"),
        (
            [0.1, -2.9, -20.0],
            None,
            "MSE is worse than a zero estimate's at -24 dB; MSE is worse than the matched filter's at -24, -12 dB",
        ),
    ],
)
def test_levels_are_named(mse_db: list[float], ber: list[float] | None, line: str) -> None:
    assert shortfalls(row(mse_db, ber), FILTERED, ZERO) == f"mine: {line}"


def test_the_power_of_the_soi_is_that_of_the_level() -> None:
    """A SOI of power 56 / 64: a zero estimate has -0.58 dB, and one of -0.5 dB is worse."""
    power = [float(10 * np.log10(56 / 64))] * 3
    line = shortfalls(row([-0.5, -4.0, -20.0], None), FILTERED | {"mse_db_high": ZERO}, power)
    assert line == "mine: MSE is worse than a zero estimate's at -24 dB"
