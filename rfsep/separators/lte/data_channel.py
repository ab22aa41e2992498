"""The channel of an LTE downlink's data, as its points of QPSK, 16-QAM and 64-QAM show it beside a narrow-band SOI.

The fourth power of a QPSK point is the same for all points, and its mean over a square constellation is not zero either
(Viterbi & Viterbi, IEEE Trans. Inf. Theory 29(4), 1983). Along the carriers it turns four times as fast as the channel,
which shows the delay of the strongest path, and the phase up to a quarter turn. Points that are known up to a common
quarter turn then show a channel of a few taps, and the channel shows the points (expectation maximisation). No
reference signals are needed, so that any window that holds most of a symbol will do.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.elements import Mixed, mixed
from rfsep.separators.inference.expectation_propagation import Marginals
from rfsep.separators.lte.resource_blocks import BLOCK_CARRIERS, FFT_SIZE, PREFIX, SYMBOL, Timing
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem

# Physics: 100 resource blocks have 600 carriers on either side of the middle. Filters of sender and receiver bend the
# last of them, which no channel of a few taps explains. The QPSK SOI reaches 60, 0.75 / 16 cycles per sample.
_HALF, _GAP = 520, 66

# Physics: a body is cut in the middle of its prefix, where a timing that is wrong by half a prefix does no harm.
_EARLY = PREFIX // 2

# Physics: the strongest path is at most this many samples from the timing that prefixes tell.
_MOST_DELAY = 40
_DELAYS = 16  # delays that are tried per sample

# As in `rfsep.separators.lte.known_symbols`: first tap and number of taps, in samples from the strongest path.
_FIRST_TAP, _TAPS = -8, 36

# Tuned on srsRAN's loaded downlink and synthetic ones. Rounds of expectation maximisation, first and later, and the
# noise at its start as a share of the mean power.
_ROUNDS, _UPDATES, _NOISE = 12, 4, 0.3

# Physics: a carrier with less than this share of the loaded ones' power is none of them.
_LOADED = 0.25

# Physics: the share of a resource block's energy that its fourth powers agree upon is one for QPSK without noise.
_ALIKE = 0.4

# Tuned on the same. Kinds elsewhere count as this many elements: in the mean of a resource block, and of a symbol.
_BLOCK_PRIOR, _SYMBOL_PRIOR = 3.0, 4.0

# Guards against division by zero and certainty: the least power, noise, and share that carriers tell of a tap.
_SILENCE, _LEAST_NOISE, _LEAST_TOLD = 1e-9, 1e-4, 1e-3


class DataChannel(NamedTuple):
    """What the data beside the SOI show.

    Attributes:
        start: sample at which the body begins to which the channel belongs.
        taps: of the channel, complex128 [L], in samples from `_FIRST_TAP` on, with the amplitude of points of unit
            power, known up to a quarter turn.
        power: assumed powers of the taps, float64 [L].
        noise: power of all else on a carrier.
        share: of empty elements, QPSK, 16-QAM, and 64-QAM: float64 [4].
        evidence: nats per carrier by which points are likelier than Gaussian values of each resource block's power.
        bends: nats that the taps cost, see `Taps`.
    """

    start: int
    taps: Tensor
    power: Tensor
    noise: float
    share: Tensor
    evidence: float
    bends: float

    def gains(self, carriers: Tensor) -> Tensor:
        """Returns the channel complex128 [n] on carriers int64 [n]."""
        return _delays(carriers) @ self.taps


def _delays(carriers: Tensor) -> Tensor:
    """Returns the transform from taps to carriers int64 [n]: complex128 [n, L]."""
    phase = -2 * torch.pi / FFT_SIZE * (carriers[:, None] * (_FIRST_TAP + torch.arange(_TAPS))).double()
    return torch.polar(torch.ones_like(phase), phase)


@cache
def _beside() -> Tensor:
    """Returns the carriers beside the SOI, int64 [n]."""
    number = torch.arange(-_HALF, _HALF + 1)
    return number[number.abs() > _GAP]


@cache
def _beside_waves() -> Tensor:
    """Returns the transform from taps to the carriers beside the SOI, complex128 [n, L]."""
    return _delays(_beside())


def blocks_of(carriers: Tensor) -> Tensor:
    """Returns the resource blocks of carriers int64 [n], from 0 on. Carrier 0, which is in none, counts as in one."""
    block = torch.div(carriers - (carriers > 0).long(), BLOCK_CARRIERS, rounding_mode="floor")
    return block - block.min()


def _sums(values: Tensor, block: Tensor) -> Tensor:
    """Sums values [n] over blocks int64 [n]."""
    return values.new_zeros(int(block.max()) + 1).index_add(0, block, values)


def block_shares(share: Tensor, block: Tensor, prior: Tensor) -> Tensor:
    """Shrinks kinds of elements float [..., N, 4] to those of their resource blocks, and these to all: [..., N, 4].

    Args:
        share: posterior probabilities of kinds.
        block: of each element, int64 [N].
        prior: shares of kinds elsewhere, float [4].
    """
    every = (share.sum(-2, keepdim=True) + _SYMBOL_PRIOR * prior) / (share.shape[-2] + _SYMBOL_PRIOR)
    count = torch.bincount(block)[:, None]
    total = share.new_zeros((*share.shape[:-2], len(count), 4)).index_add(-2, block, share)
    found = (total + _BLOCK_PRIOR * every) / (count + _BLOCK_PRIOR)
    return found.index_select(-2, block).clamp_min(_SILENCE)


def whole_body(timing: Timing, num_samples: int) -> int | None:
    """Returns where the body begins whose symbol is seen best, or None if no FFT_SIZE samples of one are in sight."""
    first = timing.start % SYMBOL - SYMBOL
    seen = {start: min(start + SYMBOL, num_samples) - max(start, 0) for start in range(first, num_samples, SYMBOL)}
    best = max(seen, key=lambda start: seen[start])
    return best + PREFIX if seen[best] >= FFT_SIZE else None


def _carriers(window: Tensor, body: int, number: Tensor) -> Tensor:
    """Returns a body's carriers int64 [n] in a window complex128 [T]: complex128 [n]."""
    begin = min(max(body - _EARLY, 0), len(window) - FFT_SIZE)
    heard = torch.fft.fft(window[begin : begin + FFT_SIZE], norm="ortho")[number % FFT_SIZE]
    phase = 2 * torch.pi / FFT_SIZE * (number * (body - begin)).double()
    carriers: Tensor = heard * torch.polar(torch.ones_like(phase), phase)
    return carriers


