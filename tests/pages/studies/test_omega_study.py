"""The figure of the weight's study: which rows it takes, and that zeros are drawn at their limit."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from rfsep.pages.studies.omega_study import omega_errors, write_omega_figure


def rows() -> list[dict[str, object]]:
    return [
        {
            "separator": f"alpha_rgs:{kind}:{omega}",
            "sir_db": [-12.0, -6.0],
            "ber": [error, error / 10],
            "ber_low": [error / 2, error / 20],
            "ber_high": [2 * error + 1e-4, error / 5 + 1e-4],
        }
        for kind in ("uniform", "falling")
        for omega, error in (("10", 0.1), ("0.1", 0.2), ("1", 0.0))
    ]


def test_a_curve_goes_from_the_least_weight_to_the_most() -> None:
    curves = omega_errors([*rows(), {"separator": "matched_filter"}])
    assert list(curves) == ["alpha_rgs:uniform", "alpha_rgs:falling"]
    assert [point.omega for point in curves["alpha_rgs:uniform"][-12.0]] == [0.1, 1.0, 10.0]
    assert [point.ber for point in curves["alpha_rgs:falling"][-6.0]] == [0.02, 0.0, 0.01]


def test_nothing_is_drawn_where_no_row_has_a_weight(tmp_path: Path) -> None:
    write_omega_figure(tmp_path / "none.png", [{"separator": "matched_filter"}], "nothing")
    assert not (tmp_path / "none.png").exists()


def test_the_figure_has_every_rate_and_the_limit_of_a_zero(tmp_path: Path, drawn: list[Figure]) -> None:
    """At weight 1 no error was seen: the curve goes through the upper limit, where an open triangle stands."""
    write_omega_figure(tmp_path / "omega.png", rows(), "args/omega")
    with Image.open(tmp_path / "omega.png") as picture:
        assert picture.width > picture.height
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["alpha_rgs:uniform", "alpha_rgs:falling"]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1", "1", "10"]
        lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        assert lines == [
            ([0.1, 1.0, 10.0], [0.2, 1e-4, 0.1]),
            ([1.0], [1e-4]),
            ([0.1, 1.0, 10.0], [0.02, 1e-4, 0.01]),
            ([1.0], [1e-4]),
        ]
        assert [line.get_marker() for line in axes.lines[1::2]] == ["v", "v"]
        band = (
            axes.collections[0].get_paths()[0].get_extents()
        )  # the band at -12 dB goes from half of 0.1 / 100 to twice 0.2
        assert (band.ymin, band.ymax) == pytest.approx((1e-6, 0.4 + 1e-4))
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["SIR -12 dB", "SIR -6 dB"]
