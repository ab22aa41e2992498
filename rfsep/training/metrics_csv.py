"""Metrics as one growing CSV file that survives interruption and resuming."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only


class MetricsCsv(Logger):
    """Appends ``step,metric,value`` to a CSV file, a line a value.

    Lightning's own CSVLogger deletes the file of an earlier start of the same run; this one keeps what is there, and a
    resumed run leaves out what it logs again.

    Args:
        path: of the CSV file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._last = max((int(row["step"]) for row in read_metrics(path)), default=-1)

    @property
    def name(self) -> str:
        """Of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """There is one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append the metrics of a step, unless the run logged it before it was interrupted."""
        if step is None or step <= self._last:
            return
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "metric", "value"])
            writer.writerows([step, key, value] for key, value in sorted(metrics.items()) if key != "epoch")


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics file, as far as they are whole; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["value"]]
