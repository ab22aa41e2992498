"""Estimators of a Gaussian SOI in Gaussian interference with periodic covariances, in closed form.

Both sources are zero-mean circular Gaussian with a covariance for each offset into their period, real or complex. The
mixture is ``y = s + kappa b + w`` with white noise w. Covariances of b have unit power; ``gain`` is kappa^2 = 1 / SIR.
"""

import torch
from torch import Tensor

_NEGLIGIBLE = 1e-10  # A hypothesis of smaller posterior probability is left out.


def _columns(mixture: Tensor, like: Tensor) -> Tensor:
    """Returns mixtures complex [B, T] as columns: complex128 [T, B], or real and imaginary parts float64 [T, 2 B]."""
    columns: Tensor = mixture.to(torch.complex128).T
    if not like.is_complex():
        columns = torch.cat((columns.real, columns.imag), 1)
    return columns


def _rows(columns: Tensor) -> Tensor:
    """Inverts `_columns`, complex128 [B, T]."""
    if not columns.is_complex():
        columns = torch.complex(*(part.contiguous() for part in columns.chunk(2, 1)))
    rows: Tensor = columns.T
    return rows


def _factor(soi: Tensor, interference: Tensor, gain: float, noise_power: float) -> Tensor:
    """Cholesky factor [T, T] of the mixture's covariance C_s + kappa^2 C_b + noise."""
    total = soi + gain * interference + noise_power * torch.eye(len(soi), dtype=soi.dtype)
    factor: Tensor = torch.linalg.cholesky(total)
    return factor


def linear_estimate(mixture: Tensor, soi: Tensor, interference: Tensor, gain: float, noise_power: float) -> Tensor:
    """Returns ``C_s (C_s + kappa^2 C_b + noise_power I)^-1 y``, the best estimate given the covariances.

    Args:
        mixture: complex [B, T].
        soi: covariance C_s [T, T], float64 or complex128.
        interference: covariance C_b [T, T].
        gain: kappa^2.
        noise_power: power of the white noise.

    Returns:
        complex128 [B, T].
    """
    factor = _factor(soi, interference, gain, noise_power)
    return _rows(soi @ torch.cholesky_solve(_columns(mixture, soi), factor))


def lmmse(
    mixture: Tensor, covariances_soi: Tensor, covariances_interference: Tensor, gain: float, noise_power: float
) -> Tensor:
    """Returns the linear estimate that knows the SIR but not the offsets, by covariances averaged over the offsets.

    Args:
        mixture: complex [B, T].
        covariances_soi: [P, T, T], one for each offset.
        covariances_interference: [Q, T, T].
        gain: kappa^2.
        noise_power: power of the white noise.

    Returns:
        complex128 [B, T].
    """
    return linear_estimate(mixture, covariances_soi.mean(0), covariances_interference.mean(0), gain, noise_power)


def sync_mmse(
    mixture: Tensor,
    covariances_soi: Tensor,
    covariances_interference: Tensor,
    soi_offset: Tensor,
    interference_offset: Tensor,
    gain: Tensor,
    noise_power: float,
) -> Tensor:
    """Returns the MMSE estimate given SIR and both offsets.

    Args:
        mixture: complex [B, T].
        covariances_soi: [P, T, T], one for each offset.
        covariances_interference: [Q, T, T].
        soi_offset: int64 [B].
        interference_offset: int64 [B].
        gain: kappa^2, float [B].
        noise_power: power of the white noise.

    Returns:
        complex128 [B, T].
    """
    estimate = torch.empty(mixture.shape, dtype=torch.complex128)
    known = list(zip(soi_offset.tolist(), interference_offset.tolist(), gain.tolist(), strict=True))
    for place in set(known):
        rows = torch.tensor([other == place for other in known])
        soi, interference = covariances_soi[place[0]], covariances_interference[place[1]]
        estimate[rows] = linear_estimate(mixture[rows], soi, interference, place[2], noise_power)
    return estimate


def posterior_mmse(
    mixture: Tensor,
    covariances_soi: Tensor,
    covariances_interference: Tensor,
    gains: Tensor,
    noise_power: float,
    temper: float = 1.0,
) -> Tensor:
    """Returns the MMSE estimate without knowledge of offsets and SIR: all hypotheses, weighted by their posteriors.

    All P Q G hypotheses are equally likely. The density of a circular Gaussian vector is proportional to
    ``exp(-log det C - y^H C^-1 y)``. MLSP 2022 weights by ``exp(-log det C / 2 - y^H C^-1 y / 2)``, which is right for
    real vectors. That is a posterior tempered by 1/2.

    Args:
        mixture: complex [B, T].
        covariances_soi: [P, T, T], one for each offset.
        covariances_interference: [Q, T, T].
        gains: kappa^2 of the possible levels, float [G].
        noise_power: power of the white noise.
        temper: exponent of the likelihood; 1 is the posterior, 0.5 the published one.

    Returns:
        complex128 [B, T].
    """
    columns = _columns(mixture, covariances_soi)
    hypotheses = [
        (soi, interference, float(gain))
        for soi in covariances_soi
        for interference in covariances_interference
        for gain in gains
    ]
    log_likelihood = torch.empty((len(hypotheses), len(mixture)), dtype=torch.float64)
    for index, (soi, interference, gain) in enumerate(hypotheses):
        factor = _factor(soi, interference, gain, noise_power)
        white = torch.linalg.solve_triangular(factor, columns, upper=False)
        energy = _rows(white).abs().square().sum(1)  # y^H C^-1 y
        log_likelihood[index] = -2 * factor.diagonal().real.log().sum() - energy
    posterior = torch.softmax(temper * log_likelihood, 0)  # [hypotheses, B]
    estimate = torch.zeros(mixture.shape, dtype=torch.complex128)
    for weight, (soi, interference, gain) in zip(posterior, hypotheses, strict=True):
        rows = weight > _NEGLIGIBLE
        if rows.any():
            estimate[rows] += weight[rows, None] * linear_estimate(mixture[rows], soi, interference, gain, noise_power)
    return estimate
