"""Curves over the measured SINR on the report page."""

import re
from pathlib import Path
from typing import Any

from rfsep.pages.report import write_page


def with_measured(scores: dict[str, Any]) -> dict[str, Any]:
    """Gives every row the columns over the measured SINR, the last bin open."""
    for row in scores["results"] + scores["baselines"]:
        names = [name for name in row if name.split("_")[0] in ("mse", "ber", "num") and "score" not in name]
        columns = {name: row[name] for name in names}
        shares = {"silent": 0.11, "weaker": 0.124, "stronger": 0.0}
        row["over_measured"] = {"sinr_db": [*row["sinr_db"][:-1], None], **columns, **shares}
    return scores


def test_curves_over_the_measured_sinr_lie_beside_the_nominal_ones(tmp_path: Path, scores: dict[str, Any]) -> None:
    write_page(tmp_path / "page.html", with_measured(scores), {}, [])
    html = (tmp_path / "page.html").read_text()
    assert html.count("<h3>Over the measured SINR</h3>") == 2
    for metric in ("BER", "MSE (dB)"):
        assert html.count(f'aria-label="{metric} over SINR of') == 2
        assert html.count(f'aria-label="{metric} over measured SINR of') == 2
    text = " ".join(html.split())
    assert (
        "In 12 % of the mixtures the interference is more than 10 dB weaker than nominal; 11 % hold none at all."
        in text
    )
    # The highest bin is that of -3 dB, so the open one begins at -1.5 dB, and its tick is a word.
    assert text.count("The last point, more, is of all mixtures above −1.5 dB.") == 4
    assert len(re.findall(r">more<", html)) == 4


def test_scores_from_before_are_shown_without_them(tmp_path: Path, scores: dict[str, Any]) -> None:
    write_page(tmp_path / "page.html", scores, {}, [])
    assert "measured SINR" not in (tmp_path / "page.html").read_text()
