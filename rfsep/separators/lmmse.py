"""The linear minimum mean squared error estimator."""

from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rfsep.iq import from_db, power
from rfsep.separators.windows import overlapped
from rfsep.signals.statistics import (
    frames_autocorrelation,
    modem_autocorrelation,
    modem_covariance,
    modem_waveforms,
    toeplitz,
)
from rfsep.types import InputError, Modem, Separated

_RIDGE = 1e-8  # share of the power added to the diagonal; both covariances are singular outside their bands
_GAIN_RANGE = (1e-2, 1e4)  # limits of kappa^2, for an SINR from +20 to -40 dB
_LEAST_GAIN = 1e-6  # least gain of a symbol in the estimate, against division by zero without a signal
_BLOCK, _MARGIN = 512, 96  # samples
_CONTEXT_SYMBOLS = 8  # symbols on each side that reach into a block cut from a longer mixture


class _Factors(NamedTuple):
    """The common diagonalisation of C_s and C_b: ``synthesis @ diag(eigenvalues) @ synthesis^H = C_s``."""

    analysis: Tensor  # complex64 [L, L]
    synthesis: Tensor  # complex64 [L, L]
    eigenvalues: Tensor  # float32 [L], in [0, 1]: share of the SOI in C_s + C_b

    def wiener(self, gain: Tensor) -> Tensor:
        """Returns the weight of each eigenvector, float32 [W, L], at interference gains kappa^2 float32 [W]."""
        return self.eigenvalues / (self.eigenvalues + gain[:, None] * (1 - self.eigenvalues)).clamp_min(1e-12)


def _diagonalise(soi: Tensor, interference: Tensor) -> _Factors:
    """Diagonalises two covariances complex128 [L, L] together.

    With A = C_s + C_b = K K^H and K^-1 C_s K^-H = U diag(lam) U^H, both are diagonal in the basis K U:
    C_s = K U diag(lam) U^H K^H and C_b = K U diag(1 - lam) U^H K^H.
    """
    total = soi + interference
    ridge = _RIDGE * total.diagonal().real.mean()
    root = torch.linalg.cholesky(total + ridge * torch.eye(len(total), dtype=total.dtype))  # K
    half = torch.linalg.solve_triangular(root, soi, upper=False)  # K^-1 C_s
    whitened = torch.linalg.solve_triangular(root, half.mH, upper=False)  # K^-1 C_s K^-H
    eigenvalues, basis = torch.linalg.eigh((whitened + whitened.mH) / 2)
    analysis = torch.linalg.solve_triangular(root.mH, basis, upper=True).mH  # U^H K^-1
    return _Factors(analysis.to(torch.complex64), (root @ basis).to(torch.complex64), eigenvalues.clamp(0, 1).float())


def _one_level(points: Tensor) -> bool:
    """Tells whether all points have the same magnitude, so that no gain changes the nearest one."""
    return bool(points.abs().max() - points.abs().min() < 1e-4)


def block_for(modem: Modem) -> int:
    """Returns samples in a block of `Lmmse` that has room for a symbol between its margins: 512, or more if needed."""
    return max(_BLOCK, 2 * _MARGIN + modem.symbol_period)


