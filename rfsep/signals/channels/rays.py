"""Rays of a channel, as a person writes them: ``0:0,2:-6`` is a second ray, 2 samples later and 6 dB weaker."""

import cmath
import math
from typing import NamedTuple

from rfsep.types import InputError


class Ray(NamedTuple):
    """One path.

    Attributes:
        delay: in samples.
        power_db: power.
        phase_deg: phase; None where it is not told.
    """

    delay: float
    power_db: float
    phase_deg: float | None

    def gain(self, phase_rad: float = 0.0) -> complex:
        """Returns the complex gain, with ``phase_rad`` where no phase is told."""
        phase = phase_rad if self.phase_deg is None else math.radians(self.phase_deg)
        return cmath.rect(10 ** (self.power_db / 20), phase)


def parse_rays(text: str) -> tuple[Ray, ...]:
    """Returns the rays of ``DELAY:DB`` or ``DELAY:DB:DEGREES``, separated by commas; none of an empty text.

    >>> parse_rays("0:0,2.5:-6:90")
    (Ray(delay=0.0, power_db=0.0, phase_deg=None), Ray(delay=2.5, power_db=-6.0, phase_deg=90.0))
    >>> parse_rays("0:0,2.5:-6:90")[1].gain().imag
    0.5011872336272722

    Raises:
        InputError: a ray is something else.
    """
    rays = []
    for part in text.split(",") if text.strip() else ():
        fields = part.split(":")
        try:
            numbers = [float(field) for field in fields]
        except ValueError:
            numbers = []
        if len(numbers) not in (2, 3) or not all(map(math.isfinite, numbers)) or numbers[1] > 200:
            raise InputError(
                f"channel '{text}': ray '{part.strip()}' is no DELAY:DB or DELAY:DB:DEGREES, in samples, as in 0:0,2:-6"
            )
        rays.append(Ray(numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else None))
    return tuple(rays)
