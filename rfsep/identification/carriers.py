"""Finds the used carriers of an OFDM signal with known prefix, their constellation and their frequency offset."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.identification.cyclic import confidence_of, level
from rfsep.identification.prefix import Layout, Prefix, loudest
from rfsep.identification.symbol_statistics import Constellation, constellations_of_groups, decide_constellation
from rfsep.iq import squared

_MAX_SAMPLES = 1 << 19
_LEAST_CONTRAST_DB = 6.0  # least contrast between used and unused carriers
_POWER_CELLS = 16  # symbols over which the power of a carrier is averaged
_FEW_CARRIERS = 4  # neighbouring carriers whose scatter can be told
_TYPICAL = 0.7  # share of the OFDM symbols that count as data
_FULL = 1.8  # largest peakiness of symbols on all carriers; points on every second one have 2 and more
_ON_AIR = 0.25  # A symbol is on the air above this share of the median power of a frame's symbols.


class Carriers(NamedTuple):
    """The carriers of an OFDM signal.

    Attributes:
        num_guard_carriers: unused carriers at the lowest and highest frequencies; None if all seem to be used.
        dc_null: whether the carrier in the middle is unused.
        guard_confidence: 1 - the chance that the step in power at the band's edges is scatter of the carriers' powers.
        carrier_offset: of every frame, float64 [F], in cycles per sample. Whole carriers come from the null in the
            middle, else from the middle of the band, else they count as 0.
        carrier_power_db: float32 [fft_size], from the lowest frequency to the highest, DC at fft_size // 2.
        constellation: of the data, over all used carriers.
    """

    num_guard_carriers: tuple[int, int] | None
    dc_null: bool
    guard_confidence: float
    carrier_offset: Tensor
    carrier_power_db: Tensor
    constellation: Constellation


def derotate(frames: Tensor, offset: Tensor) -> Tensor:
    """Shifts frames complex64 [F, T] down by ``offset`` float64 [F] cycles per sample."""
    cycles = (offset[:, None].double() * torch.arange(frames.shape[1])).frac()
    return frames * torch.polar(torch.ones_like(cycles, dtype=torch.float32), -2 * math.pi * cycles.float())


def ofdm_symbols(frames: Tensor, layout: Layout, offset: Tensor) -> Tensor:
    """Returns FFTs of the OFDM symbols that lie wholly in each frame, complex64 [F, K, fft_size].

    Each FFT begins in the middle of the prefix. Neither an error in timing nor echoes bring in the neighbours there,
    and the carriers turn by a phase that is constant in time.

    Args:
        frames: complex64 [F, T], without carrier offset.
        layout: places of the prefixes.
        offset: int64 [F], samples into a slot at sample 0.
    """
    num_samples, period = frames.shape[1], layout.period
    early = layout.cyclic_prefix_length // 2
    slots = torch.arange(-1, num_samples // period + 2)[:, None] * period
    starts = (slots + layout.symbol_starts - early).flatten() - offset[:, None]  # [F, M], rising
    inside = (starts >= 0) & (starts + layout.fft_size <= num_samples)
    number = int(inside.sum(1).min())
    first = inside.long().argmax(1, keepdim=True)
    if number == 0:
        return frames.new_zeros((len(frames), 0, layout.fft_size))
    starts = starts.gather(1, first + torch.arange(number))  # [F, K]
    place = starts[:, :, None] + torch.arange(layout.fft_size)
    pieces = frames.gather(1, place.flatten(1)).view(place.shape)
    values: Tensor = torch.fft.fft(pieces, norm="ortho")
    return values


def find_carriers(frames: Tensor, prefix: Prefix) -> Carriers | None:
    """Finds the carriers of frames complex64 [F, T] with a prefix from `rfsep.identification.prefix.find_prefix`.

    Returns None where no frame holds a whole symbol on the air.
    """
    fft_size = prefix.layout.fft_size
    angles = prefix.correlation + prefix.correlation.mean() * (math.sqrt(len(frames)) / 4)
    fraction = angles.angle().double() / (2 * math.pi * fft_size)
    levelled = level(frames)
    chosen = loudest(levelled, _MAX_SAMPLES)
    values = ofdm_symbols(derotate(frames[chosen], fraction[chosen]), prefix.layout, prefix.offset[chosen])
    if values.shape[1] == 0:
        return None
    square = squared(values)  # [F, K, fft_size]
    scale = square.mean(2)  # [F, K]
    valid = scale > _ON_AIR * scale.quantile(0.75, 1, keepdim=True)
    total = scale.sum(1, keepdim=True).clamp(min=1e-30)
    density = (square.sum(1) / total).mean(0)  # [fft_size]
    power_db = 10 * density.clamp(min=1e-12).log10()
    used, contrast = _used(power_db)
    band = _band(used)
    sure = _edge_confidence(power_db, used, band) if contrast > _LEAST_CONTRAST_DB and band[1] < fft_size else 0.0
    known = sure > 0.5
    null = _null(power_db, *band) if known else None
    middle = (band[0] + band[1] // 2 if null is None else null) if known else 0
    shift = (middle + fft_size // 2) % fft_size - fft_size // 2  # whole carriers
    low = fft_size // 2 - (middle - band[0])
    guards = (low, fft_size - band[1] - low)
    offset = fraction + shift / fft_size
    known = known and min(guards) >= 0
    if null is not None:
        used[null % fft_size] = False
    symbols = values[:, :, used]
    data, typical = _data(symbols, valid), _typical(symbols, valid)
    data = data & _filled(_normalised(symbols, data))
    several = constellations_of_groups(_normalised(symbols, data), data)
    return Carriers(
        num_guard_carriers=guards if known else None,
        dc_null=null is not None,
        guard_confidence=sure if known else 0.0,
        carrier_offset=offset,
        carrier_power_db=power_db.roll(fft_size // 2 - shift),
        constellation=several or decide_constellation(_normalised(symbols, typical), typical),
    )


def _used(power_db: Tensor) -> tuple[Tensor, float]:
    """Splits carriers into used and unused ones, bool [fft_size], with the contrast in dB (Otsu 1979)."""
    ordered = power_db.clamp(min=float(power_db.max()) - 60).sort().values
    number = len(ordered)
    below = torch.arange(1, number) / number
    sums = ordered.cumsum(0)
    mean_below = sums[:-1] / torch.arange(1, number)
    mean_above = (sums[-1] - sums[:-1]) / (number - torch.arange(1, number))
    split = int((below * (1 - below) * (mean_above - mean_below).square()).argmax())
    threshold = (ordered[split] + ordered[split + 1]) / 2
    contrast = float(mean_above[split] - mean_below[split])
    if contrast <= _LEAST_CONTRAST_DB:
        return torch.ones(number, dtype=torch.bool), contrast
    return _without_leakage(power_db, power_db > threshold), contrast


def _without_leakage(power_db: Tensor, used: Tensor) -> Tensor:
    """Leaves out single carriers between unused ones that are weaker than all others: a fraction of a sample of delay
    leaks there, halfway between the band's edges.
    """
    alone = used & ~used.roll(1) & ~used.roll(-1)
    if not alone.any() or not (used & ~alone).any():
        return used
    weakest = power_db[used & ~alone].min()
    return used & ~(alone & (power_db < weakest - _LEAST_CONTRAST_DB))


def _band(used: Tensor) -> tuple[int, int]:
    """Returns first carrier (FFT bin) and width of the band, the complement of the longest gap on the circle."""
    fft_size = len(used)
    places = used.nonzero()[:, 0]
    gaps = torch.cat((places[1:], places[:1] + fft_size)) - places - 1
    widest = int(gaps.argmax())
    return int(places[(widest + 1) % len(places)]), fft_size - int(gaps[widest])


def _null(power_db: Tensor, first: int, width: int) -> int | None:
    """Returns a carrier within two of the band's middle that is weaker than its neighbours, or None."""
    for shift in (0, -1, 1, -2, 2):
        place = first + width // 2 + shift
        left, here, right = (float(power_db[(place + step) % len(power_db)]) for step in (-1, 0, 1))
        if min(left, right) - here > _LEAST_CONTRAST_DB:
            return place
    return None


