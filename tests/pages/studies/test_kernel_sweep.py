"""The picture of the kernel sweep holds the numbers of its rows."""

import re
from pathlib import Path
from typing import Any

from rfsep.pages.report import Published
from rfsep.pages.studies.kernel_sweep import measured_errors, published_errors, write_kernel_figure

PUBLISHED = [
    Published("Wave-U-Net, K = 63", [-12.0], [-41.4], None),
    Published("Wave-U-Net, K = 15", [-12.0], [-6.0], None),
    Published("Wave-U-Net, K = 65", [-12.0], [-42.8], None),
    Published("Conv-TasNet", [-12.0], [-0.9], None),
]


def row(name: str, mse_db: float, label: str | None = None) -> dict[str, Any]:
    return {"separator": name, "sir_db": [-12.0], "mse_db": [mse_db], "bound": label is not None, "label": label}


ROWS = [row("net:101", -38.0), row("net:15", -5.0), row("passthrough", 12.0), row("per_bin_slicer", -120.0, "slicer")]


def test_curves_rise_with_the_kernel_and_leave_out_what_has_none() -> None:
    assert measured_errors(ROWS) == {"net": [(15, -5.0), (101, -38.0)]}
    assert published_errors(PUBLISHED) == {"Wave-U-Net": [(15, -6.0), (63, -41.4), (65, -42.8)]}


def test_figure_names_every_curve_and_the_kernels_that_do_not_crowd(tmp_path: Path) -> None:
    write_kernel_figure(tmp_path / "sweep.svg", ROWS, PUBLISHED, "case 4")
    text = set(re.findall(r">([^<>\n]+)</text>", (tmp_path / "sweep.svg").read_text()))
    assert {"net", "published: Wave-U-Net", "slicer: -120.0 dB", "15", "63", "101", "case 4"} <= text
    assert "65" not in text
    write_kernel_figure(tmp_path / "none.svg", ROWS[2:], PUBLISHED, "no network yet")
    assert not (tmp_path / "none.svg").exists()
