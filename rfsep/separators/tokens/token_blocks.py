"""Marginals of Gaussian models of tokens, with matrices no larger than a token's structure asks for.

The symbols a of the SOI and the carriers b of a token have the information matrix

    [ own + diag(p)   coupling          ]
    [ coupling^H      beside + diag(q)  ]

with the precisions p and q of their sites. A whole token keeps few carriers. One that its window cuts keeps all of
them, but ``beside`` is s base I + s sign F^H F: with as few rows in F as samples inside (base 0, sign 1), or as there
are samples that the body lacks or has twice (base 1; sign -1 or 1), because the body's samples alone give s I.
With 1 / t = q + s base, the matrix inversion lemma leaves a matrix as large as F has rows:

    (beside + diag(q))^-1 = diag(t) - sign W^H W,    W = s^1/2 L^-1 F diag(t),    L L^H = I + sign s F diag(t) F^H.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rfsep.iq import squared

_STEP = 8  # Tokens whose F has about as many rows are solved together; rows of zeros change nothing.


class Marginals(NamedTuple):
    """Means complex [W, N] and variances real [W, N]."""

    mean: Tensor
    variance: Tensor


class TokenBlocks(Protocol):
    """The information of W tokens on their N = n + m symbols, of the SOI and then of the carriers."""

    def marginals(self, precision: Tensor, moment: Tensor) -> Marginals:
        """Returns the marginals with sites of precisions real [W, N], and ``moment`` complex [W, N] of both."""
        ...

    def diagonal(self) -> Tensor:
        """Returns the matrices' diagonals without sites: real [W, N]."""
        ...

    def times(self, symbols: Tensor) -> Tensor:
        """Returns the matrices' products with symbols complex [W, N], without sites: complex [W, N]."""
        ...


class WholeTokens(NamedTuple):
    """Tokens inside their windows.

    Attributes:
        own: real or complex [W, n, n]; real for real pulses, which halves the work on it.
        coupling: complex [W, n, m].
        beside: complex [W, m, m].
    """

    own: Tensor
    coupling: Tensor
    beside: Tensor

    def marginals(self, precision: Tensor, moment: Tensor) -> Marginals:
        """See `TokenBlocks`."""
        count = self.own.shape[1]
        own = _inverse(self.own, precision[:, :count])
        across = _product(own, self.coupling)
        beside = _inverse(self.beside - self.coupling.mH @ across, precision[:, count:])
        near, far = moment[:, :count, None], moment[:, count:, None]
        carriers = beside @ (far - across.mH @ near)
        symbols = _product(own, near) - across @ carriers
        spread = _real_diagonal(own) + _overlap(across @ beside, across)
        return Marginals(torch.cat((symbols, carriers), 1)[:, :, 0], torch.cat((spread, _real_diagonal(beside)), 1))

    def diagonal(self) -> Tensor:
        """See `TokenBlocks`."""
        return torch.cat((_real_diagonal(self.own), _real_diagonal(self.beside)), 1)

    def times(self, symbols: Tensor) -> Tensor:
        """See `TokenBlocks`."""
        near, far = symbols[:, : self.own.shape[1], None], symbols[:, self.own.shape[1] :, None]
        product = _product(self.own, near) + self.coupling @ far, self.coupling.mH @ near + self.beside @ far
        return torch.cat(product, 1)[:, :, 0]


class _Cut(NamedTuple):
    """Some cut tokens of as many rows r.

    Attributes:
        which: their places, int64 [w].
        factor: s^1/2 F, complex [w, r, m].
        base: s base, real [w, 1].
        sign: real [w, 1, 1].
        own: complex [w, n, n].
        coupling: its adjoint, complex [w, m, n].
    """

    which: Tensor
    factor: Tensor
    base: Tensor
    sign: Tensor
    own: Tensor
    coupling: Tensor

    def marginals(self, precision: Tensor, moment: Tensor) -> Marginals:
        """See `TokenBlocks`; precisions and moments are those of all tokens."""
        precision, moment, count = precision[self.which], moment[self.which], self.own.shape[1]
        flat = 1 / (precision[:, count:] + self.base)  # t, [w, m]
        scaled = self.factor * flat[:, None]
        small = self.sign * (scaled @ self.factor.mH)
        small.diagonal(dim1=1, dim2=2).add_(1)
        half = torch.linalg.solve_triangular(torch.linalg.cholesky(small), scaled, upper=False)  # W
        right = torch.cat((self.coupling, moment[:, count:, None]), 2)
        solved = flat[:, :, None] * right - self.sign * (half.mH @ (half @ right))
        across, far = solved[:, :, :-1], solved[:, :, -1:]
        own = _inverse(self.own - self.coupling.mH @ across, precision[:, :count])
        symbols = own @ (moment[:, :count, None] - across.mH @ moment[:, count:, None])
        spread = flat - self.sign[:, 0] * squared(half).sum(1) + _overlap(across @ own, across)
        mean = torch.cat((symbols, far - across @ symbols), 1)[:, :, 0]
        return Marginals(mean, torch.cat((_real_diagonal(own), spread), 1))


