"""Linear MMSE estimation of a cyclostationary SOI in cyclostationary interference, with blind synchronisation."""

from functools import lru_cache, partial
from typing import Literal

from torch import Tensor

from rfsep.separators.cyclic_mmse import posterior_mean
from rfsep.separators.inference.gaussian import Bases
from rfsep.separators.inference.interference import Setup, interference_covariance, make_setup, window_length
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.types import Modem, Separated

_BATCH_SAMPLES = 32 * 1280  # samples per batch


class CyclicLmmse:
    """Cyclic Wiener filter: LMMSE with covariances that vary in time (Gardner, IEEE Trans. Commun. 41, 1993).

    Likelihood gives the timing of SOI and interference, the interference gain and the noise of each window. The filter
    is then the Bayes estimator of Gaussian signals at that timing (`rfsep.separators.inference.gaussian`). With
    ``average`` it is the posterior mean over timings and gains (`rfsep.separators.cyclic_mmse`), exact for
    Gaussian signals.

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
    ) -> None:
        self.modem = modem
        self.covariance = interference_covariance(examples, interference)
        self.timing_known = soi_timing == "known"
        self.noise_power = noise_power
        self.average = average
        self.block = window_length(self.covariance, block)
        self.margin = margin
        self._bases = Bases(self.covariance)
        self._setup = lru_cache(maxsize=8)(self._make_setup)

    def _make_setup(self, length: int, begins: bool, ends: bool) -> Setup:
        return make_setup(
            self.modem,
            self.covariance,
            length,
            begins=begins and self.timing_known,
            ends=ends and self.timing_known,
            timing_known=self.timing_known,
            noise_power=self.noise_power,
            bases=self._bases,
        )

    def separate(self, mixture: Tensor) -> Separated:
        """Linear estimate complex64 [B, T] and the hard bits uint8 [B, N] of its matched filter."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            setup = self._setup(windows.shape[1], begins, ends)
            return in_parallel(partial(self._estimate, setup), windows, max(1, _BATCH_SAMPLES // windows.shape[1]))

        soi = overlapped_ends(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def _estimate(self, setup: Setup, windows: Tensor) -> Tensor:
        if self.average:
            return posterior_mean(setup, windows)
        at = setup.synchroniser(windows)
        reduced = setup.model.reduce(windows, at.soi_offset, at.interference_offset)
        symbols = setup.model.solve(reduced, at.gain, at.noise_power).symbols
        return setup.grid.synthesise(symbols, at.soi_offset)
