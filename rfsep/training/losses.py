"""Losses: waveform error, the challenge's score, and cross-entropy of the bits."""

import torch
from torch import Tensor, nn

from rfsep.iq import from_db, to_channels
from rfsep.metrics import MSE_SCORE_CLIP_DB
from rfsep.types import InputError


def row_errors(estimate: Tensor, soi: Tensor) -> Tensor:
    """Returns the mean of |estimate - soi|^2 of every mixture, the challenge's error.

    Args:
        estimate: float [B, 2, T].
        soi: complex64 [B, T].

    Returns:
        float32 [B].
    """
    errors: Tensor = (estimate.float() - to_channels(soi)).square().sum(1).mean(-1)
    return errors


def score_loss(errors: Tensor) -> Tensor:
    """Returns the MSE score, smoothly clipped at -50 dB: mean of 10 log10(e + 1e-5) over errors float32 [B].

    The sum replaces a maximum and acts as a softplus of the error in dB, which keeps the gradient bounded as e goes to
    zero. It lies 3 dB above the score at the clip, and less than 0.05 dB from -30 dB upwards. This loss averages dB
    over mixtures, while the score takes dB of the mean over a level's mixtures. Both agree for equal errors. Otherwise
    this loss is lower and weighs the worst mixtures less.

    >>> score_loss(torch.tensor([1e-2, 1e-3])).round(decimals=2)
    tensor(-24.9800)
    """
    return 10 * torch.log10(errors + from_db(MSE_SCORE_CLIP_DB)).mean()


def bit_cross_entropy(logits: Tensor, bits: Tensor, known: Tensor) -> Tensor:
    """Returns the mean of -log P(bit) in nats over the known bits.

    Args:
        logits: float32 [B, N], positive means bit 1.
        bits: uint8 [B, N].
        known: which of them count, bool [B, N].

    Raises:
        InputError: the numbers of logits and bits differ, as with a head for another SOI.

    >>> bit_cross_entropy(torch.tensor([[0.0, 9.0]]), torch.tensor([[1, 0]]), torch.tensor([[True, False]]))
    tensor(0.6931)
    """
    if logits.shape != bits.shape:
        raise InputError(f"the network gives {logits.shape[1]} bits per window, the SOI has {bits.shape[1]}")
    nats = nn.functional.binary_cross_entropy_with_logits(logits.float(), bits.float(), reduction="none")  # [B, N]
    return (nats * known).sum() / known.sum().clamp_min(1)
