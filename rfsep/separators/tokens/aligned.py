"""Separates by a network that sees mixtures on the symbol grid of their interference."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from rfsep.iq import power
from rfsep.separators.inference.equaliser import AsSent, as_sent, inverse
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.inference.grid import SoiGrid
from rfsep.separators.inference.interference import make_setup, received_modem_of
from rfsep.separators.inference.rivals import Rank, Ranked, Rivals
from rfsep.separators.inference.synchronise import Synchroniser
from rfsep.separators.tokens.token_detection import TokenDetector, TokenSymbols
from rfsep.separators.tokens.tokens import TokenGrid, Tokens
from rfsep.separators.tokens.views import (
    Look,
    Timing,
    TokenModel,
    View,
    answered,
    bounded,
    check_model,
    looked,
    real_columns,
    shortened,
)
from rfsep.separators.windows import fields_in_parallel
from rfsep.signals.constellations import bit_means, bits_per_symbol, demap, posterior_mean
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.types import InputError, MixtureBatch, Modem, Separated

INPUTS = ("time", "band", "carriers", "detection")
_BATCH_SAMPLES = 64 * 1280  # samples per batch
_LEAST_NOISE = 1e-3  # Detection assumes at least this noise power; without any it would never doubt a decision.
_SILENCE = 1e-12
_SUREST = 40.0  # largest magnitude of a log-likelihood ratio before the network
_MISFIT = 2.0  # residual over the noise that is more than chance
_SETUPS = 32  # setups kept: one per length and place of a window and delay of the interference


class Aligned:
    """Synchronises a mixture, cuts it into tokens, and lets a network decide the SOI's bits.

    The network sees any of these for each token: ``time``, its samples at unit power of the window; ``band``, its
    matched-filter outputs twice per symbol, which hold everything in the SOI's band; ``carriers``, the interference's
    carriers beside the SOI; ``detection``, a few iterations of `rfsep.separators.tokens.token_detection`, whose
    log-likelihood ratios the network then corrects.

    Args:
        modem: the SOI's modem, one data symbol per period.
        examples: frames of the interference, complex64 [F, T], from which its modem is identified if not given.
        model: see `rfsep.models.token_transformer.TokenTransformer`; None for the bits of detection alone.
        interference: modem of the interference, OFDM.
        inputs: names of the network's inputs.
        iterations: iterations of detection.
        soi_timing: ``known``: a symbol starts at sample 0 and the signal begins and ends with the mixture.
            ``estimated``: the waveform is at the timing found; bits are those of a receiver that starts at sample 0.
        noise_power: power of the white noise in the mixture; None to estimate it.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.

    Raises:
        InputError: an input is unknown, or the model takes another number of them.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        model: TokenModel | None = None,
        interference: Modem | None = None,
        inputs: Sequence[str] = ("detection",),
        iterations: int = 10,
        soi_timing: Literal["known", "estimated"] = "known",
        noise_power: float | None = None,
        block: int = 2560,
        margin: int = 160,
    ) -> None:
        if unknown := sorted(set(inputs) - set(INPUTS)):
            raise InputError(f"unknown inputs {', '.join(unknown)}; choose from {', '.join(INPUTS)}")
        self.modem = modem
        self.received = received_modem_of(examples, interference)
        self.interference = self.received.received(self.received.carrier)  # A filter undoes the channel first.
        self.model = model
        self._linear = Fallback(modem, examples)
        self.inputs = tuple(inputs)
        self.timing_known = soi_timing == "known"
        self.noise_power = noise_power
        self.block = block
        self.margin = margin
        self.grid = TokenGrid(modem, self.interference.symbol_period)
        self.iterations = iterations
        self._setup = lru_cache(maxsize=_SETUPS)(self._make_setup)
        self._detector = lru_cache(maxsize=_SETUPS)(self._make_detector)
        self.detector = self._detector(0.0)
        self._rivals = Rivals(modem, examples, self.received, self.grid.period)
        if model is not None:
            needed = {"num_inputs": self.num_inputs, "num_bits": self.grid.slots * bits_per_symbol(modem.constellation)}
            needed |= {"num_phases": self.grid.step, "period": self.grid.period}
            check_model(model, needed, f"inputs {', '.join(inputs)}")

    @property
    def num_inputs(self) -> int:
        """Size of the network's input per token."""
        shown, period = self.detector.num_shown, self.grid.period
        sizes = {"time": 2 * period, "band": 4 * self.grid.num_seen, "carriers": 2 * len(self.detector.near)}
        return 2 + sum({**sizes, "detection": 7 * shown}[name] for name in self.inputs)

    def _make_detector(self, delay: float) -> TokenDetector:
        """For mixtures from which the channel, and ``delay`` samples more, were taken."""
        grid = TokenGrid(self.modem, self.interference.symbol_period, passed=inverse(self.received, delay))
        return TokenDetector(grid, self.interference, iterations=self.iterations)

    def _make_setup(self, length: int, begins: bool, ends: bool, delay: float = 0.0) -> tuple[SoiGrid, Synchroniser]:
        made = make_setup(
            self.modem,
            modem_periodic_covariance(self.interference),
            length,
            begins=begins and self.timing_known,
            ends=ends and self.timing_known,
            timing_known=self.timing_known,
            noise_power=self.noise_power,
            passed=inverse(self.received, delay),
        )
        return made.grid, made.synchroniser

    def view(self, mixture: Tensor, at: Timing, begins: bool, ends: bool, delay: float = 0.0) -> View:
        """Returns the network's input for windows complex64 [B, T].

        Args:
            mixture: the windows.
            at: their timing.
            begins: whether the SOI begins with the window.
            ends: whether the SOI ends with the window.
            delay: samples that were taken from the interference's delay.

        Raises:
            InputError: a window may be too short for a whole token.
        """
        if mixture.shape[1] < (least := 2 * self.grid.period - 1):
            raise InputError(f"a window of {mixture.shape[1]} samples may hold no whole token; {least} always do")
        grid, _ = self._setup(mixture.shape[1], begins, ends, delay)
        tokens = self.grid.cut(mixture, at.soi_offset, at.interference_offset)
        rms = power(mixture).clamp_min(_SILENCE).sqrt()
        columns = [rms.log()[:, None, None].expand(*tokens.phase.shape, 1), tokens.inside.float().mean(2, keepdim=True)]
        symbols = None
        if "detection" in self.inputs:
            exists = self._exists(grid, tokens, at.soi_offset)
            symbols = self._detector(delay)(tokens, at.noise_power.float().clamp_min(_LEAST_NOISE), exists)
            columns += [_detection_columns(symbols)]
        if "time" in self.inputs:
            columns += [real_columns(tokens.samples / rms[:, None, None])]
        if "band" in self.inputs:
            columns += [real_columns(self._band(tokens) / rms[:, None, None])]
        if "carriers" in self.inputs:
            columns += [real_columns(self.detector.carriers_beside(tokens) / rms[:, None, None])]
        return View(
            torch.cat(columns, 2), tokens.phase, self._edge(tokens), self._prior(tokens, symbols), tokens, symbols
        )

    def guidance(self, mixture: Tensor) -> Tensor:
        """Returns complex64 [B, T, 0]: the network sees no other estimate; see `rfsep.separators.tokens.corrected`."""
        return mixture.new_zeros((*mixture.shape, 0))

    def training_view(self, batch: MixtureBatch, guidance: Tensor) -> View:
        """Returns the network's input for training mixtures, cut at the true timing of both signals.

        Raises:
            InputError: the timing is not known.
        """
        for name in ("soi_offset", "interference_offset"):
            if bool((getattr(batch, name) < 0).any()):
                raise InputError(f"tokens need the timing of every training mixture; its {name} is not known here")
        noise = power(batch.mixture - batch.soi - batch.interference)
        if self.noise_power is not None:
            noise = torch.full_like(noise, self.noise_power)
        at = Timing(batch.soi_offset, batch.interference_offset, noise)
        return self.view(batch.mixture, at, self.timing_known, self.timing_known)

    def training_look(self, batch: MixtureBatch, guidance: Tensor) -> Look:
        """Returns `training_view` for a network with tokens of its own."""
        return looked(self.training_view(batch, guidance), batch.soi_offset, self.grid.step)

    def look(self, mixture: Tensor, guidance: Tensor, begins: bool, ends: bool) -> Look:
        """Returns the input of a network with tokens of its own, for windows complex64 [B, T] of unknown timing."""
        at = self._synchronised(mixture, begins, ends)
        view, grid = self.view(mixture, at, begins, ends), self._setup(mixture.shape[1], begins, ends)[0]
        look = looked(view, at.soi_offset, self.grid.step)
        if view.symbols is None:
            return look
        around = self.symbols(view, torch.zeros_like(view.prior), grid)  # Undecided symbols inside have mean zero.
        beyond = grid.synthesise(around * grid.exists(at.soi_offset), at.soi_offset)
        return look._replace(beyond=beyond, doubted=_doubted(view.symbols), bound=self._bound(view))

    def _synchronised(self, mixture: Tensor, begins: bool, ends: bool) -> Timing:
        found = self._setup(mixture.shape[1], begins, ends)[1](mixture)
        return Timing(found.soi_offset, found.interference_offset, found.noise_power)

    def _exists(self, grid: SoiGrid, tokens: Tokens, soi_offset: Tensor) -> Tensor:
        """Tells which of the visible symbols are on the air: bool [B, K, n]."""
        column = self.grid.seen_symbols(tokens) - grid.period_of_symbol[0]
        known = torch.nn.functional.pad(grid.exists(soi_offset).expand(len(column), -1), (0, 1))  # 0 beyond the grid
        column = torch.where((column >= 0) & (column < grid.num_symbols), column, grid.num_symbols)
        return known.gather(1, column.flatten(1)).view(column.shape)

    def _band(self, tokens: Tokens) -> Tensor:
        """Returns matched-filter outputs of tokens at visible symbols and half-way between: complex64 [B, K, 2 n]."""
        found = []
        for shift in (0, self.grid.step // 2):
            pulses = self.grid.pulses[(tokens.phase + shift) % self.grid.step]  # [B, K, P, n]
            found.append((tokens.samples[:, :, None] @ pulses.conj())[:, :, 0])
        return torch.cat(found, 2) / self.grid.step

    def _edge(self, tokens: Tokens) -> Tensor:
        count, period = tokens.inside.sum(2), self.grid.period
        first, last = ~tokens.inside[:, :, 0], ~tokens.inside[:, :, -1]
        edge = torch.where(first, count, torch.where(last, period + count, 0))
        return torch.where(count == 0, 2 * period, edge)

    def _own(self, values: Tensor) -> Tensor:
        """Selects a token's own symbols [B, K, slots] from values of all visible ones [B, K, >= n]."""
        return values[:, :, self.grid.reach : self.grid.reach + self.grid.slots]

    def _prior(self, tokens: Tokens, symbols: TokenSymbols | None) -> Tensor:
        """Returns the log-likelihood ratios float32 [B, K, slots * bits] before the network."""
        points = self.modem.constellation
        if symbols is None:
            return torch.zeros((*tokens.phase.shape, self.grid.slots * bits_per_symbol(points)))
        return demap(self._own(symbols.mean), points, self._own(symbols.variance)).clamp(-_SUREST, _SUREST)

    def _bound(self, view: View) -> Tensor | None:
        """Returns largest magnitudes of log-likelihood ratios, float32 [B, K, slots * bits]; None without detection.

        More residual than the noise of the model explains is an error of the model, which symbols suffer alike.
        """
        symbols = view.symbols
        if symbols is None:
            return None
        variance = self._own(symbols.variance) * _unexplained(symbols)[:, None, None]
        bound = demap(self._own(symbols.mean), self.modem.constellation, variance).abs()
        return torch.where(_doubted(symbols)[:, None, None], bound, _SUREST)

    def logits(self, view: View) -> Tensor:
        """Returns log-likelihood ratios float32 [B, K, slots * bits] of the network, or of detection without one."""
        if self.model is None:
            if "detection" not in self.inputs:
                raise InputError("without a model there are no bits but those of the inputs detection")
            return view.prior
        return answered(self.model, view)

    def symbols(self, view: View, logits: Tensor, grid: SoiGrid) -> Tensor:
        """Returns posterior means complex64 [B, S] of the symbols of a grid."""
        points, shown = self.modem.constellation, self.grid.num_seen
        seen = self.grid.seen_symbols(view.tokens) - grid.period_of_symbol[0]  # [B, K, n]
        means = torch.zeros((len(seen), grid.num_symbols + 1), dtype=torch.complex64)
        heard = view.tokens.inside.any(2)[:, :, None]  # A token outside the window holds no information.
        there = torch.where((seen >= 0) & (seen < grid.num_symbols) & heard, seen, grid.num_symbols)
        if view.symbols is not None:  # Symbols outside the window may reach into it.
            mean, variance = view.symbols.mean[:, :, :shown], view.symbols.variance[:, :, :shown]
            means.scatter_(1, there.flatten(1), posterior_mean(mean, points, variance).flatten(1))
        means.scatter_(1, self._owned(view, grid).flatten(1), bit_means(logits, points).flatten(1))
        return means[:, :-1]

    def _owned(self, view: View, grid: SoiGrid) -> Tensor:
        """Returns the symbol of a grid in each slot of the tokens, int64 [B, K, slots]; one beyond for none."""
        own = self._own(self.grid.seen_symbols(view.tokens)) - grid.period_of_symbol[0]
        there = self.grid.owned(view.tokens) & view.tokens.inside.any(2, True)
        there &= (own >= 0) & (own < grid.num_symbols)
        return torch.where(there, own, grid.num_symbols)

    def soft_bits(self, mixture: Tensor, calibrated: bool = True) -> Tensor:
        """Log-likelihood ratios float32 [B, N] of mixtures of at most ``block`` samples; positive means bit 1.

        Symbols count if their centre lies in the mixture. ``calibrated``: see `Fallback.tempered`; else as detected.

        Raises:
            InputError: the mixture is longer than a window.
        """
        if (length := mixture.shape[1]) > self.block:
            raise InputError(f"aligned: soft bits are of one window, {self.block} samples; got {length}")
        found = torch.empty((len(mixture), self.modem.num_bits(length)))
        with torch.inference_mode():
            for part in as_sent(self.received, lambda length: self._setup(length, False, False)[1], mixture):
                found[part.rows] = self._soft_bits(mixture[part.rows], part, calibrated)
        return found

    def _soft_bits(self, mixture: Tensor, part: AsSent, calibrated: bool) -> Tensor:
        """Log-likelihood ratios float32 [n, N] of mixtures as received, and as ``part`` has them."""
        width, step = bits_per_symbol(self.modem.constellation), self.modem.symbol_period
        grid, synchroniser = self._setup(mixture.shape[1], True, True, part.delay)
        at = synchroniser(part.mixture)
        view = self.view(part.mixture, Timing(*at[:2], at.noise_power), True, True, part.delay)
        slot = self._owned(view, grid).flatten(1)[..., None].expand(-1, -1, width)
        every = torch.zeros((len(mixture), grid.num_symbols + 1, width))
        told, bound = self.logits(view), self._bound(view)
        if calibrated and bound is not None:
            told = bounded(told, bound)
        every.scatter_(1, slot, told.reshape(len(mixture), -1, width))
        centre = (grid.period_of_symbol + 0.5) * step - at.soi_offset[:, None]  # samples, [B, S]
        first = (centre >= 0).int().argmax(1)[:, None]
        place = first + torch.arange(self.modem.num_bits(mixture.shape[1]) // width)
        ratio = every.gather(1, place[..., None].expand(-1, -1, width)).flatten(1)
        if not calibrated:
            return ratio
        start = (centre.gather(1, first)[:, 0] - step / 2).long()
        doubted = None if view.symbols is None else _doubted(view.symbols)
        return self._linear.tempered(mixture, ratio, start, doubted)

    def separate(self, mixture: Tensor) -> Separated:
        """Re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        soi = torch.empty_like(mixture)
        for part in as_sent(self.received, lambda length: self._setup(length, False, False)[1], mixture):
            soi[part.rows] = self._separate(mixture[part.rows], part)
        return Separated(soi, self.modem.decide(soi))

    def _separate(self, mixture: Tensor, part: AsSent) -> Tensor:
        """Estimates complex64 [n, T] of mixtures as received, which ``part`` has as their interference was sent."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Ranked:
            return self._estimate(windows, begins, ends, part.delay)

        place = (self.block, self.margin, self.modem.symbol_period)
        return self._rivals.chosen(estimate, part.mixture, mixture, place)[:, 0]

    def separate_guided(self, mixture: Tensor, guidance: Tensor) -> Separated:
        """Runs `separate`; there is no guidance."""
        return self.separate(mixture)

    def _estimate(self, windows: Tensor, begins: bool, ends: bool, delay: float) -> Ranked:
        setup = self._setup(windows.shape[1], begins, ends, delay)  # once, not in every thread

        def estimate(part: Tensor) -> Ranked:
            with torch.inference_mode():
                grid, synchroniser = setup
                found = synchroniser(part)
                at = Timing(found.soi_offset, found.interference_offset, found.noise_power)
                view = self.view(part, at, begins, ends, delay)
                symbols = self.symbols(view, self.logits(view), grid) * grid.exists(at.soi_offset)
                soi = grid.synthesise(symbols, at.soi_offset)
                rank = self._rivals(synchroniser, part, found, Rank.DETECTED, found.log_likelihood).rank
                return Ranked(soi[:, None], rank)

        return fields_in_parallel(estimate, windows, max(1, _BATCH_SAMPLES // windows.shape[1]))


def _unexplained(symbols: TokenSymbols) -> Tensor:
    """Returns the power of each window's residual over the noise of the model, float32 [B].

    The mean is told by the median, which is log 2 of it in Gaussian noise, so that a few wrong decisions do not count.
    """
    return symbols.misfit.abs().square().flatten(1).median(1).values / math.log(2)


def _doubted(symbols: TokenSymbols) -> Tensor:
    """Tells windows whose residual is more than noise, bool [B]."""
    return _unexplained(symbols) > _MISFIT


def _detection_columns(symbols: TokenSymbols) -> Tensor:
    """Returns the result of detection as numbers near one: float32 [B, K, 7 (n + m)]."""
    mean = real_columns(shortened(symbols.mean))
    doubt = symbols.variance.clamp(1e-6, 1e3).log() / 4
    misfit = torch.asinh(torch.view_as_real(symbols.misfit)).flatten(2)
    decided = torch.view_as_real(symbols.mean).sign().flatten(2)
    return torch.cat((mean, doubt, misfit, decided), 2)
