"""Finds the level and timing of a SOI from the statistics that repeat with its symbol period."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsep.signals.statistics import modem_covariance
from rfsep.types import InputError, Modem

_LOOKED_AT = 1 << 20  # number of samples that level and timing are estimated from
_LONGEST = 32  # samples per window, unless a symbol period is longer
# The samples are cut into so many parts, to give the estimate's standard error.
_PARTS = 16
_SURE = 3.0  # The level must exceed this many standard errors.
Samples = npt.NDArray[np.complex64]


class Found(NamedTuple):
    """A SOI's level and timing.

    Attributes:
        start: samples from the beginning to the first symbol, less than a symbol period.
        power: power of the SOI, relative to the modem's own.
        error: standard error of ``power``.
    """

    start: int
    power: float
    error: float


def find_soi(samples: Samples, modem: Modem, start: int | None) -> Found:
    """Estimates the level and timing of a SOI from the statistics that repeat with its symbol period.

    Interference that does not repeat with that period adds the same to every timing. With K the SOI's covariance less
    its mean over a period, the power is the mean of y^H K y at the right timing, relative to that of a SOI of the
    modem's power. For root raised cosines this is the estimator of Oerder and Meyr (IEEE Trans. Commun. 36, 1988),
    weighted.

    Args:
        samples: complex64 [T]; only the first ones are used.
        modem: modem of the SOI.
        start: beginning of the first symbol where it is known.

    Raises:
        InputError: the level does not exceed three standard errors.
    """
    period = modem.symbol_period
    length = max(period, _LONGEST)
    whole = modem_covariance(modem, length + period, 8)
    at = torch.stack([whole[m : m + length, m : m + length] for m in range(period)])  # [P, L, L]
    kernels = at - at.mean(0)
    kernel = kernels[0].to(torch.complex64)
    # The response of a SOI depends on its place in the period.
    response = torch.stack([(kernel * one.T).sum() for one in at]).real
    samples = samples[:_LOOKED_AT]
    count = (len(samples) - length + 1) // (period * _PARTS) * period
    if count <= 0:
        raise InputError(
            f"{len(samples)} samples are too few to find the SOI's level; give --soi-power-db, --soi-start"
        )
    windows = torch.from_numpy(samples).unfold(0, length, 1)
    parts = torch.split(windows[: count * _PARTS], count)
    sums = torch.stack([_forms(part, kernel).view(-1, period).mean(0) for part in parts])  # [parts, period]
    centred = sums - sums.mean(1, keepdim=True)
    pattern = torch.stack([response[(torch.arange(period) - m) % period] for m in range(period)])  # [timing, place]
    pattern = pattern - pattern.mean(1, keepdim=True)
    powers = centred.double() @ pattern.T / pattern[0].square().sum()  # [parts, timing]
    best = int(powers.mean(0).argmax()) if start is None else start % period
    power, error = float(powers[:, best].mean()), float(powers[:, best].std() / _PARTS**0.5)
    if power < _SURE * error or power <= 0:
        raise InputError(
            f"the SOI's level cannot be told: {power:.3g} with a standard error of {error:.2g}; give --soi-power-db"
            " (and --soi-start)"
        )
    return Found(best, power, error)


def _forms(windows: Tensor, kernel: Tensor) -> Tensor:
    """Returns y^H K y of windows complex64 [N, L]: float32 [N]."""
    return torch.cat([(part.conj() * (part @ kernel.T)).sum(1).real for part in torch.split(windows, 1 << 14)])