def _fourth(heard: Tensor) -> Tensor:
    """Returns fourth powers complex128 [n] of loaded carriers [n], with their own amplitudes; 0 for the others.

    The sign is that of QPSK and square constellations, whose points' fourth powers have a negative mean.
    """
    power = squared(heard)
    loaded = power > _LOADED * _level(power)
    return torch.where(loaded, -heard * (heard / heard.abs().clamp_min(_SILENCE)) ** 3, 0)


def _level(power: Tensor) -> Tensor:
    """Returns the mean power of those carriers that are loaded, if they are alike, given all powers float64 [n]."""
    return power.square().mean() / power.mean().clamp_min(_SILENCE)


def _delay(fourth: Tensor) -> float:
    """Returns the delay of the strongest path, in samples, that fourth powers complex128 [n] show."""
    size = FFT_SIZE // 4 * _DELAYS  # A carrier's fourth power turns once in so many delays.
    spectrum = fourth.new_zeros(size).index_copy(0, _beside() % size, fourth)
    tried = torch.arange(-_MOST_DELAY * _DELAYS, _MOST_DELAY * _DELAYS + 1)
    return float(tried[squared(torch.fft.ifft(spectrum)[tried % size]).argmax()]) / _DELAYS


def _starts(heard: Tensor) -> list[Tensor]:
    """Guesses the gains complex128 [n] of carriers [n] without delay, up to a quarter turn.

    The first guess is one path. The others follow the fourth powers of resource blocks from the SOI outwards, and turn
    the two sides against each other.
    """
    number, power = _beside(), squared(heard)
    block = blocks_of(number)
    energy = _sums(power, block)
    amplitude = (_sums(power.square(), block) / energy.clamp_min(_SILENCE)).sqrt()  # of loaded carriers, if alike
    loaded = power > _LOADED * amplitude.square()[block]
    unit = heard / heard.abs().clamp_min(_SILENCE)
    sums = _sums(torch.where(loaded, -power * unit**4, 0), block)
    alike = sums.abs() > _ALIKE * energy
    roots = torch.polar(amplitude, sums.angle() / 4)
    turns = torch.tensor([1, 1j, -1, -1j], dtype=roots.dtype)
    middle = int(block[number < 0].max()) + 1
    for side in (range(middle - 2, -1, -1), range(int(block[number > 0].min()) + 1, len(roots))):
        for one in side:
            near = one + 1 if one < middle else one - 1
            turned = roots[one] * turns
            roots[one] = turned[int((turned - roots[near]).abs().argmin())] if alike[one] else roots[near]
    level = _level(power).sqrt()
    path = torch.polar(level, _fourth(heard).sum().angle() / 4).expand(len(heard))
    upper = number > 0
    return [path, *(torch.where(upper, roots[block] * turn, roots[block]) for turn in turns)]


