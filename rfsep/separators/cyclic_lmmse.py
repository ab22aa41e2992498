"""Linear MMSE estimation of a cyclostationary SOI in cyclostationary interference, with blind synchronisation."""

from functools import lru_cache, partial
from typing import Literal

import torch
from torch import Tensor

from rfsep.separators.cyclic_mmse import posterior_mean
from rfsep.separators.inference.equaliser import AsSent, as_sent, inverse
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.inference.gaussian import Bases
from rfsep.separators.inference.interference import Setup, known_interference, make_setup, window_length
from rfsep.separators.inference.rivals import Rank, Ranked, Rivals
from rfsep.separators.inference.synchronise import Synchroniser
from rfsep.separators.inference.timing import TimingNetwork
from rfsep.separators.windows import fields_in_parallel
from rfsep.types import InputError, Modem, Separated

_BATCH_SAMPLES = 32 * 1280  # samples per batch
_SETUPS = 32  # setups kept: one per length and place of a window and delay of the interference


class CyclicLmmse:
    """Cyclic Wiener filter: LMMSE with covariances that vary in time (Gardner, IEEE Trans. Commun. 41, 1993).

    Likelihood gives the timing of SOI and interference, the interference gain and the noise of each window. The filter
    is then the Bayes estimator of Gaussian signals at that timing (`rfsep.separators.inference.gaussian`). With
    ``average`` it is the posterior mean over timings and gains (`rfsep.separators.cyclic_mmse`), exact for
    Gaussian signals.

    Where the interference is OFDM whose modem the examples show, its rays and its fraction of a sample are undone by a
    filter first (`rfsep.separators.inference.equaliser`).

    A window that stationary or white interference explains better is left to LMMSE or the matched filter
    (`rfsep.separators.inference.rivals`). So is one whose bits contradict sure linear ones, as they do where the SOI
    has passed a channel (`rfsep.separators.inference.evidence`), if the SOI's timing is known.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T]; its covariance is learned from them if its modem is
            not given.
        interference: modem of the interference.
        soi_timing: ``known``: a symbol starts at sample 0 and the signal begins and ends with the mixture.
            ``estimated``: the waveform is at the timing found; bits are those of a receiver that starts at sample 0.
        noise_power: power of the white noise in the mixture; None to estimate it.
        average: average over timings and gains, instead of taking the likeliest.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
        timing_network: tells the interference's timing; None: it is found by likelihood. It needs ``interference``, for
            a period that is learned from examples may begin anywhere in a symbol.

    Raises:
        InputError: a timing network without the interference's modem, or made for another period.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        interference: Modem | None = None,
        soi_timing: Literal["known", "estimated"] = "known",
        noise_power: float | None = None,
        average: bool = False,
        block: int = 2560,
        margin: int = 160,
        timing_network: TimingNetwork | None = None,
    ) -> None:
        if timing_network is not None and interference is None:
            raise InputError("timing_network needs interference=: a period learned from examples may begin anywhere")
        self.modem = modem
        self.covariance, self.received = known_interference(examples, interference)
        self.timing_known = soi_timing == "known"
        self.noise_power = noise_power
        self.average = average
        self.block = window_length(self.covariance, block)
        self.margin = margin
        self.timing_network = timing_network
        if timing_network is not None:
            timing_network.check(self.covariance.period)
        self._bases = Bases(self.covariance)
        self._rivals = Rivals(modem, examples, interference, self.covariance.period)
        self._fallback = Fallback(modem, examples) if self.timing_known else None
        self._setup = lru_cache(maxsize=_SETUPS)(self._make_setup)

    def _make_setup(self, length: int, begins: bool, ends: bool, delay: float) -> Setup:
        return make_setup(
            self.modem,
            self.covariance,
            length,
            begins=begins and self.timing_known,
            ends=ends and self.timing_known,
            timing_known=self.timing_known,
            noise_power=self.noise_power,
            bases=self._bases,
            timing_network=self.timing_network,
            passed=None if self.received is None else inverse(self.received, delay),
        )

    def separate(self, mixture: Tensor) -> Separated:
        """Linear estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""
        if self.received is None:
            soi = self._separate(mixture, AsSent(torch.arange(len(mixture)), mixture, 0.0))
        else:
            soi = torch.empty_like(mixture)
            for part in as_sent(self.received, self._synchroniser, mixture):
                soi[part.rows] = self._separate(mixture[part.rows], part)
        return Separated(soi, self.modem.decide(soi))

    def _synchroniser(self, length: int) -> Synchroniser:
        return self._setup(length, False, False, 0.0).synchroniser

    def _separate(self, mixture: Tensor, part: AsSent) -> Tensor:
        """Estimates complex64 [n, T] of mixtures as received and as their interference was sent."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Ranked:
            setup = self._setup(windows.shape[1], begins, ends, part.delay)
            return fields_in_parallel(
                partial(self._estimate, setup), windows, max(1, _BATCH_SAMPLES // windows.shape[1])
            )

        place = (self.block, self.margin, self.modem.symbol_period)
        return self._rivals.chosen(estimate, part.mixture, mixture, place)[:, 0]

    def _estimate(self, setup: Setup, windows: Tensor) -> Ranked:
        at = setup.synchroniser(windows)
        if self.average:
            soi = posterior_mean(setup, windows, at)
        else:
            reduced = setup.model.reduce(windows, at.soi_offset, at.interference_offset)
            symbols = setup.model.solve(reduced, at.gain, at.noise_power).symbols
            soi = setup.grid.synthesise(symbols, at.soi_offset)
        rank = self._rivals(setup.synchroniser, windows, at, Rank.CYCLIC, at.log_likelihood).rank
        if self._fallback is not None:
            failed, by_lmmse = self._fallback.contradicted(windows, soi)
            simpler = torch.where(by_lmmse, int(Rank.STATIONARY), int(Rank.WHITE))
            rank = torch.where(failed & (rank == Rank.CYCLIC), simpler, rank)
        return Ranked(soi[:, None], rank)
