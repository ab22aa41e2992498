"""Expectation propagation token by token, fast enough to feed a network while it trains.

The carriers of an OFDM interference far from the SOI's band are decided at once and taken away. A whole token keeps the
few carriers beside the SOI and the SOI symbols that reach into it: 25 unknowns instead of 69. A token that lies partly
outside the window keeps all of its carriers. Tokens exchange Gaussian messages on the SOI symbols that they share.
`rfsep.separators.inference.expectation_propagation` does the same with exact coupling, at many times the cost.

Formulas: Minka, "Expectation propagation for approximate Bayesian inference" (UAI 2001); for symbol detection Cespedes
et al., IEEE Trans. Commun. 62 (2014), equations 18 to 25.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.carrier_blocks import multiplied
from rfsep.separators.tokens.token_blocks import CutTokens, TokenBlocks, WholeTokens
from rfsep.separators.tokens.tokens import TokenGrid, Tokens
from rfsep.signals.constellations import decide, posterior_mean_and_variance
from rfsep.signals.ofdm_modem import OfdmModem, turned
from rfsep.types import InputError

_LEAST_VARIANCE = 1e-5  # least variance of a symbol, so that every symbol stays uncertain
_LEAST_PRECISION = 1e-3  # least precision of a site, which must stay positive
_ABSENT = 1e-6  # variance of a symbol that does not exist
_BAND = 1.5  # Carriers within this many symbol rates of 0 Hz are not decided at once.
_GAIN_ROUNDS = 3  # rounds of decisions and least squares
_LEAST_GAIN = 1e-2


class Gaussians(NamedTuple):
    """Independent complex Gaussians: precision float [...] and precision times mean complex [...]."""

    precision: Tensor
    weighted: Tensor

    def mean(self) -> Tensor:
        """The means, complex [...]."""
        return self.weighted / self.precision


class TokenSymbols(NamedTuple):
    """The symbols in each token: n SOI symbols, then the carriers beside the SOI.

    Attributes:
        mean: mean of the cavity, which leaves out the symbol's own prior, complex64 [B, K, n + m].
        variance: variance of the cavity, float32 [B, K, n + m].
        misfit: residual after decisions at each symbol's matched filter, over the noise there, complex64 [B, K, n + m].
        gain: gain of the interference, complex64 [B].
        whole: bool [B, K].
    """

    mean: Tensor
    variance: Tensor
    misfit: Tensor
    gain: Tensor
    whole: Tensor


class _Group(NamedTuple):
    """Tokens with the same number N of unknowns.

    Attributes:
        row, column: places of the tokens, int64 [W].
        blocks: A^H A over the noise.
        seen: complex [W, N], A^H e over the noise.
        sites: contributions of the priors, [W, N].
        shown: the unknowns that a token shows, int64 [n + m].
    """

    row: Tensor
    column: Tensor
    blocks: TokenBlocks
    seen: Tensor
    sites: Gaussians
    shown: Tensor


class TokenDetector:
    """Detects SOI and OFDM interference jointly in tokens.

    Args:
        grid: grid of the tokens; its period is the interference's.
        interference: modem of the interference, at any gain, without a channel; its carrier turns it.
        iterations: iterations of expectation propagation; 1 is the linear estimate, apart from decided far carriers.
        damping: share of a new site, in whole and in partial tokens.

    Raises:
        InputError: there are no iterations, or no carriers far from the SOI's band that show gain and phase.
    """

    def __init__(
        self,
        grid: TokenGrid,
        interference: OfdmModem,
        iterations: int = 10,
        damping: tuple[float, float] = (0.5, 0.4),
    ) -> None:
        self.grid = grid
        self.interference = interference
        self.iterations = iterations
        self.damping = damping
        if iterations < 1:
            raise InputError(f"iterations is {iterations}, expected 1 or more")
        size = interference.fft_size
        frequency = (interference.carriers + size // 2) % size - size // 2
        band = -(-_BAND * size // grid.step)  # the SOI's pulses leak beyond their own band
        self.near = (frequency.abs() <= band).nonzero()[:, 0]
        self.far = (frequency.abs() > band).nonzero()[:, 0]
        if not len(self.far):
            raise InputError(f"all carriers of FFT {size} lie beside a SOI of {grid.step} samples per symbol")
        every = torch.eye(len(frequency), dtype=torch.complex128)
        self._exact_carriers = interference.synthesise(every, grid.period).T.contiguous()  # [P, D]
        self.carriers = self._exact_carriers.to(torch.complex64)
        self.num_shown = grid.num_seen + len(self.near)
        self._own, self._coupling, self._beside = self._whole_grams()

    def __call__(self, tokens: Tokens, noise_power: Tensor, exists: Tensor) -> TokenSymbols:
        """Detects the symbols of tokens.

        Args:
            tokens: K tokens of each of B windows.
            noise_power: float32 [B], not zero.
            exists: which of the visible SOI symbols exist, bool [B, K, n].
        """
        whole = tokens.inside.all(2)
        received = self._carriers_of(tokens)
        turn = self._turn(whole.shape[1])
        gain = self._gain(received[:, :, self.far] * turn.conj()[:, None], whole, noise_power)
        gains = gain[:, None] * turn  # [B, K]
        groups = [
            self._whole(tokens, received, gains, noise_power, whole),
            self._partial(tokens, gains, noise_power, tokens.inside.any(2) & ~whole),
        ]
        return self._propagate(groups, self.grid.seen_symbols(tokens), gain, whole, exists)

    def _carriers_of(self, tokens: Tokens) -> Tensor:
        """Returns the interference's carriers in each token, complex64 [B, K, D]."""
        body = turned(tokens.samples, -self.interference.carrier)[:, :, self.interference.cyclic_prefix_length :]
        spectrum: Tensor = torch.fft.fft(body, norm="ortho")
        return spectrum[:, :, self.interference.carriers]

    def _turn(self, count: int) -> Tensor:
        """Returns by how much the interference's carrier turns each of ``count`` tokens, complex64 [K]."""
        cycles = self.interference.carrier * self.grid.period * torch.arange(count, dtype=torch.float64)
        return torch.polar(torch.ones_like(cycles), 2 * math.pi * cycles.frac()).to(torch.complex64)

    def carriers_beside(self, tokens: Tokens) -> Tensor:
        """Returns the carriers beside the SOI, complex64 [B, K, m]; an incomplete token gives its visible part."""
        return self._carriers_of(tokens)[:, :, self.near]

    def _gain(self, far: Tensor, whole: Tensor, noise_power: Tensor) -> Tensor:
        """Returns the gain complex64 [B] from carriers far from the SOI complex64 [B, K, d], up to their symmetry.

        Decisions on pure noise would turn it into gain, so the gain is limited to the power in excess of the noise.
        """
        points = self.interference.constellation
        weight = whole[:, :, None].float()
        count = weight.sum((1, 2)).clamp_min(1) * far.shape[2]
        mean = (squared(far) * weight).sum((1, 2)) / count
        size = mean.sqrt().clamp_min(_LEAST_GAIN)
        most = (mean - noise_power).clamp_min(_LEAST_GAIN**2).sqrt()
        order = 2 if len(points) == 2 else 4
        moment = ((far / size[:, None, None]) ** order * weight).sum((1, 2)) * (points**order).mean().conj()
        gain = torch.polar(size, torch.angle(moment) / order)
        for _ in range(_GAIN_ROUNDS):
            decided = decide(far / gain[:, None, None], points)
            power = (squared(decided) * weight).sum((1, 2)).clamp_min(1e-9)
            gain = (far * decided.conj() * weight).sum((1, 2)) / power
            gain = torch.where(gain.abs() < _LEAST_GAIN, torch.full_like(gain, _LEAST_GAIN), gain)
        return gain * (most / gain.abs()).clamp_max(1.0)

    def _whole_grams(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the parts of whole tokens' matrices at unit gain and noise, two of them by `Tokens.phase`."""
        pulses, beside = self.grid.pulses.to(torch.complex128), self._exact_carriers[:, self.near]
        own = (pulses.mH @ pulses).to(torch.complex64)
        coupling, beside = pulses.mH @ beside, beside.mH @ beside
        return own if own.imag.any() else own.real, coupling.to(torch.complex64), beside.to(torch.complex64)

    def _whole(self, tokens: Tokens, received: Tensor, gain: Tensor, noise: Tensor, where: Tensor) -> _Group:
        """Groups whole tokens without their far carriers, which are decided at gains [B, K] and subtracted."""
        decided = decide(received / gain[:, :, None], self.interference.constellation) * gain[:, :, None]
        decided[:, :, self.near] = 0
        row, column = where.nonzero(as_tuple=True)
        rest = (tokens.samples - decided @ self.carriers.T)[row, column]  # [W, P]
        phase, level, scale = tokens.phase[row, column], gain[row, column, None], 1 / noise[row, None]
        near = multiplied(rest[None], phase[None], self.grid.pulses.conj())[0]
        seen = torch.cat((near, level.conj() * (rest @ self.carriers[:, self.near].conj())), 1) * scale
        own, coupling = self._own[phase] * scale[:, :, None], self._coupling[phase] * (level * scale)[:, :, None]
        blocks = WholeTokens(own, coupling, (squared(level) * scale)[:, :, None] * self._beside)
        return _Group(row, column, blocks, seen, _first_sites(seen), torch.arange(self.num_shown))

    def _partial(self, tokens: Tokens, gain: Tensor, noise: Tensor, where: Tensor) -> _Group:
        """Groups tokens that lie partly outside their windows, with all of their carriers at gains [B, K].

        Single precision cannot tell more carriers than samples apart.
        """
        row, column = where.nonzero(as_tuple=True)
        pulses = self.grid.pulses[tokens.phase[row, column]].to(torch.complex128)
        level, inside, power = gain[row, column].to(torch.complex128), tokens.inside[row, column], noise[row].double()
        blocks = CutTokens(pulses, self._exact_carriers, level, inside, power, self.interference.fft_size)
        samples = tokens.samples[row, column].to(torch.complex128)  # zero outside
        near = (pulses.mH @ samples[:, :, None])[:, :, 0]
        seen = torch.cat((near, level.conj()[:, None] * (samples @ self._exact_carriers.conj())), 1) / power[:, None]
        shown = torch.cat((torch.arange(self.grid.num_seen), self.grid.num_seen + self.near))
        return _Group(row, column, blocks, seen, _first_sites(seen), shown)

    def _propagate(
        self, groups: list[_Group], symbols: Tensor, gain: Tensor, whole: Tensor, exists: Tensor
    ) -> TokenSymbols:
        count, shape = self.grid.num_seen, exists.shape
        for iteration in range(self.iterations):
            messages = [_cavity(group) for group in groups]
            precision = torch.zeros(shape, dtype=torch.float64)
            weighted = torch.zeros(shape, dtype=torch.complex128)
            for group, message in zip(groups, messages, strict=True):
                precision[group.row, group.column] = message.precision[:, :count].double()
                weighted[group.row, group.column] = message.weighted[:, :count].to(torch.complex128)
            shared = Gaussians(_summed(precision, symbols), _summed(weighted, symbols))
            beliefs = [_with_shared(one, group, shared, count) for one, group in zip(messages, groups, strict=True)]
            if iteration + 1 < self.iterations:
                groups = [
                    group._replace(sites=self._sites(group, message, belief, exists, damping))
                    for group, message, belief, damping in zip(groups, messages, beliefs, self.damping, strict=True)
                ]
        return self._show(groups, beliefs, gain, whole, exists)

    def _tilted(self, belief: Gaussians, there: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and variance of symbols given their beliefs and constellations, [W, N]."""
        count = self.grid.num_seen
        mean, variance = belief.mean(), 1 / belief.precision
        points = self.grid.modem.constellation.to(mean.dtype), self.interference.constellation.to(mean.dtype)
        soi = posterior_mean_and_variance(mean[:, :count], points[0], variance[:, :count])
        carriers = posterior_mean_and_variance(mean[:, count:], points[1], variance[:, count:])
        mean = torch.cat((soi[0] * there, carriers[0]), 1)
        spread = torch.where(there, soi[1].clamp_min(_LEAST_VARIANCE), _ABSENT)
        return mean, torch.cat((spread, carriers[1].clamp_min(_LEAST_VARIANCE)), 1)

    def _sites(self, group: _Group, message: Gaussians, belief: Gaussians, exists: Tensor, damping: float) -> Gaussians:
        """Returns new sites, which add to the token's own message what belief and prior say."""
        mean, variance = self._tilted(belief, exists[group.row, group.column])
        precision = 1 / variance - message.precision
        usable = precision > _LEAST_PRECISION
        weighted = mean / variance - message.weighted
        old = group.sites
        return Gaussians(
            torch.where(usable, damping * precision + (1 - damping) * old.precision, old.precision),
            torch.where(usable, damping * weighted + (1 - damping) * old.weighted, old.weighted),
        )

    def _show(
        self, groups: list[_Group], beliefs: list[Gaussians], gain: Tensor, whole: Tensor, exists: Tensor
    ) -> TokenSymbols:
        shape = (*whole.shape, self.num_shown)
        mean = torch.zeros(shape, dtype=torch.complex64)
        variance = torch.ones(shape)
        misfit = torch.zeros(shape, dtype=torch.complex64)
        for group, belief in zip(groups, beliefs, strict=True):
            decided = self._decided(belief, exists[group.row, group.column])
            left = (group.seen - group.blocks.times(decided)) / group.blocks.diagonal().clamp_min(1e-6).sqrt()
            at = group.row, group.column
            mean[at] = belief.mean()[:, group.shown].to(torch.complex64)
            variance[at] = (1 / belief.precision)[:, group.shown].float()
            misfit[at] = left[:, group.shown].to(torch.complex64)
        return TokenSymbols(mean, variance, misfit, gain, whole)

    def _decided(self, belief: Gaussians, there: Tensor) -> Tensor:
        count, mean = self.grid.num_seen, belief.mean()
        points = self.grid.modem.constellation.to(mean.dtype), self.interference.constellation.to(mean.dtype)
        return torch.cat((decide(mean[:, :count], points[0]) * there, decide(mean[:, count:], points[1])), 1)


def _first_sites(seen: Tensor) -> Gaussians:
    """Returns sites of precision 1 and mean 0, of the shape of complex [W, N]."""
    return Gaussians(torch.ones_like(seen.real), torch.zeros_like(seen))


def _cavity(group: _Group) -> Gaussians:
    """Returns a token's evidence on each of its symbols, without that symbol's site."""
    mean, variance = group.blocks.marginals(group.sites.precision, group.seen + group.sites.weighted)
    left = (1 / variance - group.sites.precision).clamp_min(1e-6)
    return Gaussians(left, mean / variance - group.sites.weighted)


def _summed(messages: Tensor, symbols: Tensor) -> Tensor:
    """Sums over tokens all messages [B, K, n] on the same SOI symbol, by its number int64 [B, K, n]: [B, K, n]."""
    place = (symbols - symbols[:, :1, :1]).flatten(1)
    total = messages.new_zeros((len(messages), int(place.max()) + 1))
    total.scatter_add_(1, place, messages.flatten(1))
    return total.gather(1, place).view(messages.shape)


def _with_shared(message: Gaussians, group: _Group, shared: Gaussians, count: int) -> Gaussians:
    """Adds the other tokens' messages on the SOI symbols."""
    at = group.row, group.column
    return Gaussians(
        torch.cat((shared.precision[at].to(message.precision.dtype), message.precision[:, count:]), 1),
        torch.cat((shared.weighted[at].to(message.weighted.dtype), message.weighted[:, count:]), 1),
    )