class CutTokens:
    """Tokens partly outside their windows.

    Args:
        pulses: response to the SOI's symbols, complex128 [W, P, n].
        carriers: response to the carriers at unit gain, complex128 [P, m]: a body with its last samples in front of it.
        gain: of the carriers, complex128 [W].
        inside: the samples in the window, successive ones, bool [W, P].
        noise_power: float64 [W].
        body: number of samples of a body, at least m, in which carriers of unit power are orthonormal.
    """

    def __init__(
        self, pulses: Tensor, carriers: Tensor, gain: Tensor, inside: Tensor, noise_power: Tensor, body: int
    ) -> None:
        self._count = len(pulses)
        noise = noise_power.sqrt()[:, None, None]
        self._pulses = pulses * inside[:, :, None] / noise
        self._carriers = gain[:, None, None] * carriers * inside[:, :, None] / noise
        self._parts = list[_Cut]()
        own, coupling = self._pulses.mH @ self._pulses, self._carriers.mH @ self._pulses
        place = (torch.arange(inside.shape[1]) + body - inside.shape[1]) % body
        heard = torch.zeros((len(inside), body), dtype=torch.float64)
        heard.index_add_(1, place, inside.double())  # how often each sample of the body is inside
        few = (heard != 1).sum(1) < (heard > 0).sum(1)  # whether base is 1
        weight = heard - few[:, None].double()
        rank = (weight != 0).sum(1)
        scale = squared(gain) / noise_power
        for rows in torch.unique((rank + _STEP - 1) // _STEP).tolist():
            here = ((rank + _STEP - 1) // _STEP == rows).nonzero()[:, 0]
            size, order = weight[here].abs().sort(stable=True, dim=1, descending=True)
            size = (scale[here, None] * size[:, : _STEP * rows]).sqrt()[:, :, None]
            factor = size * carriers[-body:][order[:, : _STEP * rows]]
            base, sign = scale[here] * few[here], weight[here].sum(1).sign()
            part = _Cut(here, factor, base[:, None], sign[:, None, None], own[here], coupling[here])
            self._parts.append(part)

    def marginals(self, precision: Tensor, moment: Tensor) -> Marginals:
        """See `TokenBlocks`."""
        found = Marginals(torch.empty_like(moment), torch.empty_like(precision))
        for part in self._parts:
            mean, variance = part.marginals(precision, moment)
            found.mean[part.which], found.variance[part.which] = mean, variance
        return found

    def diagonal(self) -> Tensor:
        """See `TokenBlocks`."""
        return torch.cat((squared(self._pulses).sum(1), squared(self._carriers).sum(1)), 1)

    def times(self, symbols: Tensor) -> Tensor:
        """See `TokenBlocks`."""
        response = torch.cat((self._pulses, self._carriers), 2)
        product: Tensor = (response.mH @ (response @ symbols[:, :, None]))[:, :, 0]
        return product


def _inverse(matrix: Tensor, precision: Tensor) -> Tensor:
    """Inverts positive definite matrices [W, n, n] after precisions real [W, n] are added to their diagonals."""
    matrix = matrix.clone()
    matrix.diagonal(dim1=1, dim2=2).add_(precision)
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix))


def _product(matrix: Tensor, columns: Tensor) -> Tensor:
    """Multiplies real or complex matrices [W, n, n] with complex columns [W, n, m]: complex [W, n, m]."""
    if matrix.is_complex():
        return matrix @ columns
    product = matrix @ torch.view_as_real(columns.contiguous()).flatten(2)
    return torch.view_as_complex(product.view(*columns.shape, 2))


def _real_diagonal(matrix: Tensor) -> Tensor:
    """Returns the real diagonals [W, n] of matrices [W, n, n]."""
    return matrix.diagonal(dim1=1, dim2=2).real


def _overlap(left: Tensor, right: Tensor) -> Tensor:
    """Returns the real part of sum_i left[..., i] conj(right[..., i])."""
    found: Tensor = (torch.view_as_real(left) * torch.view_as_real(right)).sum((-1, -2))
    return found