def _edge_confidence(power_db: Tensor, used: Tensor, band: tuple[int, int]) -> float:
    """Returns the confidence of the two steps at the edges, given the scatter of neighbouring used carriers."""
    fft_size = len(power_db)
    first, width = band
    inner = power_db[torch.tensor([first, (first + width - 1) % fft_size])]
    outer = power_db[torch.tensor([first - 1, (first + width) % fft_size])]
    both = used & used.roll(-1)
    if both.sum() < _FEW_CARRIERS:
        return 0.0
    scatter = (power_db - power_db.roll(-1))[both].std()
    return confidence_of(float((inner - outer).min() / scatter.clamp(min=1e-3)), fft_size)


def _typical(values: Tensor, valid: Tensor) -> Tensor:
    """Selects valid OFDM symbols that carry data, bool [F, K], by their flat spectra.

    Pilots, preambles and idle resource blocks leave carriers empty, which would look like points near zero.
    """
    peakiness = _peakiness(values)
    return valid & (peakiness <= peakiness[valid].quantile(_TYPICAL))


def _data(values: Tensor, valid: Tensor) -> Tensor:
    """The OFDM symbols among the valid ones, bool [F, K], whose carriers are all used, whatever their constellation."""
    return valid & (_peakiness(values) <= _FULL)


def _filled(values: Tensor) -> Tensor:
    """Selects OFDM symbols complex64 [F, K, D] that leave no more carriers near zero than 64-QAM has by chance.

    Four of its 64 points have less than a twentieth of the mean power.
    """
    count = values.shape[2]
    share, spread = 1 / 16, math.sqrt(1 / 16 * 15 / 16 / count)
    power = squared(values)
    near = power < power.mean(2, keepdim=True) / 20
    return near.float().mean(2) <= share + 5 * spread


def _peakiness(values: Tensor) -> Tensor:
    """E|x|^4 / (E|x|^2)^2 over the carriers of symbols complex64 [F, K, D]: 1 for PSK, 1.38 for 64-QAM, 2 for noise."""
    square = squared(values)
    return square.square().mean(2) / square.mean(2).square().clamp(min=1e-30)


def _normalised(values: Tensor, valid: Tensor) -> Tensor:
    """Divides symbols complex64 [F, K, D] by their carrier's amplitude in the frame.

    If a frame has few symbols, the power is also averaged over neighbouring carriers, where a channel is flat.
    """
    number = valid.sum(1).clamp(min=1)
    power = (squared(values) * valid[:, :, None]).sum(1) / number[:, None]  # [F, D]
    span = min(int(_POWER_CELLS // number.float().median().clamp(min=1)) | 1, power.shape[1] - 1 | 1)
    smooth = torch.nn.functional.avg_pool1d(power[:, None], span, 1, span // 2, count_include_pad=False)[:, 0]
    return values / smooth.clamp(min=1e-30).sqrt()[:, None]
