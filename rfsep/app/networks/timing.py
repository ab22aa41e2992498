"""Opens timing networks, and counts how often they and the likelihood find a wrong timing."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich import box
from rich.table import Table

from rfsep.app.config import build_modem, build_soi, build_source, console, interference_of, soi_of
from rfsep.app.networks.runs import open_run
from rfsep.app.settings import EvaluateSettings, Node
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.metrics import score
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.models.timing_cnn import TimingCnn
from rfsep.pages.table import shown_levels
from rfsep.separators.inference.interference import make_setup
from rfsep.separators.inference.synchronise import Synchroniser
from rfsep.separators.inference.timing import TimingNetwork
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.storage.atomic import write_json
from rfsep.types import InputError, MixtureBatch, Modem

_BATCH = 64  # windows per batch


def open_timing(source: str) -> TimingNetwork:
    """Opens the timing network of a run folder, of an exported one or of the zoo.

    Args:
        source: see `rfsep.app.networks.runs.locate`.

    Raises:
        InputError: no such run, or its network does not estimate timing.
    """
    run = open_run(source)
    if run.config.model.kind != "timing":
        raise InputError(f"{source}: holds a network that tells no timing, which objective=timing trains")
    return TimingNetwork(cast(TimingCnn, run.model))


def _synchroniser(soi: Modem, interference: Modem, window: int, noise_power: float, options: Row) -> Synchroniser:
    """Makes a synchroniser for windows that begin and end with their SOI, as whole mixtures do."""
    network = None if (source := options.get("timing_network")) is None else open_timing(str(source))
    covariance = modem_periodic_covariance(interference)
    if network is not None:
        network.check(covariance.period)
    return make_setup(
        soi,
        covariance,
        window,
        begins=True,
        ends=True,
        timing_known=True,
        noise_power=noise_power or None,
        timing_network=network,
    ).synchroniser


def timing_errors(synchroniser: Synchroniser, batches: Iterable[MixtureBatch]) -> list[bool]:
    """Returns for each window whether the interference's timing was found wrong."""
    wrong = []
    for batch in batches:
        for first in range(0, len(batch.mixture), _BATCH):
            rows = slice(first, first + _BATCH)
            found = synchroniser.timings(batch.mixture[rows]).interference_offset
            wrong += (found != batch.interference_offset[rows]).tolist()
    return wrong


def _row(name: str, window: int, wrong: Mapping[float, list[bool]]) -> Row:
    """Returns a synchroniser's error rates at every level, lowest first, with 95 % intervals over windows."""
    levels = sorted(wrong)
    errors = np.concatenate([np.array(wrong[level], dtype=np.float64) for level in levels])
    at = np.repeat(levels, [len(wrong[level]) for level in levels])
    # There is one decision per window.
    rates = score(np.zeros_like(errors), errors, np.ones(len(errors), dtype=np.int64), at).ber
    assert rates is not None
    return {
        "synchroniser": name,
        "window_samples": window,
        "sir_db": levels,
        "timing_error": [rate.value for rate in rates],
        "timing_error_low": [rate.low for rate in rates],
        "timing_error_high": [rate.high for rate in rates],
        "num_windows": [len(wrong[level]) for level in levels],
    }


def run_timing_error(settings: EvaluateSettings, setting: Node) -> None:
    """Counts wrong timings of the interference: results.json in runs/<experiment>/ and a table.

    Args:
        settings: settings of evaluate.py with an experiment.
        setting: the experiment's ``timing_error``.
    """
    number = setting["num_windows"] if settings.num_mixtures is None else settings.num_mixtures
    soi, mixing, seed = soi_of(setting["soi"]), setting["mixing"], setting["seed"]
    source: Any = build_source(interference_of(setting["interference"]), "test")
    mixer = Mixer(build_soi(soi), source, **mixing)
    rows = []
    for window in setting["window_samples"]:
        for name, options in setting["synchronisers"].items():
            made = _synchroniser(build_modem(soi), source.modem, window, mixing["noise_power"], options)
            wrong = {
                level: timing_errors(made, fixed_mixtures(mixer, [level], number, window, seed))
                for level in setting["sir_db"]
            }
            rows.append(_row(name, window, wrong))
    path = (settings.out or Path("runs", settings.name)) / "results.json"
    write_json(path, {"schema": SCHEMA, "experiment": settings.name, "rows": rows})
    console.print(_table(settings.name, rows))
    console.print(f"results in {path}")


def _table(title: str, rows: list[Row]) -> Table:
    """Shows timing error rates in the terminal, a column per level; of many levels, about every second one."""
    table = Table(title=f"{title}: timing error rate", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("synchroniser", no_wrap=True)
    table.add_column("samples", justify="right")
    shown = shown_levels(len(rows[0]["sir_db"]))
    for level in rows[0]["sir_db"][shown]:
        table.add_column(f"{level:g} dB", justify="right", no_wrap=True)
    for row in rows:
        pairs = zip(row["timing_error"], row["timing_error_high"], strict=True)
        # Without errors, the upper limit is shown.
        rates = [f"{rate:.3g}" if rate else f"<{high:.2g}" for rate, high in pairs]
        table.add_row(row["synchroniser"], str(row["window_samples"]), *rates[shown])
    return table
