"""Finds the cyclic prefix of an unknown OFDM signal: FFT size, prefix, slot structure and timing.

In the prefix, x[n + fft_size] conj(x[n]) has a mean; elsewhere it has none (van de Beek et al. 1997, see
`rfsep.identification.cyclic`). Its mean over time shows the FFT size. Its variation in time shows the symbol period.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from rfsep.identification.cyclic import (
    Peak,
    cycle_spectra,
    effective_bandwidth,
    highest,
    lag_correlations,
    lag_product,
    lag_scores,
    level,
    standing_out,
    whiten,
    without_tones,
)
from rfsep.iq import squared

MIN_FFT_SIZE = 16
MAX_FFT_SIZE = 8192
_SYMBOLS_PER_SLOT = (7, 14, 28)  # of 0.5 ms: LTE and NR at 15, 30 and 60 kHz, TS 36.211 6.12 and TS 38.211 5.3.1
_MIN_PREFIX, _MAX_PREFIX = 1 / 40, 1 / 3  # shares of the FFT size; standards have 1/32 (DVB-T) to 1/4
_PERIOD_ERROR = 6  # samples of error after a first look at frames of few symbols
_MAX_SAMPLES = 1 << 19  # More samples add nothing to a decision between periods.
_MAX_FRAME_RATIO = 20.0  # limit of a single frame's log ratio, because heavy tails reach more by chance
_MAX_CANDIDATES = 8
_MAX_SYMBOL_PERIOD = 64  # longest symbol of a single carrier in samples
_LONG_PREFIX = 1 / 8  # share of the FFT size; pilots that repeat within a symbol look like a longer prefix
_FEW_FRAMES = 8
_SIDELOBES = 0.02
_MAX_PERIODS = 3
_MAX_HARMONICS = 8
_OVERSAMPLING = 4
_LIMITED_GAIN = 1.574  # 1 / E[e / (1 + e)] is its square, e a unit exponential
_KAPPA = 0.3  # expected size of the prefix's correlation coefficient: 1 without noise, .05 in recordings of fading LTE


class Layout(NamedTuple):
    """The places of prefixes.

    Attributes:
        fft_size: samples of an OFDM symbol without prefix.
        cyclic_prefix_length: samples of a prefix.
        symbols_per_slot: number of symbols after which everything repeats; 1 if all prefixes are equal.
        extra: additional samples of a slot's first prefix.
    """

    fft_size: int
    cyclic_prefix_length: int
    symbols_per_slot: int = 1
    extra: int = 0

    @property
    def period(self) -> int:
        """Number of samples per slot: LTE at 19.2 MHz has 9,600.

        >>> Layout(1280, 90, 7, 10).period
        9600
        """
        return self.symbols_per_slot * (self.fft_size + self.cyclic_prefix_length) + self.extra

    @property
    def symbol_starts(self) -> Tensor:
        """Returns the first sample after each prefix of a slot: int64 [symbols_per_slot]."""
        symbols = torch.arange(self.symbols_per_slot)
        starts: Tensor = symbols * (self.fft_size + self.cyclic_prefix_length) + self.cyclic_prefix_length + self.extra
        return starts

    def template(self) -> Tensor:
        """Returns 1 in the prefixes of a slot, 0 elsewhere: float32 [period]."""
        mask = torch.zeros(self.period)
        for index, start in enumerate(self.symbol_starts.tolist()):
            mask[start - self.cyclic_prefix_length - (self.extra if index == 0 else 0) : start] = 1
        return mask


class Prefix(NamedTuple):
    """A cyclic prefix that was found.

    Attributes:
        layout: FFT size and places of the prefixes.
        fft_size_confidence: 1 - the probability that noise shows such a correlation at any lag, or such a variation.
        layout_confidence: posterior probability of the layout among all that were compared.
        offset: int64 [F], samples into a slot at sample 0.
        correlation: complex64 [F], sum of x[n + fft_size] conj(x[n]) at constant local power.
        frame_log_ratio: float32 [F], log Bayes factor of prefixes against a steady correlation in each frame alone.
        log_ratio: log Bayes factor of prefixes against a steady correlation, minus that at lags beside the FFT size.
    """

    layout: Layout
    fft_size_confidence: float
    layout_confidence: float
    offset: Tensor
    correlation: Tensor
    frame_log_ratio: Tensor
    log_ratio: float


def flattened(frames: Tensor) -> Tensor:
    """Prepares frames for the search for lags: constant power, no tones, flat spectrum, complex64 [F, T]."""
    return whiten(without_tones(level(frames)))


class Product(NamedTuple):
    """The correlation of frames at a lag over time.

    Attributes:
        values: float32 [F, T - lag].
        mean: float32 [F, 1], over time.
        variance: float32 [F, 1], over time.
    """

    values: Tensor
    mean: Tensor
    variance: Tensor


def prefix_product(levelled: Tensor, fft_size: int) -> Product:
    """Returns the real part of x[n + fft_size] conj(x[n]), turned by its mean's angle.

    That angle is the carrier offset. Each frame has its own, shrunk towards that of all frames.
    """
    products = lag_product(levelled, fft_size)
    mean = products.mean(1)
    angle = mean + mean.mean() * (math.sqrt(len(mean)) / 4)
    values = products.real * angle.angle().cos()[:, None] + products.imag * angle.angle().sin()[:, None]
    average = values.mean(1, keepdim=True)
    # torch.var takes six times as long.
    return Product(values, average, (values - average).square().sum(1, keepdim=True) / (values.shape[1] - 1))


def _comb(scores: Tensor, size: int, fft_size: int) -> tuple[Tensor, Tensor]:
    """Returns mean periods float64 [P] above the FFT size, and summed scores at their harmonics, float32 [P]."""
    harmonics = torch.arange(1, _MAX_HARMONICS + 1, dtype=torch.float64)
    step = fft_size * fft_size / (size * _MAX_HARMONICS)
    shortest, longest = math.ceil(fft_size * (1 + _MIN_PREFIX)), fft_size * (1 + _MAX_PREFIX)
    periods = torch.arange(shortest, longest, max(step, fft_size / 4096), dtype=torch.float64)
    share = (periods - fft_size) / periods  # share of the prefix in the period
    weights = torch.sinc(harmonics * share[:, None]).square().float()  # [P, K]
    places = (harmonics / periods[:, None]) * size
    inside = places < len(scores) - 1
    weights = weights * inside
    left = places.long().clamp(max=len(scores) - 2)
    values = torch.lerp(scores[left], scores[left + 1], (places - left).float().clamp(0, 1))
    return periods, (weights * values).sum(1) / weights.square().sum(1).sqrt().clamp(min=1e-9)


def log_ratios(product: Product, layout: Layout, independence: float) -> Tensor:
    """Returns the log Bayes factor of a layout at every offset against a steady mean: float32 [F, layout.period].

    The model of the product is Gaussian with one variance and a mean that is higher by gamma in the prefixes. If gamma
    is normal with standard deviation kappa, and z is the normal score of its estimate, the factor is
    exp(z^2 i / (2 (1 + i))) / sqrt(1 + i), where i is kappa^2 over the estimate's variance.

    Args:
        product: see `prefix_product`.
        layout: places of the prefixes.
        independence: share of independent samples, see `effective_bandwidth`.
    """
    period, length = layout.period, product.values.shape[1]
    whole, rest = divmod(length, period)
    folded = product.values[:, : length - rest].reshape(len(product.values), whole, period).sum(1)  # [F, period]
    folded[:, :rest] += product.values[:, length - rest :]
    counts = whole + (torch.arange(period) < rest).float()
    response = torch.fft.rfft(layout.template())
    # At offset o, sample n has place (n + o) mod period in the slot.
    inside = torch.fft.irfft(torch.fft.rfft(folded).conj() * response, period)  # [F, period]
    number = torch.fft.irfft(torch.fft.rfft(counts).conj() * response, period).clamp(1.0, length - 1.0)
    excess = inside - product.mean * number
    weight = number * (1 - number / length)
    precision = independence / product.variance.clamp(min=1e-12)
    score = (excess * (precision / weight).sqrt()).clamp(min=0)
    information = _KAPPA**2 * weight * precision
    ratios: Tensor = score.square() / 2 * information / (1 + information) - torch.log1p(information) / 2
    return ratios


def _marginals(product: Product, layout: Layout, independence: float) -> Tensor:
    """Returns the log Bayes factor of each frame, averaged over its unknown offset: float32 [F]."""
    ratios = log_ratios(product, layout, independence)
    return torch.logsumexp(ratios, 1) - math.log(layout.period)


def _uniform(fft_size: int, periods: Iterable[float]) -> set[Layout]:
    """Lists layouts of equal prefixes with a period close to one of ``periods``."""
    near = {round(period) + shift for period in periods for shift in (-2, -1, 0, 1, 2)}
    shortest, longest = fft_size * (1 + _MIN_PREFIX), fft_size * (1 + _MAX_PREFIX)
    return {Layout(fft_size, period - fft_size) for period in near if shortest <= period <= longest}


def _slotted(fft_size: int, period: int) -> list[Layout]:
    """Lists layouts of 3GPP with about that mean period.

    At 15, 30 and 60 kHz, prefixes last 144 / 2048 of a symbol. The first one in 0.5 ms is longer by 16 / 2048 of
    1 / 15 kHz.
    """
    length, remainder = divmod(9 * fft_size, 128)
    extras = {symbols: divmod(symbols * fft_size, 7 * 128) for symbols in _SYMBOLS_PER_SLOT}
    if remainder or abs(fft_size + length - period) > _PERIOD_ERROR:
        return []
    return [Layout(fft_size, length, symbols, extra) for symbols, (extra, rest) in extras.items() if rest == 0]


class _Fold(NamedTuple):
    peak: Peak
    product: Product
    best: Layout
    log_ratios: Tensor  # [F]

    @property
    def log_ratio(self) -> float:
        return float(self.log_ratios.sum())

    @property
    def cautious(self) -> float:
        """Returns the sum with every frame's part limited."""
        return float(self.log_ratios.clamp(max=_MAX_FRAME_RATIO).sum())


