"""Validation by SINR, common to all objectives."""

import math
from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

from rfsep.metrics import floored_db


class LevelScores:
    """Collects the results of a validation run per mixture, and averages them by SINR.

    ``val/mse_db/<sinr>`` is the error of a level as the challenge defines it, dB of the mean over mixtures.
    ``val/mse_db`` is the mean over levels, and ``val/mse`` the mean over mixtures. ``val/ber/<sinr>`` is the mean of
    the mixtures' rates, and ``val/ber`` again the mean over levels. A network that returns NaN scores NaN, which no
    checkpoint callback takes for the best.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []

    def add(self, sinr_db: Tensor, errors: Tensor, rates: Mapping[str, Tensor]) -> None:
        """Adds a batch.

        Args:
            sinr_db: float32 [B].
            errors: float32 [B], see `rfsep.training.losses.row_errors`.
            rates: bit error rates float32 [B] by name; NaN if a mixture has no known bits.
        """
        self._rows.append((sinr_db.cpu(), errors.cpu(), {name: rate.cpu() for name, rate in rates.items()}))

    def metrics(self) -> dict[str, float]:
        """Returns all metrics by name, and clears the collection."""
        sinr_db = torch.cat([row[0] for row in self._rows])
        errors = torch.cat([row[1] for row in self._rows])
        at = {level: sinr_db == level for level in sorted(set(sinr_db.tolist()))}
        found = {"mse_db": {level: _db(float(errors[rows].mean())) for level, rows in at.items()}}
        for name in self._rows[0][2]:
            rates = torch.cat([row[2][name] for row in self._rows])
            means = {level: float(rates[rows].nanmean()) for level, rows in at.items()}
            found[name] = {level: mean for level, mean in means.items() if not math.isnan(mean)}
        self._rows.clear()
        metrics = {"val/mse": float(errors.mean())}
        for name, levels in found.items():
            metrics.update({f"val/{name}/{level:g}": value for level, value in levels.items()})
            if levels:
                metrics[f"val/{name}"] = sum(levels.values()) / len(levels)
        return metrics


def _db(error: float) -> float:
    return floored_db(error) if math.isfinite(error) else math.nan


def log_levels(module: pl.LightningModule, scores: LevelScores) -> None:
    """Logs a validation run's metrics, with the error in the progress bar."""
    for name, value in scores.metrics().items():
        module.log(name, value, prog_bar=name == "val/mse_db", sync_dist=True)
