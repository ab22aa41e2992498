"""Measures alpha-RGS as published and as implemented here, on the same mixtures and priors: part of make bench."""

import os
import time

import torch
from bench import best, write

from rfsep.mixtures.mix import Mixer
from rfsep.separators.score_based.alpha_rgs import AlphaRgs
from rfsep.separators.score_based.noise_levels import UniformLevels
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop

_MEASURED = 100  # measured iterations, of the published 20,000
_ROWS = 16


def alpha_rgs() -> None:
    """Measures seconds and score evaluations per mixture of 2,560 samples; the published ones are extrapolated."""
    modem, nothing = LinearModem(span=4), torch.zeros((0, 0), dtype=torch.complex64)
    mixer = Mixer(modem, RandomCrop(OfdmModem(), power=56 / 64))
    mixture = mixer.draw(torch.full((64,), -12.0), 2560, torch.Generator().manual_seed(0)).mixture
    plain = {"draws": 1, "newton": False, "soft": False, "track_gain": False, "start": "matched_filter"}

    def published(iterations: int) -> float:
        separator = AlphaRgs(modem, nothing, OfdmModem(), levels=UniformLevels(iterations), **plain)  # type: ignore[arg-type]
        separator.separate(mixture[:_ROWS])
        start = time.perf_counter()
        separator.separate(mixture[:_ROWS])
        return (time.perf_counter() - start) / _ROWS

    whole = UniformLevels().iterations
    first, longer = published(1), published(1 + _MEASURED)
    extrapolated = first + (longer - first) * (whole - 1) / _MEASURED
    ours = AlphaRgs(modem, nothing, OfdmModem())
    seconds = {rows: best(lambda: ours.separate(mixture[:rows])) / rows for rows in (1, 4, 16, 64)}  # noqa: B023
    write(
        "alpha_rgs",
        {
            "published_extrapolated_seconds": extrapolated,
            "published_measured_iterations": _MEASURED,
            "published_score_evaluations": 2 * whole,
            "seconds": seconds[_ROWS],
            "score_evaluations": ours.score_evaluations,
            "times_published": extrapolated / seconds[_ROWS],
            "seconds_in_a_batch_of": {str(rows): value for rows, value in seconds.items()},
        },
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    alpha_rgs()
