"""Detects the symbols of SOI and OFDM interference jointly, even 30 dB below the interference."""

from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rfsep.separators.inference.choice import Detection, Found, chosen
from rfsep.separators.inference.ends import OUTER_BLOCKS, outer, shifted, splice
from rfsep.separators.inference.equaliser import AsSent, as_sent, inverse
from rfsep.separators.inference.expectation_propagation import Detector, Schedule, Start, State
from rfsep.separators.inference.gaussian import Bases
from rfsep.separators.inference.grid import SoiGrid, Window
from rfsep.separators.inference.interference import Setup, block_kinds, make_setup, received_modems
from rfsep.separators.inference.model_evidence import badness, misfits
from rfsep.separators.inference.rivals import Ranked, Rivals
from rfsep.separators.inference.rows import joined_rows, put_rows, rows_of
from rfsep.separators.inference.synchronise import Synchronised, Synchroniser
from rfsep.separators.inference.timing import TimingNetwork
from rfsep.separators.windows import fields_in_parallel
from rfsep.signals.constellations import bits_per_symbol, demap
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import InputError, Modem, Separated

_LEAST_SINGLE = 1e-3  # Single precision suffices from this noise power on.
_LEAST_NOISE = 1e-5  # The detector assumes at least this noise power; without any it would never doubt a decision.
_FIRST = Schedule(damping=0.6, iterations=12, warmth=1.0, cooling=1)
_AGAIN = (  # schedules for windows whose decisions do not fit
    Schedule(damping=0.4, iterations=20, warmth=1.0, cooling=1),
    Schedule(damping=0.3, iterations=24, warmth=10.0, cooling=8),
)
# The second schedule is slow. It decides symbols that are half outside, where interference is far above the SOI.
_ENDS = (
    Schedule(damping=0.4, iterations=20, warmth=1.0, cooling=1),
    Schedule(damping=0.3, iterations=40, warmth=1000.0, cooling=24),
)
_MISFIT = 2.0  # Decisions count as wrong from this ratio of residual to noise; noise alone stays below 1.5.
_DOUBT = 8.0  # Two SOI timings are both tried if they differ by fewer nats.
_BATCH_ENTRIES = 2**20  # entries of the blocks' matrices per batch, and
_BATCH_SAMPLES = 64 * 1280  # samples
_SETUPS = 32  # setups kept: one per length and place of a window and delay of the interference
_EDGE_BLOCKS = 5  # blocks of interference in a window's end that is detected again on its own


class _Setup(NamedTuple):
    """Everything that depends on the length of the window alone."""

    grid: SoiGrid
    synchroniser: Synchroniser
    detector: Detector


class _Bounds(NamedTuple):
    """Whether the SOI begins and ends with a window, which modem shows the phase, and the delay that was undone."""

    begins: bool
    ends: bool
    kind: int = 0
    delay: float = 0.0


class _Detected(NamedTuple):
    """Symbols of windows, and the misfit float64 [B, K] of their decisions, see `misfits`."""

    state: State
    misfit: Tensor


class _Piece(NamedTuple):
    """Ends of windows, to be detected on their own.

    Attributes:
        rows: of the windows that they were cut from, int64 [n].
        left: whether they are the beginnings of windows, not their ends.
        shift: int64 [n], SOI periods from the beginning of a window to that of its end.
        soi_offset: int64 [n].
        start: of their detection.
    """

    rows: Tensor
    left: bool
    shift: Tensor
    soi_offset: Tensor
    start: Start


