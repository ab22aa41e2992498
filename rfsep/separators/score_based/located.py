"""Finds OFDM interference in mixtures blindly, and gives its analytic prior at that timing."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.interference import Setup, interference_modem, make_setup
from rfsep.separators.inference.synchronise import Synchronised
from rfsep.separators.score_based.ofdm_prior import OfdmPrior
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.types import InputError, Modem

_LEAST_OUTSIDE = 1e-6  # Rounding leaves this power outside the interference's subspace, even without noise.


class Located(NamedTuple):
    """The interference of windows.

    Attributes:
        setup: for windows of this length.
        at: the result of synchronisation.
        prior: the interference's prior at unit power and at the phase of its constellation.
        gain: factor of that interference in the mixture, complex64 [B].
    """

    setup: Setup
    at: Synchronised
    prior: OfdmPrior
    gain: Tensor


class OfdmLocator:
    """Finds timing, gain and phase of OFDM in windows that begin and end with their SOI.

    Args:
        modem: the SOI's modem.
        interference: the interference's modem.
        noise_power: power of the white noise in the mixture; None to estimate it.
    """

    def __init__(self, modem: Modem, interference: OfdmModem, noise_power: float | None) -> None:
        self.modem = modem
        self.interference = interference
        self.noise_power = noise_power
        self._setup = lru_cache(maxsize=4)(self._make_setup)

    def _make_setup(self, length: int) -> Setup:
        covariance = modem_periodic_covariance(self.interference)
        return make_setup(
            self.modem,
            covariance,
            length,
            begins=True,
            ends=True,
            timing_known=True,
            noise_power=self.noise_power,
        )

    def __call__(self, mixture: Tensor, *, smoothed_outside: bool, omega: float | None) -> Located:
        """Finds the interference in mixtures complex64 [B, T].

        Args:
            mixture: the mixtures.
            smoothed_outside: whether the variance outside the interference's subspace is that of the smoothing noise
                inside; otherwise it is no more than the mixture's noise needs.
            omega: exponent of the interference's prior over kappa^2; None for an exponent of 1.
        """
        setup = self._setup(mixture.shape[1])
        at = setup.synchroniser(mixture)
        room = None if smoothed_outside else (at.noise_power / at.gain).clamp_min(_LEAST_OUTSIDE)
        loosening = None if omega is None else omega * at.gain
        prior = OfdmPrior(self.interference, at.interference_offset, mixture.shape[1], room, loosening)
        return Located(setup, at, prior, torch.polar(at.gain.sqrt().float(), prior.phase(mixture)))


def ofdm_interference(examples: Tensor, interference: Modem | None) -> OfdmModem:
    """Returns the interference's modem, as given or as identified from example frames complex64 [F, T].

    Raises:
        InputError: the interference is no OFDM, or could not be identified.
    """
    found = interference_modem(examples, interference)
    if not isinstance(found, OfdmModem):
        raise InputError("only OFDM interference has an analytic prior; give interference=")
    return found
