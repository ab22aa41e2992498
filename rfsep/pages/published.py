"""Published curves of the official mixture types."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from rfsep.pages.report import Published

OFFICIAL_NUM_SAMPLES = 40960


@cache
def _curves() -> list[dict[str, Any]]:
    curves: list[dict[str, Any]] = json.loads((files("rfsep.pages") / "published.json").read_text())["curves"]
    return curves


def published_curves(soi: str, interference: str, num_samples: int) -> list[Published]:
    """Returns curves published for a mixture type under its official names and length; none for others.

    >>> [curve.name for curve in published_curves("QPSK", "EMISignal1", 40960)]
    ['WaveNet baseline (digitised)', 'UNet baseline (digitised)']
    """
    if num_samples != OFFICIAL_NUM_SAMPLES:
        return []
    return [
        Published(curve["name"], curve["sinr_db"], curve["mse_db"], curve["ber"])
        for curve in _curves()
        if (curve["soi"], curve["interference"]) == (soi, interference)
    ]