class JointDetection:
    """Expectation propagation over the symbols of SOI and OFDM interference, blind in timing, phase and SINR.

    Timing, gain and noise come from the Gaussian likelihood, and the phase from the M-th power of the interference's
    carriers. Gain and phase are fitted again in every iteration. A window in which decisions leave more than the noise
    is detected again on a slower schedule. Its two ends are detected on their own, because the interference's symbols
    that begin before the window or end after it are the hard ones.

    Where the examples hold several constellations, pilots, or symbols that leave carriers empty, each OFDM symbol is of
    the kind that its carriers speak for (`rfsep.separators.inference.kinds`). The phase is acquired with the
    constellation of the fewest points whose decisions leave no more than noise.

    The interference may be turned by a carrier, pass rays and come at any fraction of a sample. Examples show carrier
    and rays (`rfsep.identification.channel`). The mixture shows its own fraction, and is filtered so that the
    interference arrives as it was sent. What is left of carrier and fraction is fitted to the decisions.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T], from which its modem is identified if not given.
        interference: modem of the interference, OFDM.
        soi_timing: ``known``: a symbol starts at sample 0 and the signal begins and ends with the mixture.
            ``estimated``: the waveform is at the timing found; bits are those of a receiver that starts at sample 0.
        noise_power: power of the white noise in the mixture; None to estimate it.
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.
        timing_network: tells the interference's timing; None: it is found by likelihood.
        soi_phase: ``tracked``: the SOI's phase may wander slowly within 0.4 rad. The waveform follows it, and the bits
            are those without it. ``fixed``: it is 0.

    Raises:
        InputError: the examples are not of an OFDM signal whose modem could be identified, or the timing network was
            made for another period.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        interference: Modem | None = None,
        soi_timing: Literal["known", "estimated"] = "known",
        noise_power: float | None = None,
        block: int = 2560,
        margin: int = 160,
        timing_network: TimingNetwork | None = None,
        soi_phase: Literal["fixed", "tracked"] = "tracked",
    ) -> None:
        self.modem = modem
        found = received_modems(examples, interference)
        self.received = found[0]
        sent = [one.received(one.carrier) for one in found]  # A filter undoes the channel first.
        self.interferences = sorted(sent, key=lambda one: len(one.constellation))
        self.interference = sent[0]
        self._loaded = block_kinds(examples, found) if interference is None else None
        self.timing_known = soi_timing == "known"
        self.noise_power = noise_power
        self.block = block
        self.margin = margin
        self.tracked = soi_phase == "tracked"
        self.timing_network = timing_network
        if timing_network is not None:
            timing_network.check(self.interference.symbol_period)
        self._bases = Bases(modem_periodic_covariance(self.interference))
        self._rivals = Rivals(modem, examples, self.received, self.interference.symbol_period)
        self._gaussian = lru_cache(maxsize=_SETUPS)(self._make_gaussian)
        self._setup = lru_cache(maxsize=_SETUPS * len(found))(self._make_setup)

    def _make_gaussian(self, length: int, begins: bool, ends: bool, delay: float) -> Setup:
        """What does not depend on the constellation: all have unit power."""
        return make_setup(
            self.modem,
            self._bases.covariance,
            length,
            begins=begins,
            ends=ends,
            timing_known=self.timing_known,
            noise_power=self.noise_power,
            bases=self._bases,
            timing_network=self.timing_network,
            passed=inverse(self.received, delay),
        )

    def _make_setup(self, length: int, bounds: _Bounds) -> _Setup:
        made = self._gaussian(length, bounds.begins, bounds.ends, bounds.delay)
        modem = self.interferences[bounds.kind]
        power = float(modem_autocorrelation(modem, 1).real)
        exact = self.noise_power is None or self.noise_power < _LEAST_SINGLE
        dtype = torch.complex128 if exact else torch.complex64
        return _Setup(
            made.grid, made.synchroniser, Detector(made.grid, modem, power, dtype, self.tracked, self._loaded)
        )

    def separate(self, mixture: Tensor) -> Separated:
        """Re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        found = Separated(
            torch.empty_like(mixture),
            mixture.new_empty((len(mixture), self.modem.num_bits(mixture.shape[1])), dtype=torch.uint8),
        )
        for part in self._as_sent(mixture):
            put_rows(found, part.rows, self._separate(mixture[part.rows], part))
        return found

    def _as_sent(self, mixture: Tensor) -> list[AsSent]:
        """Mixtures complex64 [B, T] whose interference has neither channel nor fraction of a sample."""
        return as_sent(self.received, lambda length: self._gaussian(length, False, False, 0.0).synchroniser, mixture)

    def _separate(self, mixture: Tensor, part: AsSent) -> Separated:
        """Separates mixtures complex64 [n, T] as received, which ``part`` has as their interference was sent."""

        def estimate(windows: Tensor, begins: bool, ends: bool) -> Ranked:
            return self._estimate(
                windows, _Bounds(begins and self.timing_known, ends and self.timing_known, delay=part.delay)
            )

        place = (self.block, self.margin, self.modem.symbol_period)
        soi, received = self._rivals.chosen(estimate, part.mixture, mixture, place).unbind(1)
        return Separated(soi, self.modem.decide(received))

    def _estimate(self, windows: Tensor, bounds: _Bounds) -> Ranked:
        """The SOI with its residual phase, and without."""
        setup = self._setup(windows.shape[1], bounds)

        def estimate(part: Tensor) -> Ranked:
            found = self._find(setup, part, bounds)
            waves = [setup.grid.synthesise(one, found.soi_offset) for one in found.symbols.unbind(1)]
            return Ranked(torch.stack(waves, 1), found.rank)

        most = min(_BATCH_SAMPLES // windows.shape[1], _BATCH_ENTRIES // setup.detector.blocks.entries)
        return fields_in_parallel(estimate, windows, max(1, most))

    def _find(self, setup: _Setup, mixture: Tensor, bounds: _Bounds, soft: bool = False) -> Found:
        """Synchronises and detects."""
        at = setup.synchroniser(mixture)
        if len(self.interferences) == 1:
            return self._find_at(setup, mixture, at, bounds, soft)
        kinds = self._kinds(mixture, at, bounds)
        found: Found | None = None
        for kind in torch.unique(kinds).tolist():
            rows = (kinds == kind).nonzero()[:, 0]
            here = bounds._replace(kind=kind)
            part = self._find_at(self._setup(mixture.shape[1], here), mixture[rows], rows_of(at, rows), here, soft)
            if found is None:  # rows of other kinds are overwritten
                found = rows_of(part, torch.zeros(len(mixture), dtype=torch.int64))
            put_rows(found, rows, part)
        assert found is not None
        return found

    def _find_at(self, setup: _Setup, mixture: Tensor, at: Synchronised, bounds: _Bounds, soft: bool) -> Found:
        """Detect with one constellation."""
        detected = self.detect(mixture, at, bounds)
        if not self.timing_known:
            at = self._second_look(setup, mixture, at, detected, bounds)
        done = Detection(mixture, at, _window(setup, mixture, at), detected.state, _noise(setup, at), detected.misfit)
        return chosen(setup.detector, setup.synchroniser, self._rivals, done, self.noise_power is not None, soft)

    def _kinds(self, mixture: Tensor, at: Synchronised, bounds: _Bounds) -> Tensor:
        """Which of the constellations each window complex64 [B, T] holds: int64 [B].

        Of those whose decisions fit, the one of the fewest points: its points may be among those of a larger one.
        """
        least = torch.full((len(mixture),), torch.inf, dtype=torch.float64)
        kinds, open_ = torch.zeros(len(mixture), dtype=torch.int64), torch.arange(len(mixture))
        for kind in range(len(self.interferences)):
            setup = self._setup(mixture.shape[1], bounds._replace(kind=kind))
            misfit = _rough_misfit(setup, mixture[open_], rows_of(at, open_))
            better = badness(misfit) < least[open_]
            kinds[open_[better]] = kind
            least[open_[better]] = badness(misfit)[better]
            fits = torch.where(misfit > 0, misfit, torch.nan).nanmedian(1).values < _MISFIT
            kinds[open_[fits]] = kind
            open_ = open_[~fits]
            if not len(open_):
                break
        return kinds

    def soft_bits(self, mixture: Tensor) -> Tensor:
        """Log-likelihood ratios float32 [B, N] of mixtures of at most ``block`` samples; positive means bit 1.

        They come from the cavity of each symbol: everything but its own prior. Symbols count if their centre lies in
        the mixture, in order.

        Raises:
            InputError: the mixture is longer than a window.
        """
        length = mixture.shape[1]
        if length > self.block:
            raise InputError(f"joint_detection: soft bits are of one window, {self.block} samples; got {length}")
        count = self.modem.num_bits(length)
        found = torch.empty((len(mixture), count))
        for part in self._as_sent(mixture):
            found[part.rows] = self._soft_bits(part, count // bits_per_symbol(self.modem.constellation))
        return found

    def _soft_bits(self, part: AsSent, count: int) -> Tensor:
        """Log-likelihood ratios float32 [B, N] of ``count`` symbols."""
        bounds = _Bounds(self.timing_known, self.timing_known, delay=part.delay)
        setup = self._setup(part.mixture.shape[1], bounds)
        found = self._find(setup, part.mixture, bounds, soft=True)
        # centres of the symbols in samples, [B, S]
        centre = (setup.grid.period_of_symbol + 0.5) * self.modem.symbol_period - found.soi_offset[:, None]
        place = (centre >= 0).int().argmax(1)[:, None] + torch.arange(count)  # [B, count]
        mean, variance = (value.gather(1, place) for value in found.soft)
        return demap(mean.to(torch.complex64), self.modem.constellation, variance.float())

    def _second_look(
        self, setup: _Setup, mixture: Tensor, at: Synchronised, detected: _Detected, bounds: _Bounds
    ) -> Synchronised:
        """Updates ``detected`` where the SOI's timing is in doubt, by the timing whose symbols fit better."""
        other = setup.synchroniser.runner_up(mixture, at)
        rows = (other.log_likelihood > at.log_likelihood - _DOUBT).nonzero()[:, 0]
        if not len(rows):
            return at
        again = self.detect(mixture[rows], rows_of(other, rows), bounds)
        wins = (badness(again.misfit) < badness(detected.misfit[rows])).nonzero()[:, 0]
        put_rows(detected, rows[wins], rows_of(again, wins))
        soi_offset = at.soi_offset.clone()
        soi_offset[rows[wins]] = other.soi_offset[rows[wins]]
        return at._replace(soi_offset=soi_offset)

    def detect(self, mixture: Tensor, at: Synchronised, bounds: _Bounds) -> _Detected:
        """Detects the symbols of windows complex64 [B, T] at given timing, gain and noise."""
        setup = self._setup(mixture.shape[1], bounds)
        window = _window(setup, mixture, at)
        noise = _noise(setup, at)
        start, priors = setup.detector.acquired(window, at.gain, noise)
        state = setup.detector.detect(*start, _FIRST, priors)
        misfit = misfits(setup.detector, window, state, noise)
        for schedule in _AGAIN:
            again = (misfit[:, 1:-2] > _MISFIT).any(1).nonzero()[:, 0]
            if not len(again):
                break
            kept: Start = rows_of(start, again)
            second = setup.detector.detect(*kept, schedule, rows_of(priors, again))
            found = misfits(setup.detector, kept.window, second, kept.noise_power)
            wins = badness(found) < badness(misfit[again])
            put_rows(state, again[wins], rows_of(second, wins))
            misfit[again[wins]] = found[wins]
        if mixture.shape[1] > 2 * _EDGE_BLOCKS * setup.grid.period:
            self._mend(window, mixture, at, state, misfit, bounds)
        return _Detected(state, misfit)

    def _mend(
        self, whole: Window, mixture: Tensor, at: Synchronised, state: State, misfit: Tensor, bounds: _Bounds
    ) -> None:
        """Detects the ends that do not fit again, and writes their symbols and misfit into ``state`` and ``misfit``."""
        short = _EDGE_BLOCKS * self.interference.symbol_period // self.modem.symbol_period * self.modem.symbol_period
        if short < OUTER_BLOCKS * self.interference.symbol_period:  # The SOI's symbols are much longer.
            return
        part = self._setup(short, bounds)  # Beginnings and ends differ in nothing but the symbols that exist.
        beyond = {left: outer(whole, left) for left in (True, False)}
        worst = {left: misfit.gather(1, beyond[left]) for left in beyond}
        for schedule in _ENDS:
            again = {left: (worst[left] > _MISFIT).any(1).nonzero()[:, 0] for left in worst}
            ends = [(left, rows) for left, rows in again.items() if len(rows)]
            if not ends:
                break
            pieces = [self._piece(short, left, rows, mixture, at, state, bounds) for left, rows in ends]
            start: Start = joined_rows([piece.start for piece in pieces])
            every = part.detector.detect(*start, schedule)
            fits = misfits(part.detector, start.window, every, start.noise_power)
            places = torch.split(torch.arange(len(fits)), [len(piece.rows) for piece in pieces])
            for (rows, left, shift, soi_offset, own), place in zip(pieces, places, strict=True):
                fit = fits[place].gather(1, outer(own.window, left))
                wins = badness(fit) < badness(worst[left][rows])
                worst[left][rows[wins]] = fit[wins]
                found = rows_of(every, place[wins])
                splice(part.grid, found, soi_offset[wins], state, rows[wins], shift[wins], left)
        for left in beyond:
            misfit.scatter_(1, beyond[left], worst[left])

    def _piece(
        self, short: int, left: bool, rows: Tensor, mixture: Tensor, at: Synchronised, state: State, bounds: _Bounds
    ) -> _Piece:
        """Cuts the first or last ``short`` samples from the rows int64 [n] of windows."""
        length, step, period = mixture.shape[1], self.modem.symbol_period, self.interference.symbol_period
        part = self._setup(short, bounds._replace(begins=bounds.begins and left, ends=bounds.ends and not left))
        begin = 0 if left else length - short
        there = shifted(rows_of(at, rows), begin, step, period)
        window = _window(part, mixture[rows, begin : begin + short], there)
        slopes = state.turns.slopes[rows]
        first = torch.div(begin + at.interference_offset[rows], period, rounding_mode="floor")
        moved = first + part.grid.num_blocks // 2 - (length + 2 * period - 2) // period // 2  # between the middles
        gain = state.gain[rows] * part.detector.turn.at_block(slopes, moved)
        shift = torch.div(begin + at.soi_offset[rows], step, rounding_mode="floor")
        return _Piece(rows, left, shift, there.soi_offset, Start(window, gain, slopes, _noise(part, there)))


def _window(setup: _Setup, mixture: Tensor, at: Synchronised) -> Window:
    blocks = setup.grid.cut(mixture, at.soi_offset, at.interference_offset)
    return setup.detector.prepare(blocks, setup.grid.exists(at.soi_offset))


def _noise(setup: _Setup, at: Synchronised) -> Tensor:
    """Noise power [B] that the detector works with."""
    return at.noise_power.clamp_min(_LEAST_NOISE).to(setup.detector.dtype.to_real())


def _rough_misfit(setup: _Setup, mixture: Tensor, at: Synchronised) -> Tensor:
    """Misfit float64 [B, K] of what is decided first."""
    window, noise = _window(setup, mixture, at), _noise(setup, at)
    start, priors = setup.detector.acquired(window, at.gain, noise)
    state = setup.detector.detect(*start, _FIRST, priors)
    return misfits(setup.detector, window, state, noise)
