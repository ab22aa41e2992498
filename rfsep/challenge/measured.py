"""Sorts mixtures by the SINR that they really have, which a source with pauses leaves far from the nominal one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfsep.iq import db
from rfsep.metrics import Floats, row_mse

BIN_DB = 3.0
FAR_DB = 10.0  # distance from the nominal SINR beyond which a mixture is counted apart
_SILENT = 1e-10  # Interference of so small a part of the SOI's power is what rounding leaves.


class Powers(NamedTuple):
    """The mean powers of the two parts of each mixture.

    Attributes:
        soi: float64 [M].
        interference: float64 [M], at the level it has in the mixture.
    """

    soi: Floats
    interference: Floats


def powers_of(soi: NDArray[np.complex64], interference: NDArray[np.complex64]) -> Powers:
    """Measures the parts of mixtures, complex64 [M, T] each."""
    silence = np.broadcast_to(np.zeros(soi.shape[1], np.complex64), soi.shape)
    return Powers(row_mse(soi, silence), row_mse(interference, silence))


def measured_db(powers: Powers) -> Floats:
    """Returns the SINR of each mixture in dB, float64 [M]; infinite without interference.

    >>> measured_db(Powers(np.array([1.0, 1.0]), np.array([100.0, 0.0])))
    array([-20.,  inf])
    """
    silent = powers.interference <= _SILENT * powers.soi
    pairs = zip(powers.soi.tolist(), powers.interference.tolist(), silent.tolist(), strict=True)
    return np.array([np.inf if nothing else db(one / other) for one, other, nothing in pairs])


class Bins(NamedTuple):
    """Bins of the measured SINR, 3 dB wide; their middles run from the lowest nominal level to the highest.

    Attributes:
        middle_db: middle of each mixture's bin, float64 [M].
        open_db: level that stands for the open bin, which takes all mixtures above the highest bin.
    """

    middle_db: Floats
    open_db: float


def bins_of(measured: Floats, nominal: Floats) -> Bins:
    """Sorts mixtures of measured and nominal SINR float64 [M]. The lowest bin takes everything below it.

    >>> bins_of(np.array([-15.0, -12.1, 1.4, 1.6, np.inf]), np.array([-12.0, -12.0, 0.0, 0.0, 0.0]))
    Bins(middle_db=array([-12., -12.,   0.,   3.,   3.]), open_db=3.0)
    """
    low, high = float(nominal.min()), float(nominal.max())
    beyond = float(np.ceil((high - low) / BIN_DB - 1e-6)) + 1  # number of the open bin
    place = np.clip(np.floor((measured - low) / BIN_DB + 0.5), 0, beyond)
    return Bins(low + BIN_DB * place, low + BIN_DB * beyond)


class Shares(NamedTuple):
    """Shares of the mixtures that are not what their nominal SINR says.

    Attributes:
        silent: no interference.
        weaker: interference more than 10 dB below nominal, the silent ones among them.
        stronger: interference more than 10 dB above nominal.
    """

    silent: float
    weaker: float
    stronger: float


def shares_of(measured: Floats, nominal: Floats) -> Shares:
    """Counts the mixtures far from their nominal SINR.

    >>> shares_of(np.array([-12.0, 5.0, np.inf, -23.0]), np.full(4, -12.0))
    Shares(silent=0.25, weaker=0.5, stronger=0.25)
    """
    off = measured - nominal
    return Shares(float(np.isinf(measured).mean()), float((off > FAR_DB).mean()), float((off < -FAR_DB).mean()))
