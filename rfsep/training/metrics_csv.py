"""Metrics as one growing CSV file that survives interruption and resuming."""

import csv
import io
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from rfsep.storage.atomic import read_small, write_text
from rfsep.storage.faults import fault, foreign, reason

_LARGEST_BYTES = 1 << 30
_HEADER = "step,metric,value\n"


class MetricsCsv(Logger):
    """Appends ``step,metric,value`` to a CSV file, one line per value.

    Lightning's own CSVLogger deletes the file of an earlier start of the same run. This one keeps the lines before the
    checkpoint from which the run resumes, and drops later ones: the run logs them again, and a killed process may have
    left half a line.

    Args:
        path: path of the CSV file.
        first_step: steps of the checkpoint, 0 for a new run.
    """

    def __init__(self, path: Path, first_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self._begin(first_step)

    @rank_zero_only
    def _begin(self, first_step: int) -> None:
        rows = [row for row in read_metrics(self.path) if int(row["step"]) < first_step]
        kept = [f"{row['step']},{row['metric']},{row['value']}\n" for row in rows]
        write_text(self.path, _HEADER + "".join(kept))

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """The only version."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing, because the run's config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends the metrics of a step."""
        if step is None:
            return
        try:
            with self.path.open("a", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([step, key, value] for key, value in sorted(metrics.items()) if key != "epoch")
        except OSError as error:
            raise fault(self.path, f"cannot be written: {reason(error)}") from error


class StepReport(Logger):
    """Calls a function with the number of the step whenever metrics are logged.

    Args:
        report: called with the step, counted from 0.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self.report = report

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "steps"

    @property
    def version(self) -> str:
        """The only version."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Reports the step."""
        if step is not None:
            self.report(step)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Reads the complete rows of a metrics file; none if there is no file.

    Raises:
        InputError: the file holds no metrics.
    """
    if not path.exists():
        return []
    with foreign(path, "is no file of metrics"):
        text = read_small(path, _LARGEST_BYTES).decode()
        whole = text[: text.rfind("\n") + 1]  # A killed process may have left half a line.
        rows = [row for row in csv.DictReader(io.StringIO(whole)) if row["value"]]
        for row in rows:
            int(row["step"]), str(row["metric"]), float(row["value"])
    return rows
