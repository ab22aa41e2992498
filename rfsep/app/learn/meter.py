"""How far a learning has come, and how long it still takes."""

from collections.abc import Mapping
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from rfsep.app.config import console
from rfsep.app.learn.request import Plan

_TRY_S = 10.0  # rough time of a candidate, making it included


class Meter:
    """Adds up the expected seconds of all tasks and what is done of them, for a block.

    Args:
        plan: how long networks train.
        processes: at a time.
    """

    def __init__(self, plan: Plan, processes: int) -> None:
        self._expected = dict[str, float]()
        self._done = dict[str, float]()
        self._later = 60 * plan.core_minutes
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._bar = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=300
        )
        self._task = self._bar.add_task("learning", total=self._later)

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def plan(self, candidates: int) -> None:
        """Tells how many candidates will be tried."""
        self._later += 2 * _TRY_S * candidates
        self._show("candidates")

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Tells what tasks will take, which was expected in sum."""
        self._expected |= seconds

    def part(self, name: str, share: float) -> None:
        """Tells which share of a task is done."""
        self._done[name] = share * self._expected.get(name, _TRY_S)
        self._show(name)

    def done(self, name: str) -> None:
        """Tells that a task is done."""
        self.part(name, 1.0)

    def _show(self, name: str) -> None:
        done = sum(self._done.values())
        self._bar.update(self._task, description=name, completed=done, total=max(self._later, done))
