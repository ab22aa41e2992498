"""The figure of the weight's study: which rows it takes, and that zeros are drawn at their limit."""

from pathlib import Path

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


def test_the_figure_is_drawn_where_there_is_anything_to_draw(tmp_path: Path) -> None:
    write_omega_figure(tmp_path / "none.png", [{"separator": "matched_filter"}], "nothing")
    assert not (tmp_path / "none.png").exists()
    write_omega_figure(tmp_path / "omega.png", rows(), "args/omega")
    assert (tmp_path / "omega.png").stat().st_size > 10_000
