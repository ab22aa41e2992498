"""The channel of an OFDM signal by its pilots: polarity, carrier, delay, and what varies slowly."""

import math

import torch
from torch import Tensor

_AVERAGED = 128  # OFDM symbols over which the channel counts as constant
_PHASE_AVERAGED = 16  # and the phase that is common to all carriers
_DELAYS = 129  # delays that are tried
_HINT = 1e-3  # weight of the sequence's expected beginning, where short windows fit several


def polarity_start(pilots: Tensor, polarity: Tensor, expected: int) -> Tensor:
    """Returns where in the polarity sequence each row's first OFDM symbol is: int64 [B].

    Products of neighbouring OFDM symbols have the products of their polarities as signs, whatever the channel.

    Args:
        pilots: complex64 [B, K, P], over the pilots' values.
        polarity: float32 [L] of +-1, repeated without end.
        expected: the answer where a window is too short to tell.
    """
    products = (pilots[:, 1:] * pilots[:, :-1].conj()).sum(2)  # [B, K - 1]
    steps = polarity * polarity.roll(-1)  # sign between symbol i and the next
    count, period = products.shape[1], len(polarity)
    folded = products.new_zeros((len(products), period))
    folded.index_add_(1, torch.arange(count, device=products.device) % period, products)
    signs = torch.stack([steps.roll(-start) for start in range(period)], 1).to(folded)  # [L, start]
    match = (folded @ signs).abs()
    match[:, expected % period] += _HINT * products.abs().sum(1)
    return match.argmax(1)


def _moving_mean(values: Tensor, length: int) -> Tensor:
    """Returns means of [B, K, ...] over ``length`` neighbours on each side together, fewer at the ends."""
    count, half = values.shape[1], length // 2
    summed = torch.nn.functional.pad(values.to(torch.complex128).cumsum(1), (0, 0, 1, 0))  # [B, K + 1, P]
    place = torch.arange(count, device=values.device)
    low, high = (place - half).clamp_min(0), (place + half + 1).clamp_max(count)
    mean = (summed[:, high] - summed[:, low]) / (high - low)[:, None]
    return mean.to(values.dtype)


def pilot_channel(pilots: Tensor, at: Tensor, carriers: Tensor, fft_size: int) -> Tensor:
    """Returns the channel on every carrier of every OFDM symbol: complex64 [B, K, D].

    A carrier offset turns it evenly from symbol to symbol and a delay from carrier to carrier. Both are found over the
    whole window. The rest is averaged over neighbouring symbols, and interpolated linearly between pilots.

    Args:
        pilots: complex64 [B, K, P], over the values that were sent.
        at: int64 [P], numbers of their carriers, rising.
        carriers: int64 [D], numbers of the wanted carriers.
        fft_size: samples per period of carrier 1.
    """
    count = pilots.shape[1]
    turn = (pilots[:, 1:] * pilots[:, :-1].conj()).sum((1, 2)).angle()  # [B]
    turns = turn[:, None] * torch.arange(count, device=pilots.device)
    turning = torch.polar(torch.ones_like(turns), turns)[:, :, None]  # [B, K, 1]
    still = pilots * turning.conj()
    mean = _moving_mean(still, _AVERAGED)  # [B, K, P]
    common = _moving_mean((still * mean.conj()).sum(2, keepdim=True), _PHASE_AVERAGED)
    common = torch.polar(torch.ones_like(common.real), common.angle())
    # Pilots tell delays up to half a turn between neighbours.
    spacing = int((at[1:] - at[:-1]).min()) if len(at) > 1 else fft_size
    delays = torch.linspace(-0.5, 0.5, _DELAYS, dtype=torch.float64) * fft_size / spacing * (len(at) > 1)
    waves = torch.polar(torch.ones(len(at), _DELAYS).double(), 2 * math.pi / fft_size * torch.outer(at, delays))
    score = (mean @ waves.to(mean)).abs().square().sum(1)  # [B, delays]
    delay = delays.to(score)[score.argmax(1)]  # [B], in samples

    def slope(numbers: Tensor) -> Tensor:
        angle = -2 * math.pi / fft_size * delay[:, None] * numbers.to(delay)
        return torch.polar(torch.ones_like(angle), angle)[:, None]  # [B, 1, ...]

    flat = (mean * slope(at).conj()) @ _interpolation(at, carriers).to(mean)  # [B, K, D]
    return flat * slope(carriers) * turning * common


def _interpolation(at: Tensor, carriers: Tensor) -> Tensor:
    """Returns weights float64 [P, D] of linear interpolation between pilots, of the nearest one beyond them."""
    weights = torch.zeros((len(at), len(carriers)), dtype=torch.float64)
    for column, carrier in enumerate(carriers.tolist()):
        above = int((at < carrier).sum())
        if above in (0, len(at)):
            weights[min(above, len(at) - 1), column] = 1
            continue
        low, high = int(at[above - 1]), int(at[above])
        weights[above, column] = (carrier - low) / (high - low)
        weights[above - 1, column] = 1 - weights[above, column]
    return weights