def leakage(modem: Modem) -> Tensor:
    """Returns the mean power of a SOI on the carriers of a body that cuts it out: float64 [FFT_SIZE]."""
    lags = modem_autocorrelation(modem, FFT_SIZE) * (1 - torch.arange(FFT_SIZE) / FFT_SIZE)
    both = torch.cat((lags, torch.zeros_like(lags[:1]), lags[1:].flip(0).conj()))
    power: Tensor = torch.fft.fft(both).real[::2].clamp_min(0).double()
    return power


def find_data(window: Tensor, timing: Timing, soi: Tensor) -> DataChannel | None:
    """Finds the channel of data in a window complex128 [T] without carrier offset; None if no symbol is seen whole.

    Args:
        window: samples.
        timing: of the interference.
        soi: its power on carriers, float64 [FFT_SIZE], see `leakage`.
    """
    body = whole_body(timing, len(window))
    if body is None:
        return None
    number = _beside()
    delay = _delay(_fourth(_carriers(window, body, number)))
    body += round(delay)
    heard = _carriers(window, body, number)
    phase = -2 * torch.pi / FFT_SIZE * (delay - round(delay)) * number.double()
    ramp = torch.polar(torch.ones_like(phase), phase)
    starts = torch.stack(_starts(heard * ramp.conj())) * ramp
    fits = _fitted(heard, starts, body, soi[number % FFT_SIZE])
    return max(fits, key=lambda fit: fit.evidence - fit.bends / len(number))


class Taps(NamedTuple):
    """Taps of channels.

    Attributes:
        taps: complex128 [..., L].
        power: of each, float64 [..., L].
        bends: nats that the taps cost, beyond a channel that were known: less if fewer of them explain as much.
    """

    taps: Tensor
    power: Tensor
    bends: Tensor


def fitted_taps(waves: Tensor, heard: Tensor, sent: Marginals, precision: Tensor, power: Tensor) -> Taps:
    """Fits a channel's taps and their powers (MacKay, Neural Computation 4(3), 1992; Tipping, JMLR 1, 2001, eq. 16).

    Args:
        waves: of the taps on the carriers, complex128 [n, L].
        heard: what the carriers bring, complex128 [n].
        sent: posteriors of what was sent, [..., n].
        precision: inverse powers of everything else on the carriers, float64 [..., n].
        power: of the taps before, float64 [..., L].
    """
    weight = precision * (squared(sent.mean) + sent.variance)
    gram = (waves.mH * weight[..., None, :]) @ waves  # [..., L, L]
    root = torch.linalg.cholesky((gram + gram.mH) / 2 + torch.diag_embed(1 / power).to(gram.dtype))
    inverse = torch.cholesky_inverse(root)
    moment = (precision * sent.mean.conj() * heard) @ waves.conj()  # [..., L]
    taps = (inverse @ moment[..., None])[..., 0]
    volume = 2 * root.diagonal(dim1=-2, dim2=-1).real.log().sum(-1)
    bends = (squared(taps) / power).sum(-1) + volume + power.log().sum(-1)
    # Share that the carriers tell of each tap.
    told = (1 - inverse.diagonal(dim1=-2, dim2=-1).real / power).clamp_min(_LEAST_TOLD)
    return Taps(taps, (squared(taps) / told).clamp_min(_SILENCE), bends)


