"""The SOI's bits in a network's estimate: their places, reliabilities and error rates."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rfsep.iq import from_channels, squared
from rfsep.signals.constellations import bits_per_symbol, decide
from rfsep.types import InputError, MixtureBatch, Modem

_LEAST_VARIANCE = 1e-2  # least variance of an estimate's symbols; a wrong bit then costs a few hundred nats at most


class Heard(NamedTuple):
    """A SOI's symbols in an estimate, with the bits that were sent in them.

    Attributes:
        waveform: the estimate from the first whole symbol of each row on, complex64 [B, T].
        symbols: complex64 [B, S], its matched-filter outputs.
        bits: uint8 [B, N], of these symbols.
        known: which of them the row holds, bool [B, N].
    """

    waveform: Tensor
    symbols: Tensor
    bits: Tensor
    known: Tensor


def heard(modem: Modem, estimate: Tensor, batch: MixtureBatch) -> Heard:
    """Demodulates estimates at the known offset, as for published bit error rates; differentiable.

    A row that begins inside a symbol is read from its first whole symbol on, sample ``(period - offset) % period``. The
    symbol before that counts among the batch's bits if its centre lies in the window; it is left out. Rows of unknown
    offset have no known bits here.

    Args:
        modem: the SOI's modem.
        estimate: float [B, 2, T].
        batch: the batch, with bits.

    Raises:
        InputError: the batch has no bits at all.
    """
    if batch.bits.shape[1] == 0:
        raise InputError("the SOI carries no known bits; choose an objective of the waveform: mse, score")
    period, length = modem.symbol_period, estimate.shape[-1]
    offset = batch.soi_offset
    with torch.autocast(estimate.device.type, enabled=False):  # There is no complex bfloat16.
        waveform = from_channels(estimate)  # [B, T]
        place = (-offset % period)[:, None] + torch.arange(length, device=offset.device)  # [B, T]
        whole = waveform.gather(1, place.clamp(max=length - 1)) * (place < length)  # [B, T]
        symbols = modem.analyse(whole)  # [B, S]
    skipped = modem.num_bits(period) * ((offset > 0) & (offset <= period // 2))  # [B]
    column = skipped[:, None] + torch.arange(modem.num_bits(length), device=offset.device)  # [B, N]
    known = (column < batch.num_bits[:, None]) & (offset >= 0)[:, None]
    return Heard(whole, symbols, batch.bits.gather(1, column.clamp(max=batch.bits.shape[1] - 1)), known)


class NoiseVariance(nn.Module):
    """Noise variance of each estimate's symbols, learned so that the bits' log-likelihood ratios are calibrated.

    ``variance = exp(offset) * v ** slope``, where v is the mean squared distance between a row's symbols and their
    nearest constellation points, an estimate of the error without the truth. Wrong decisions make v too small, and a
    shrunk estimate, as Wiener's is, has other errors than white noise. Cross-entropy is a proper score, so minimising
    it over these two numbers calibrates the bits (temperature scaling, Guo et al., ICML 2017, with one temperature per
    row). No gradient flows through v, because an estimate should become better, not only look surer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))
        self.slope = nn.Parameter(torch.ones(()))

    def forward(self, symbols: Tensor, known: Tensor, points: Tensor) -> Tensor:
        """Variance float32 [B] of the known ones of symbols complex64 [B, S] of a constellation complex64 [P].

        Raises:
            InputError: some of the symbols carry no bits.
        """
        if known.shape[1] != symbols.shape[1] * bits_per_symbol(points):
            raise InputError("soft bits are learned of a SOI whose symbols all carry bits: no pilots, no tone")
        distance = squared(symbols.detach() - decide(symbols.detach(), points))  # [B, S]
        counted = known.view(*symbols.shape, -1).all(-1)  # [B, S]
        mean = (distance * counted).sum(1) / counted.sum(1).clamp_min(1)  # [B]
        return torch.exp(self.offset + self.slope * mean.clamp_min(_LEAST_VARIANCE).log())


def soft_bits(found: Heard, modem: Modem, noise_variance: Tensor) -> Tensor:
    """Returns exact logits float32 [B, N], not max-log, of symbols with noise variances float32 [B]."""
    with torch.autocast(found.waveform.device.type, enabled=False):
        return modem.demodulate(found.waveform, noise_variance[:, None])


def bit_error_rates(decided: Tensor, bits: Tensor, known: Tensor) -> Tensor:
    """Returns the share of wrong bits among the known ones of each row, float32 [B]; NaN for a row without any.

    Args:
        decided: bool or uint8 [B, N].
        bits: sent bits, uint8 [B, N].
        known: which of them count, bool [B, N].
    """
    wrong = (decided != bits) & known
    return wrong.sum(1) / known.sum(1)


def demodulated_error_rates(modem: Modem, estimate: Tensor, batch: MixtureBatch) -> Tensor:
    """Bit error rates float32 [B] of estimates float [B, 2, T], demodulated as the scorer does; NaN without bits."""
    if batch.bits.shape[1] == 0:
        return torch.full((len(batch.bits),), torch.nan, device=estimate.device)
    found = heard(modem, estimate, batch)
    with torch.autocast(estimate.device.type, enabled=False):
        decided = modem.decide(found.waveform)
    return bit_error_rates(decided, found.bits, found.known)
