"""What networks of tokens see and answer."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rfsep.separators.tokens.token_detection import TokenSymbols
from rfsep.separators.tokens.tokens import Tokens
from rfsep.types import InputError


class TokenModel(Protocol):
    """The interface of `rfsep.models.token_transformer.TokenTransformer`."""

    num_inputs: int
    num_bits: int
    num_phases: int
    period: int

    def __call__(self, inputs: Tensor, phase: Tensor, edge: Tensor, prior: Tensor) -> Tensor:
        """Returns logits float32 [B, K, N] of tokens."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Returns the learned parameters."""
        ...


class Timing(NamedTuple):
    """Offsets of SOI and interference, int64 [B] each, and the noise power, float [B]."""

    soi_offset: Tensor
    interference_offset: Tensor
    noise_power: Tensor


class View(NamedTuple):
    """The network's input, and the data needed to interpret its output.

    Attributes:
        inputs: float32 [B, K, D].
        phase: int64 [B, K], see `rfsep.separators.tokens.tokens.Tokens`.
        edge: int64 [B, K], 0 for a whole token. With n samples inside the window it is n for a first token, period + n
            for a last one, and 2 period for n = 0.
        prior: float32 [B, K, slots * bits], log-likelihood ratios that the network starts from.
        tokens: the mixture's tokens.
        symbols: result of detection; None without it.
    """

    inputs: Tensor
    phase: Tensor
    edge: Tensor
    prior: Tensor
    tokens: Tokens
    symbols: TokenSymbols | None


class Look(NamedTuple):
    """A reduced view for networks that place their tokens themselves.

    Attributes:
        inputs: as in `View`.
        phase: as in `View`.
        edge: as in `View`.
        prior: as in `View`, float32 [B, K, slots * bits], or [B, K, 0] for none.
        begin: int64 [B, K], sample of the window at which a token of the mixture starts.
        soi_offset: int64 [B], samples into a SOI symbol at sample 0.
        beyond: waveform in the windows of SOI symbols outside them, complex64 [B, T]; None if unknown.
        doubted: windows with more residual than the model of the interference explains, bool [B]; None if unknown.
        bound: largest magnitudes of log-likelihood ratios that this leaves, as ``prior``; None if unknown.
    """

    inputs: Tensor
    phase: Tensor
    edge: Tensor
    prior: Tensor
    begin: Tensor
    soi_offset: Tensor
    beyond: Tensor | None = None
    doubted: Tensor | None = None
    bound: Tensor | None = None


def looked(view: View, soi_offset: Tensor, step: int) -> Look:
    """Converts a view to a `Look`; the SOI has a symbol every ``step`` samples."""
    tokens = view.tokens
    begin = tokens.symbol * step + step // 2 - soi_offset[:, None] - tokens.phase
    return Look(view.inputs, view.phase, view.edge, view.prior, begin, soi_offset)


def check_model(model: TokenModel, needed: Mapping[str, int], shown: str) -> None:
    """Refuses a model of other tokens.

    Args:
        model: see `TokenModel`.
        needed: the attributes that this SOI in this interference needs.
        shown: a description of a token's numbers.
    """
    if model.num_inputs != needed["num_inputs"]:
        raise InputError(f"{shown} are {needed['num_inputs']} numbers per token; the model takes {model.num_inputs}")
    for name, value in needed.items():
        if (has := getattr(model, name)) != value:
            raise InputError(f"model.network.{name} is {has}, this SOI in this interference needs {value}")


def answered(model: TokenModel, view: View) -> Tensor:
    """Returns a network's log-likelihood ratios float32 [B, K, slots * bits], on the CPU."""
    device = next(iter(model.parameters())).device
    inputs, phase, edge, prior = (field.to(device) for field in view[:4])
    return model(inputs, phase, edge, prior).cpu()


def bounded(ratio: Tensor, bound: Tensor) -> Tensor:
    """Returns log-likelihood ratios float32 of at most a magnitude each, of the same shape."""
    return torch.maximum(torch.minimum(ratio, bound), -bound)


def real_columns(values: Tensor) -> Tensor:
    """Returns complex [B, K, n] as real and imaginary parts [B, K, 2 n]."""
    return torch.view_as_real(values.contiguous()).flatten(2)


def shortened(symbols: Tensor) -> Tensor:
    """Limits complex numbers to amplitude 2, because a network's input should stay bounded."""
    return symbols / symbols.abs().clamp_min(2.0) * 2.0
