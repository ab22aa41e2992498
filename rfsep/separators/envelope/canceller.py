"""Cancels interference of a constant or slowly varying envelope, by the statistics of its envelope and phase."""

from functools import lru_cache, partial

import torch
from torch import Tensor

from rfsep.separators.envelope.layout import Layout
from rfsep.separators.envelope.polar import learn_polar
from rfsep.separators.envelope.search import Search
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Separated, Separator

_ORDER = 32  # order of the autoregressions of radius and phase steps; tuned on val
_FREEDOM = 4.0  # degrees of freedom of their innovations; tuned on val
_ROWS = 16  # windows at once, which bounds the memory


class EnvelopeCanceller:
    """Detects the SOI's symbols such that what is left has the interference's envelope and phase.

    The interference is A e^{j phi_t}, as analogue FM, FSK, GFSK, MSK and chirps are, plus deviations with few unknowns
    per window, see `rfsep.separators.envelope.nuisance`. The radius of y - G a then deviates little from A, for any
    phase; that is one real equation per sample (the constant modulus criterion; Treichler & Agee, IEEE Trans. ASSP 31,
    1983). The phase's steps, with their learned autoregression, give the other. Both are linearised about the current
    symbols, and expectation propagation finds the symbols' posteriors under their discrete prior.

    Windows in which the envelope's structure explains nothing, or whose bits contradict sure linear ones, are left to
    linear estimators (`rfsep.separators.inference.evidence.Fallback`).

    Args:
        modem: the SOI's modem, linear with one carrier.
        examples: frames of the interference, complex64 [F, T]; they may hold pauses.
        further: a separator whose estimate is one more start where the interference is as strong as the SOI.
        block: samples per window.
        margin: samples at a window's inner edge that its neighbour estimates instead.

    Raises:
        InputError: the SOI has several carriers, or see `rfsep.separators.envelope.polar.learn_polar`.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        further: Separator | None = None,
        block: int = 2560,
        margin: int = 160,
    ) -> None:
        if not isinstance(modem, LinearModem):
            raise InputError("envelope: the SOI must be a linear modulation of one carrier, as qpsk, bpsk or qam16 are")
        self.modem, self.block, self.margin = modem, block, margin
        self._model = learn_polar(examples, _ORDER, _FREEDOM)
        self._fallback = Fallback(modem, examples)
        self._starts: list[Separator] = [Lmmse(modem, examples)]
        if further is not None:
            self._starts.append(further)
        self._searches = lru_cache(maxsize=4)(self._search)

    def _search(self, length: int, begins: bool, ends: bool) -> Search:
        layout = Layout(self.modem, length, begins=begins, ends=ends, order=_ORDER)
        power = float(modem_autocorrelation(self.modem, 1).real)
        return Search(layout, self._model, self.modem.constellation.to(torch.complex64), power)

    def _window(self, mixture: Tensor, begins: bool, ends: bool) -> Tensor:
        """Estimates the SOI in windows complex64 [B, T]."""
        search = self._searches(mixture.shape[1], begins, ends)
        layout = search.layout

        def symbols_of(separator: Separator, part: Tensor) -> Tensor:
            inner = self.modem.analyse(separator.separate(part).soi)
            behind = layout.num_symbols + layout.first - inner.shape[1]
            return torch.nn.functional.pad(inner, (-layout.first, behind))

        estimates = [partial(symbols_of, start) for start in self._starts]
        state = search.detected(mixture, estimates)
        soi = layout.synthesise(state.soft.symbols, layout.pulse)
        misfit = search.unexplained(mixture, state, estimates[0](mixture).to(state.soft.symbols.dtype))
        return self._fallback.honest(mixture, soi, misfit)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the SOI complex64 [B, T], its posterior mean, and hard bits uint8 [B, N]."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            return in_parallel(lambda part: self._window(part, begins, ends), windows, _ROWS)

        soi = overlapped_ends(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))
