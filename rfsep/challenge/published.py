"""Published curves of the official mixture types."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from rfsep.challenge.report import Published


@cache
def _curves() -> list[dict[str, Any]]:
    curves: list[dict[str, Any]] = json.loads((files("rfsep.challenge") / "published.json").read_text())["curves"]
    return curves


def published_curves(soi: str, interference: str) -> list[Published]:
    """Curves published for a mixture type under its official names; none for others.

    >>> [curve.name for curve in published_curves("QPSK", "EMISignal1")]
    ['WaveNet baseline (digitised)', 'UNet baseline (digitised)']
    """
    return [
        Published(curve["name"], curve["sinr_db"], curve["mse_db"], curve["ber"])
        for curve in _curves()
        if (curve["soi"], curve["interference"]) == (soi, interference)
    ]