def _fold(levelled: Tensor, peak: Peak, independence: float) -> _Fold | None:
    """Finds the period, longer than the lag, with which the correlation at a lag varies; None without one."""
    product = prefix_product(levelled, peak.cell)
    size = int(next_fast_len(_OVERSAMPLING * product.values.shape[1]))
    scores = standing_out(cycle_spectra(product.values, size))
    periods, comb = _comb(scores, size, peak.cell)
    found = [float(periods[top.cell]) for top in highest(comb, 0, _MAX_PERIODS)]
    if not found:
        return None
    ratios = {layout: _marginals(product, layout, independence) for layout in _uniform(peak.cell, found)}
    best = max(ratios, key=lambda layout: float(ratios[layout].sum()))
    pilot_like = best.cyclic_prefix_length > _LONG_PREFIX * best.fft_size and not _returns(product, best)
    at_edge = best.cyclic_prefix_length < _MIN_PREFIX * best.fft_size + 1  # The best one is out of range.
    return None if pilot_like or at_edge else _Fold(peak, product, best, ratios[best])


def _returns(product: Product, layout: Layout) -> bool:
    """Tells whether the correlation returns a period later, above that a prefix and a half before or after.

    A pilot that repeats within a symbol correlates at that lag through the rest of the symbol. That lasts long, and
    does not return after a time as short as a prefix.
    """
    centred = (product.values - product.mean).to(torch.complex64)
    prefix, period = layout.cyclic_prefix_length, layout.period
    again = lag_correlations(centred, period + 2 * prefix + 1).real.mean(0)  # Close lags have the same bias.
    middles = [again[lag - prefix // 4 : lag + prefix // 4 + 1].mean() for lag in (period, *_beside(period, prefix))]
    return bool(middles[0] > (middles[1] + middles[2]) / 2)


def _beside(period: int, prefix: int) -> tuple[int, int]:
    """Returns lags beyond the correlation of two prefixes."""
    return period - 3 * prefix // 2, period + 3 * prefix // 2


def _is_linear_modulation(levelled: Tensor, fold: _Fold) -> bool:
    """Tells whether the power varies with that period as strongly as the correlation, which is no prefix then.

    Idle OFDM symbols do the same, but only over periods longer than a symbol of a single carrier.
    """
    if fold.best.period > _MAX_SYMBOL_PERIOD:
        return False
    size = int(next_fast_len(_OVERSAMPLING * levelled.shape[1]))
    place = round(size / fold.best.period)
    near = slice(max(1, place - _OVERSAMPLING), place + _OVERSAMPLING + 1)
    power = standing_out(cycle_spectra(squared(levelled), size))[near].max()
    # Equal numbers of cells per cycle make the scores comparable.
    product = standing_out(cycle_spectra(fold.product.values, size))[near].max()
    return float(power) > float(product)


def loudest(levelled: Tensor, max_samples: int = _MAX_SAMPLES) -> Tensor:
    """Returns indices of the frames longest on the air, enough for ``max_samples`` samples."""
    number = max(1, min(len(levelled), max_samples // levelled.shape[1]))
    return squared(levelled).sum(1).topk(number).indices


def _apart(peaks: list[Peak]) -> list[Peak]:
    """Selects peaks that are the highest within 2 % of their lag, because pilots have sidelobes."""
    kept: list[Peak] = []
    for peak in peaks:
        if all(abs(peak.cell - other.cell) > _SIDELOBES * other.cell for other in kept):
            kept.append(peak)
    return kept


def limited(levelled: Tensor) -> Tensor:
    """Limits amplitudes softly, so that pulses do not dominate: complex64 [F, T], power 1 if Gaussian."""
    return levelled * (_LIMITED_GAIN / (1 + squared(levelled)).sqrt())


def _independence(levelled: Tensor) -> float:
    """Returns the share of independent samples in a lag product of a signal that does not repeat itself."""
    product = lag_product(levelled, levelled.shape[1] // 3).real
    return effective_bandwidth((product - product.mean(1, keepdim=True)).to(torch.complex64))


def find_prefix(frames: Tensor) -> Prefix | None:
    """Finds the cyclic prefix of OFDM frames complex64 [F, T], or returns None.

    Lags with a significant correlation are candidates for the FFT size (pilots and preambles give others). One half of
    the data selects the lag whose correlation varies most clearly with a period longer than the lag. The other half has
    to confirm lag and period, better than lags beside it with periods of their own.
    """
    num_lags = min(frames.shape[1] // 2, MAX_FFT_SIZE + 1)
    levelled = level(frames)
    scores = lag_scores(whiten(without_tones(levelled)), num_lags)
    peaks = _apart(highest(scores, MIN_FFT_SIZE, 20 * _MAX_CANDIDATES, 2.0))[:_MAX_CANDIDATES]
    levelled = limited(levelled)
    independence = _independence(levelled)
    chosen = levelled[loudest(levelled)]
    first, second = _halves(chosen)
    folds = [_fold(first, peak, independence) for peak in peaks if peak.confidence > 0.5]
    good = [fold for fold in folds if fold is not None and fold.log_ratio > 0]
    if not good:
        return None
    best = max(good, key=lambda fold: (fold.cautious, fold.log_ratio))
    confirmed = _marginals(prefix_product(second, best.peak.cell), best.best, independence)
    margin = float(confirmed.clamp(max=_MAX_FRAME_RATIO).sum()) - max(0.0, _control(second, best, independence))
    if margin <= 0 or _is_linear_modulation(chosen, best):
        return None
    return _settle(levelled, chosen, best, independence, margin)


def _halves(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Splits the frames, or each of few frames, into a half that selects and a half that confirms."""
    if len(frames) >= _FEW_FRAMES:
        return frames[0::2], frames[1::2]
    middle = frames.shape[1] // 2
    return frames[:, :middle], frames[:, middle:]


def _control(levelled: Tensor, fold: _Fold, independence: float) -> float:
    """Returns the best log ratio at lags beside the found one, due to bursts, colour and heavy tails alone."""
    lag = fold.peak.cell
    distance = max(5, lag // 9)
    controls = [Peak(lag + shift, 0.0, 0.0) for shift in (-distance, distance, distance + distance // 2)]
    folds = [_fold(levelled, peak, independence) for peak in controls if peak.cell < levelled.shape[1] // 2]
    return max((control.cautious for control in folds if control is not None), default=0.0)


def _settle(levelled: Tensor, chosen: Tensor, fold: _Fold, independence: float, margin: float) -> Prefix:
    """Compares all layouts near the mean period, and finds the timing of the frames."""
    fft_size = fold.peak.cell
    product = prefix_product(chosen, fft_size)
    layouts = list(_uniform(fft_size, [fold.best.period]))
    slotted = _slotted(fft_size, fold.best.period)
    priors = [-math.log(2 * len(group)) for group in (layouts, slotted) for _ in group]
    posterior = torch.stack([_marginals(product, layout, independence).sum() for layout in layouts + slotted])
    weights = torch.softmax((posterior + torch.tensor(priors)).double(), 0)
    index = int(weights.argmax())
    layout = (layouts + slotted)[index]
    ratios = log_ratios(prefix_product(levelled, fft_size), layout, independence)
    return Prefix(
        layout=layout,
        fft_size_confidence=fold.peak.confidence * (1 - math.exp(-min(margin, 700.0))),
        layout_confidence=float(weights[index]),
        offset=ratios.argmax(1),
        correlation=lag_correlations(levelled, fft_size + 1)[:, fft_size],
        frame_log_ratio=torch.logsumexp(ratios, 1) - math.log(layout.period),
        log_ratio=margin,
    )
