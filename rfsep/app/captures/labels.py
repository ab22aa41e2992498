"""Which bits a point of a constellation carries, as other people's transmitters have it."""

import numpy as np
import numpy.typing as npt

from rfsep.types import InputError, Modem


def relabelling(name: str, modem: Modem) -> npt.NDArray[np.uint8]:
    """Bits uint8 [points, bits] that a label map gives to each point of a modem's constellation.

    Raises:
        InputError: no such map, or none for that constellation.
    """
    raise InputError(f"unknown label map '{name}'")
