"""Cancels interference of a constant envelope, by the statistics of its envelope and phase."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import power
from rfsep.separators.envelope.detection import Axes, Soft, update
from rfsep.separators.envelope.linearised import Layout, linearise
from rfsep.separators.envelope.polar import learn_polar
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Separated, Separator

_ORDER = 16
_FREEDOM = 4.0


class Found(NamedTuple):
    """Symbols of windows and how badly the rest fits the interference: [B, S] and [B, S]."""

    soft: Soft
    misfit: Tensor


class EnvelopeCanceller:
    """See the module."""

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        further: Separator | None = None,
        block: int = 2560,
        margin: int = 160,
        iterations: int = 20,
    ) -> None:
        if not isinstance(modem, LinearModem):
            raise InputError("envelope: the SOI is no linear single-carrier modulation; choose bpsk, qpsk, qam16, ...")
        self.modem, self.block, self.margin, self.iterations = modem, block, margin, iterations
        self._model = learn_polar(examples, _ORDER, _FREEDOM)
        self._starts = [Lmmse(modem, examples), *([further] if further else [])]
        self._points = torch.view_as_real(modem.constellation.to(torch.complex128))
        self._soi_power = float(modem_autocorrelation(modem, 1).real)

    def _detect(self, layout: Layout, mixture: Tensor, soft: Soft, heat: float) -> Found:
        spread = self._points.square().mean(0).clamp_min(1e-6)
        shape = (*soft.symbols.shape, 2)
        sites = Axes((1 / spread).expand(shape).clone(), torch.zeros(shape, dtype=torch.float64))
        terms = self._model.nuisance.mean.repeat(len(mixture), 1)
        for index in range(self.iterations):
            if index < 3:
                total = power(mixture)
                level = (total - self._soi_power).maximum(0.1 * total).sqrt()[:, None].expand(mixture.shape)
            else:
                rest = mixture - layout.synthesise(soft.symbols, layout.pulse)
                level = rest.abs().mean(1, keepdim=True).expand(mixture.shape)
            warmth = max(1.0, heat ** (1 - index / (0.7 * self.iterations)))
            said = linearise(layout, self._model, mixture, soft.symbols, soft.variance, terms, level, _FREEDOM, warmth)
            sites, soft, terms = update(said, sites, self._points, 2 * layout.reach, 0.3)
        return Found(soft, layout.windows(said.misfit, len(layout.pulse)).mean(2))

    def _window(self, mixture: Tensor, begins: bool, ends: bool) -> Tensor:
        layout = Layout(self.modem, mixture.shape[1], begins=begins, ends=ends, order=_ORDER)
        size = (len(mixture), layout.num_symbols)
        zero = Soft(torch.zeros(size, dtype=torch.complex64), torch.ones(size))
        best = self._detect(layout, mixture, zero, 100.0)
        for start in self._starts:
            symbols = torch.zeros(size, dtype=torch.complex64)
            analysed = self.modem.analyse(start.separate(mixture).soi)
            symbols[:, -layout.first : -layout.first + analysed.shape[1]] = analysed
            variance = (1 - symbols.abs().square().mean(1, keepdim=True)).clamp(0.02, 1).expand(size)
            found = self._detect(layout, mixture, Soft(symbols, variance), 1000.0)
            better = (found.misfit.mean(1) < best.misfit.mean(1))[:, None]
            best = Found(
                Soft(*(torch.where(better, new, old) for new, old in zip(found.soft, best.soft, strict=True))),
                torch.where(better, found.misfit, best.misfit),
            )
        return layout.synthesise(best.soft.symbols, layout.pulse)

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the SOI complex64 [B, T] and its bits uint8 [B, N] in mixtures complex64 [B, T]."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Tensor:
            return in_parallel(lambda part: self._window(part, begins, ends), windows, 16)

        soi = overlapped_ends(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))
