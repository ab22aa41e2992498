"""Metrics as one growing CSV file that survives interruption and resuming."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from rfsep.storage.atomic import write_text

_HEADER = "step,metric,value\n"


class MetricsCsv(Logger):
    """Appends ``step,metric,value`` to a CSV file, a line a value.

    Lightning's own CSVLogger deletes the file of an earlier start of the same run. This one keeps what was logged
    before the checkpoint from which the run goes on, and drops what came behind it: the run logs that again, and a
    killed process may have left half a line.

    Args:
        path: of the CSV file.
        first_step: steps that the checkpoint has, 0 of a new run.
    """

    def __init__(self, path: Path, first_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self._begin(first_step)

    @rank_zero_only
    def _begin(self, first_step: int) -> None:
        lines = self.path.read_text().splitlines(keepends=True)[1:] if self.path.is_file() else []
        kept = [line for line in lines if line.endswith("\n") and int(line.partition(",")[0]) < first_step]
        write_text(self.path, _HEADER + "".join(kept))

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
        """Append the metrics of a step."""
        if step is None:
            return
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([step, key, value] for key, value in sorted(metrics.items()) if key != "epoch")


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics file, as far as they are whole; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["value"]]
