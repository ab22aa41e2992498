"""Measures a tokenizer's errors, wrong bits and used tokens, and draws them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from rfsep.identification.cyclic import power_spectra
from rfsep.metrics import floored_db
from rfsep.pages.figures import Row, save
from rfsep.pages.style import INK, PALETTE, dress

_SHOWN = 640  # samples of a drawn waveform
_POINTS = 4000  # number of drawn latents
_LEAST_DENSITY = 1e-12  # least drawn density


class Kept(NamedTuple):
    """A signal and its reconstruction from tokens.

    Attributes:
        source: some windows of the signal, complex64 [B, T].
        reconstruction: reconstruction of these windows, complex64 [B, T].
        latents: bounded latents of their tokens, float32 [N, V].
        counts: count of each token, or of each digit's choices digit by digit, int64 [C].
        tokens: number of counted tokens.
        entropy_bits: entropy per token.
        effective_dimension: effective dimension of the latents.
        error: mean of |reconstruction - signal|^2 over everything.
        unquantised_error: the same without quantisation.
        bit_errors: wrong bits after tokens and demodulator.
        num_bits: number of sent bits; 0 if none are known.
    """

    source: Tensor
    reconstruction: Tensor
    latents: Tensor
    counts: Tensor
    tokens: int
    entropy_bits: float
    effective_dimension: float
    error: float
    unquantised_error: float
    bit_errors: int
    num_bits: int


def summary(kept: Kept) -> Row:
    """Summarises the result in numbers; ``ber_limit`` is the upper end of the 95 % interval if no bit is wrong."""
    found: dict[str, object] = {
        "mse_db": floored_db(kept.error),
        "unquantised_db": floored_db(kept.unquantised_error),
        "codes_used": int((kept.counts > 0).sum()),
        "codes_possible": len(kept.counts),
        "tokens": kept.tokens,
        "entropy_bits": kept.entropy_bits,
        "effective_dimension": kept.effective_dimension,
    }
    if kept.num_bits > 0:
        found |= {"bit_errors": kept.bit_errors, "num_bits": kept.num_bits}
        if kept.bit_errors == 0:
            found["ber_limit"] = 3 / kept.num_bits
    return found


def write_tokenizer_figure(path: Path, kept: Kept, stride: int, title: str) -> None:
    """Draws a part of the waveform, spectra of signal and error, latents, and token counts."""
    figure = Figure(figsize=(16.8, 3.8), layout="constrained", facecolor="white")
    panels = figure.subplots(1, 4)
    shown = min(_SHOWN, kept.source.shape[1])
    time = np.arange(shown) / stride
    panels[0].plot(time, kept.source[0, :shown].real, color=INK, linewidth=1.3, label="signal, in phase")
    panels[0].plot(time, kept.reconstruction[0, :shown].real, "--", color=PALETTE[0], linewidth=1.3, label="of tokens")
    dress(panels[0], "tokens", "amplitude", legend=True)
    for name, windows, colour in (
        ("signal", kept.source, INK),
        ("error", kept.reconstruction - kept.source, PALETTE[1]),
    ):
        density = torch.fft.fftshift(power_spectra(windows).mean(0)).clamp(min=_LEAST_DENSITY)
        frequency = np.arange(len(density)) / len(density) - 0.5
        panels[1].plot(frequency, 10 * density.log10(), color=colour, linewidth=1.3, label=name)
    dress(panels[1], "cycles per sample", "power density (dB)", legend=True)
    pairs = kept.latents[:_POINTS, :2]
    panels[2].plot(pairs[:, 0], pairs[:, 1], ".", color=PALETTE[0], markersize=3, label="tokens")
    panels[2].set_aspect("equal")
    dress(panels[2], "first latent", "second latent", legend=True)
    shares = kept.counts / kept.tokens
    panels[3].plot(np.arange(len(shares)), shares, ".", color=PALETTE[0], markersize=3, label="share of tokens")
    panels[3].set_ylim(0, 1.2 * float(shares.max()))
    dress(panels[3], "code" if int(kept.counts.sum()) == kept.tokens else "choices of each digit", "share", legend=True)
    figure.suptitle(title, color=INK)
    save(figure, path, title)