class Lmmse:
    """``s_hat = C_s (C_s + kappa^2 C_b)^-1 y``, block by block, followed by the matched filter.

    Such an estimate is shrunk: a symbol comes out times a gain below one, and the levels of 16-QAM lie too low for the
    nearest point. The filter is known and so is that gain, by which the separator's own ``bits`` are decided
    (Cioffi et al., IEEE Trans. Commun. 43, 1995: the unbiased estimate decides with fewer errors). ``soi`` stays the
    estimate itself, as the challenge's baseline is; those who demodulate it find the bits of the shrunk levels.

    The two covariances are diagonalised together once, after which any interference gain kappa^2 costs the same two
    matrix products; each mixture has its own. The interference is taken as stationary (time-averaged Toeplitz
    covariance, unit power), as in the RF Challenge's baseline; the SOI's statistics follow from its modem.

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T], from which its autocorrelation is learned.
        soi_covariance: ``stationary``: averaged over a symbol period, a Toeplitz matrix (the blind baseline of the
            challenge). ``synchronous``: C_s = R R^H at the known symbol timing (alpha-RGS, NeurIPS 2023, baselines).
        sinr: ``estimated``: kappa^2 = (power of the mixture - power of the SOI), as the 2021 challenge's baseline.
            ``known``: from ``sinr_db``; such a separator is an oracle.
        sinr_db: the SINR, if it is known.
        interference_autocorrelation: complex [>= block], unit power, instead of learning it from ``examples``.
        block: samples in a block.
        margin: samples at a block's inner edge that its neighbour estimates instead.
    """

    def __init__(
        self,
        modem: Modem,
        examples: Tensor,
        soi_covariance: Literal["stationary", "synchronous"] = "stationary",
        sinr: Literal["estimated", "known"] = "estimated",
        sinr_db: float | None = None,
        interference_autocorrelation: Tensor | None = None,
        block: int = _BLOCK,
        margin: int = _MARGIN,
    ) -> None:
        if sinr == "known" and sinr_db is None:
            raise InputError("lmmse: sinr is 'known' but sinr_db is not given; choose sinr: estimated")
        self.modem = modem
        self.examples = examples
        self.soi_covariance = soi_covariance
        self.gain = from_db(-sinr_db) if sinr == "known" and sinr_db is not None else None
        self.interference_autocorrelation = interference_autocorrelation
        self.block = block
        self.margin = margin
        self._soi_power = float(modem_autocorrelation(modem, 1).real)
        self._factors = lru_cache(maxsize=4)(self._factorise)
        self._passed = lru_cache(maxsize=4)(self._pass)

    def _interference(self, length: int) -> Tensor:
        """Unit-power autocorrelation complex128 [length] of the interference."""
        given = self.interference_autocorrelation
        if given is not None and len(given) < length:
            raise InputError(f"lmmse: interference_autocorrelation has {len(given)} lags, fewer than a block: {length}")
        lags = frames_autocorrelation(self.examples, length) if given is None else given[:length]
        return lags / lags[0].real

    def _factorise(self, length: int, whole: bool) -> _Factors:
        """Returns factors for blocks of ``length`` samples; ``whole`` says that the block is the whole mixture."""
        if self.soi_covariance == "synchronous":
            soi = modem_covariance(self.modem, length, 0 if whole else _CONTEXT_SYMBOLS)
        else:
            soi = toeplitz(modem_autocorrelation(self.modem, length))
        return _diagonalise(soi, toeplitz(self._interference(length)))

    def _pass(self, length: int, whole: bool) -> Tensor:
        """Returns each eigenvector's part in the gain of a period's D symbols, mid-block: float32 [L, D].

        The matched filter m turns a symbol with waveform p into m^H W p times the symbol, where W is the LMMSE filter.
        """
        factors, waveforms = self._factors(length, whole), modem_waveforms(self.modem, length, 0)  # [S, L]
        # Symbols, not bits, are counted: pilots carry none.
        per_period = self.modem.analyse(torch.zeros((1, self.modem.symbol_period), dtype=torch.complex64)).shape[1]
        first = len(waveforms) // per_period // 2 * per_period
        middle = slice(first, first + per_period)
        heard = self.modem.analyse(factors.synthesis.T.contiguous())[:, middle]  # [L, D]
        return ((factors.analysis @ waveforms[middle].T) * heard).real

    def _shrunk(self, length: int, gain: Tensor) -> Tensor:
        """Returns the gain of each symbol in estimates of ``length`` samples: float32 [B, S], positive."""
        key = min(length, self.block), length <= self.block
        shrunk = self._factors(*key).wiener(gain) @ self._passed(*key)  # [B, D]
        periods = self.modem.num_bits(length) // self.modem.num_bits(self.modem.symbol_period)
        return shrunk.clamp_min(_LEAST_GAIN).repeat(1, periods)

    def _bits(self, soi: Tensor, gain: Tensor) -> Tensor:
        """Returns hard bits uint8 [B, N] of estimates complex64 [B, T] for interference gains float32 [B]."""
        if self.modem.num_bits(soi.shape[1]) == 0 or _one_level(self.modem.constellation):
            return self.modem.decide(soi)
        return self.modem.decide(soi, self._shrunk(soi.shape[1], gain))

    def separate(self, mixture: Tensor) -> Separated:
        """Returns the estimate complex64 [B, T] and hard bits uint8 [B, N] of its matched filter, gain undone."""
        soi, gain = self._estimate(mixture)
        return Separated(soi, self._bits(soi, gain))

    def symbols(self, mixture: Tensor) -> Tensor:
        """Returns the symbols complex64 [B, S] that carry bits, each the one sent plus an error: their gain is undone.

        At the mixture's ends the gain is that of its middle.
        """
        soi, gain = self._estimate(mixture)
        return self.modem.analyse(soi) / self._shrunk(soi.shape[1], gain)

    def _estimate(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the estimate complex64 [B, T] and the interference gains float32 [B] that it assumes."""
        if self.gain is None:
            gain = (power(mixture) - self._soi_power).clamp(*_GAIN_RANGE)  # [B]
        else:
            gain = torch.full((len(mixture),), self.gain)
        whole = mixture.shape[1] <= self.block

        def estimate(blocks: Tensor) -> Tensor:
            factors = self._factors(blocks.shape[1], whole)
            wiener = factors.wiener(gain.repeat_interleave(len(blocks) // len(gain)))  # [W, L]
            return ((blocks @ factors.analysis.T) * wiener) @ factors.synthesis.T

        soi = overlapped(estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return soi, gain
