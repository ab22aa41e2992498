"""Second-order statistics of modems and of example frames."""

import torch
from torch import Tensor

from rfsep.types import InputError, Modem


def _correlate(waveforms: Tensor, num_lags: int) -> Tensor:
    """Returns the sum over rows and n of x[n + lag] conj(x[n]): complex [B, T] to complex128 [num_lags]."""
    size = waveforms.shape[1] + num_lags
    spectrum = torch.fft.fft(waveforms.to(torch.complex128), size).abs().square().sum(0)  # [size]
    correlation: Tensor = torch.fft.ifft(spectrum.to(torch.complex128))
    return correlation[:num_lags]


def modem_waveforms(modem: Modem, num_samples: int, context: int) -> Tensor:
    """Returns the waveform of every data symbol that reaches a window, one per row: complex64 [S, num_samples].

    Args:
        modem: the modulation.
        num_samples: samples in the window.
        context: symbol periods of signal before and after the window; 0 if the signal begins and ends with it.
    """
    period = modem.symbol_period
    total = num_samples + 2 * context * period
    num_symbols = modem.analyse(torch.zeros((1, total), dtype=torch.complex64)).shape[1]
    rows = modem.synthesise(torch.eye(num_symbols, dtype=torch.complex64), total)
    return rows[:, context * period : context * period + num_samples]


def modem_covariance(modem: Modem, num_samples: int, context: int) -> Tensor:
    """Returns the covariance of a modem's synchronised window for independent symbols of unit power.

    ``C = R R^H`` with the columns of R the waveforms of the single symbols.

    Returns:
        complex128 [num_samples, num_samples]; arguments as `modem_waveforms`.
    """
    response = modem_waveforms(modem, num_samples, context).T.to(torch.complex128)  # [T, S]
    return response @ response.mH


def modem_autocorrelation(modem: Modem, num_lags: int, context: int = 8) -> Tensor:
    """Returns the autocorrelation r[lag] = E x[n + lag] conj(x[n]) averaged over n in a symbol period, in closed form.

    Returns:
        complex128 [num_lags].

    >>> from rfsep.signals.ofdm_modem import OfdmModem
    >>> r = modem_autocorrelation(OfdmModem(), 81)
    >>> round(r[0].real.item(), 6), round(r[64].real.item(), 6)  # power 56/64; the prefix is a fifth of the time
    (0.875, 0.175)
    """
    period = modem.symbol_period
    per_period = modem.analyse(torch.zeros((1, period), dtype=torch.complex64)).shape[1]
    waveforms = modem_waveforms(modem, (2 * context + 1) * period, 0)
    central = waveforms[context * per_period : (context + 1) * per_period]  # the symbols of one period
    return _correlate(central, num_lags) / period


def frames_autocorrelation(frames: Tensor, num_lags: int) -> Tensor:
    """Returns the autocorrelation averaged over example frames and time: complex64 [F, T] to complex128 [num_lags].

    It is the biased estimate (each lag over T), which always belongs to a non-negative spectrum.

    Raises:
        InputError: the samples are fewer than the lags, hold NaN or infinity, or are all zero.
    """
    if frames.numel() < num_lags:
        shape = " x ".join(map(str, frames.shape))
        raise InputError(
            f"{shape} samples of example frames are too few to learn an autocorrelation of {num_lags} lags"
        )
    if not torch.isfinite(torch.view_as_real(frames)).all():
        raise InputError("the example frames hold NaN or infinity")
    if not frames.any():
        raise InputError("the example frames hold nothing but zeros")
    return _correlate(frames, num_lags) / frames.numel()


def toeplitz(autocorrelation: Tensor) -> Tensor:
    """Returns the covariance matrix C[i, j] = r[i - j] of a stationary signal: complex [L] to complex128 [L, L]."""
    full = torch.cat((autocorrelation[1:].flip(0).conj(), autocorrelation)).to(torch.complex128)  # lags -(L-1)..L-1
    lag = torch.arange(len(autocorrelation))
    return full[len(autocorrelation) - 1 + lag[:, None] - lag]


def solve_positive(matrix: Tensor, columns: Tensor) -> Tensor:
    """``matrix^-1 columns`` for Hermitian positive definite matrices complex [..., S, S] and columns [..., S, n].

    Cholesky takes half the work of LU, and torch's LU of complex matrices fails with more than one thread (MKL, 2.13).
    """
    root = torch.linalg.cholesky((matrix + matrix.mH) / 2)
    half = torch.linalg.solve_triangular(root, columns, upper=False)
    solved: Tensor = torch.linalg.solve_triangular(root.mH, half, upper=True)
    return solved


def inverse_positive(matrix: Tensor) -> Tensor:
    """Inverts Hermitian positive definite matrices complex [..., S, S]; see `solve_positive`."""
    return torch.cholesky_inverse(torch.linalg.cholesky((matrix + matrix.mH) / 2))
