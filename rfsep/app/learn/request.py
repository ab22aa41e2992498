"""The request of ``rfsep learn``, and what follows from it alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rfsep.types import InputError

LEVELS_DB = (-30.0, -24.0, -18.0, -12.0, -6.0, 0.0)
_MOST_MINUTES = 10080.0  # a week


@dataclass(frozen=True)
class LearnRequest:
    """What to learn, from what, and for how long.

    Attributes:
        examples: option of conf/interference, or recordings: a file, a folder or a pattern.
        soi: option of conf/soi.
        minutes: minutes of two cores; structure takes what it needs, and networks train for the rest.
        seed: seed of mixtures and networks.
        datatype: of raw samples, as SigMF names it.
        sample_rate: Hz, where the recordings do not say it.
        resample: rate in Hz at which the SOI has its samples per symbol; None for the recordings' own.
    """

    examples: str
    soi: str = "qpsk"
    minutes: float = 20.0
    seed: int = 0
    datatype: str | None = None
    sample_rate: float | None = None
    resample: float | None = None

    def check(self) -> None:
        """Refuses numbers that cannot be meant.

        Raises:
            InputError: names the option and its value.
        """
        if not 0 < self.minutes <= _MOST_MINUTES:
            raise InputError(f"--minutes is {self.minutes:g}, expected more than 0 and at most {_MOST_MINUTES:g}")
        for name in ("sample_rate", "resample"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"--{name.replace('_', '-')} is {value}, expected a positive number of Hz")

    def told(self) -> dict[str, Any]:
        """Returns the request in plain containers, as a worker takes it."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """How much is tried and trained, from the minutes alone, so that it never depends on the machine.

    Attributes:
        first: mixtures per level in the first round.
        all: mixtures per level in both rounds.
        final: further mixtures per level that the result is measured on.
        core_minutes: of networks' training, on a core of the machine that `CORE_FLOPS` was measured on.
    """

    first: int
    all: int
    final: int
    core_minutes: float


# Training rate of one core, measured: StridedUNet in bfloat16 on the machine of docs/reproducing.md, both cores busy.
CORE_FLOPS = 1.0e11
_FOR_NETWORKS = 0.7  # share of the minutes, by choice; the rest is for structure and for measuring


def plan_of(minutes: float) -> Plan:
    """Returns the plan for some minutes of two cores.

    >>> plan_of(20.0)
    Plan(first=4, all=24, final=100, core_minutes=28.0)
    """
    core_minutes = 2 * _FOR_NETWORKS * minutes
    if minutes < 4:
        return Plan(2, 8, 40, core_minutes)
    return Plan(4, 24, 100, core_minutes)


def folder_of(out: Path, *parts: str) -> Path:
    """Returns a path in the folder of the learning's unfinished work."""
    return out.joinpath("work", *parts)