def _fitted(heard: Tensor, starts: Tensor, body: int, soi: Tensor) -> list[DataChannel]:
    """Fits channel, noise and kinds to carriers complex128 [n] by expectation maximisation from gains [B, n].

    Args:
        heard: carriers of ``_beside``.
        starts: gains to start from, each on its own.
        body: its first sample.
        soi: its power on the carriers, float64 [n].
    """
    block, waves, gains = blocks_of(_beside()), _beside_waves(), starts
    noise = torch.full((len(gains), 1), max(_NOISE * float(squared(heard).mean()), _LEAST_NOISE), dtype=torch.float64)
    power = (squared(gains).mean(1, keepdim=True) / _TAPS).clamp_min(_SILENCE).expand(-1, _TAPS)
    even = torch.full((4,), 0.25, dtype=torch.float64)
    share, found = even.expand(*gains.shape, 4), Taps(power, power, power)
    for _ in range(_ROUNDS):
        said = _said(heard, gains, noise + soi, share)
        mean, spread = said.symbols
        second = squared(mean) + spread
        share = block_shares(said.share, block, even)
        found = fitted_taps(waves, heard, said.symbols, 1 / (noise + soi), found.power)
        gains = found.taps @ waves.T
        left = squared(heard) - 2 * (heard.conj() * gains * mean).real + squared(gains) * second
        clear = (noise / (noise + soi)).square()
        noise = ((clear * (left - soi)).sum(1, keepdim=True) / clear.sum(1, keepdim=True)).clamp_min(_LEAST_NOISE)
    points = _said(heard, gains, noise + soi, share).log_evidence - squared(gains).clamp_min(_SILENCE).log()
    level = (_sums(squared(heard), block) / torch.bincount(block))[block].clamp_min(_SILENCE)
    evidence = (points + squared(heard) / level + level.log()).mean(1)
    columns = (found.taps, found.power, noise[:, 0].tolist(), share.mean(1), evidence.tolist(), found.bends.tolist())
    return [DataChannel(body, *one) for one in zip(*columns, strict=True)]


def _said(heard: Tensor, gains: Tensor, noise: Tensor, share: Tensor) -> Mixed:
    """Returns posteriors of elements that carriers complex128 [n] bring through gains [..., n] in noise [..., n]."""
    gains = torch.where(squared(gains) < _SILENCE**2, _SILENCE, gains)
    return mixed(Marginals(heard / gains, noise / squared(gains)), share)


def refitted(channel: DataChannel, window: Tensor, carriers: Tensor, sent: Marginals, soi: Tensor) -> DataChannel:
    """Fits the channel again with the elements that were detected beneath the SOI.

    Args:
        channel: as it was.
        window: without the SOI as far as it is detected, complex128 [T].
        carriers: numbers of the detected elements, int64 [n].
        sent: their posteriors [n].
        soi: power on carriers of what is left of it, float64 [FFT_SIZE].
    """
    beside, near = _beside(), carriers.abs() <= _GAP
    heard = _carriers(window, channel.start, beside)
    share = channel.share.expand(len(beside), 4)
    said = _said(heard, channel.gains(beside), channel.noise + soi[beside % FFT_SIZE], share)
    number = torch.cat((beside, carriers[near]))
    mean = torch.cat((said.symbols.mean, sent.mean[near].to(torch.complex128)))
    spread = torch.cat((said.symbols.variance, sent.variance[near].double()))
    every = torch.cat((heard, _carriers(window, channel.start, carriers[near])))
    precision = 1 / (channel.noise + soi[number % FFT_SIZE])
    waves, taps, power = _delays(number), channel.taps, channel.power
    for _ in range(_UPDATES):
        taps, power, _ = fitted_taps(waves, every, Marginals(mean, spread), precision, power)
    return channel._replace(taps=taps, power=power)
