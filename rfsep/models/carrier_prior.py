"""A diffusion network for OFDM whose grid is known: to the carriers, one slicer for all of them, and back."""

import torch
from torch import Tensor, nn

_LEAST_SIGMA = 0.05  # noise below which the estimate is not sharpened further; two of the 50 published steps are
_FEATURES = 8


def symbol_transform(period: int, fft_size: int) -> Tensor:
    """Orthonormal float32 [2 P, 2 P] from the samples of a period to its prefix and the bins of its last F samples.

    Both sides are real parts, then imaginary parts; ``fft_size`` F of 1 leaves samples as they are.

    >>> (symbol_transform(2, 2)[:2, :2] * 2**0.5).round().tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    bins = torch.eye(period, dtype=torch.complex128)
    bins[period - fft_size :, period - fft_size :] = torch.fft.fft(
        torch.eye(fft_size, dtype=torch.complex128), norm="ortho"
    )
    rows = (torch.cat((bins.real, -bins.imag), 1), torch.cat((bins.imag, bins.real), 1))
    return torch.cat(rows).float()


class Slicer(nn.Module):
    """A function of one complex number that knows the noise level: float32 [..., 2] to float32 [..., 2].

    Two hidden layers of ``silu(k v) / k``, which is a ramp with a corner as sharp as the noise is weak: with few of
    them the distance to the nearest constellation point can be written down at any level.

    Args:
        hidden: units of each layer.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.first = nn.Linear(2, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2)
        nn.init.uniform_(self.first.bias, -1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, values: Tensor, modulation: Tensor, sharpness: Tensor) -> Tensor:
        """Values [B, K, P, 2], modulation [B, 4 hidden], sharpness [B, 1, 1, 1]: to [B, K, P, 2]."""
        scale, shift, next_scale, next_shift = modulation.view(len(values), 4, 1, 1, -1).unbind(1)
        ramp = nn.functional.silu(sharpness * (self.first(values) * (1 + scale) + shift)) / sharpness
        ramp = nn.functional.silu(sharpness * (self.second(ramp) * (1 + next_scale) + next_shift)) / sharpness
        sliced: Tensor = self.last(ramp)
        return sliced


class CarrierPrior(nn.Module):
    """The noise in noisy OFDM: float32 [B, 2, T] and steps [B] to float32 [B, 2, T], T a multiple of the period.

    A token is one OFDM symbol, shown as its prefix and its bins. A linear map, the identity at first, brings together
    what belongs to a carrier; the same slicer takes every carrier to what its noise hides, and a second map goes back.
    A network of separate units for each carrier learns every constellation anew, 56 times over.

    With F the networks' output the estimate is ``sigma x - sqrt(alpha_bar) F / sigma``, sigma held above 0.05 in the
    second term: F = 0 is the optimum for white Gaussian signals, and F near the distance to the nearest point is the
    optimum for discrete ones.

    Args:
        period: samples in a token, P.
        fft_size: of the last samples of a token.
        hidden: units of the slicer's layers.
        width: of the noise level's embedding.
        num_steps: of the schedule, whose beta is ``first`` ... ``last``, evenly spaced.
        first: beta of step 0.
        last: beta of the last step.
    """

    transform: Tensor
    amplitude: Tensor

    def __init__(
        self,
        period: int,
        fft_size: int,
        hidden: int = 32,
        width: int = 64,
        num_steps: int = 50,
        first: float = 1e-4,
        last: float = 0.05,
    ) -> None:
        super().__init__()
        self.period = period
        self.register_buffer("transform", symbol_transform(period, fft_size), persistent=False)
        alpha_bar = (1 - torch.linspace(first, last, num_steps, dtype=torch.float64)).cumprod(0)
        self.register_buffer("amplitude", alpha_bar.sqrt(), persistent=False)  # float64: 1 - alpha_bar is small
        self.enter = nn.Linear(2 * period, 2 * period, bias=False)
        self.leave = nn.Linear(2 * period, 2 * period, bias=False)
        for layer in (self.enter, self.leave):
            nn.init.eye_(layer.weight)
        self.slicer = Slicer(hidden)
        self.embedding = nn.Sequential(nn.Linear(_FEATURES, width), nn.SiLU())
        self.modulation = nn.Linear(width, 4 * hidden + 4 * period + 1)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def example_inputs(self, num_samples: int) -> tuple[Tensor, Tensor]:
        """Inputs of one window of the whole tokens in ``num_samples`` samples, all zero."""
        return torch.zeros((1, 2, num_samples // self.period * self.period)), torch.zeros(1)

    def _level(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar) and sigma float32 [B] of steps float32 or int64 [B], between two by linear interpolation."""
        step = step.float().clamp(0, len(self.amplitude) - 1)
        low = step.long()
        high = (low + 1).clamp(max=len(self.amplitude) - 1)
        amplitude = torch.lerp(self.amplitude[low], self.amplitude[high], (step - low).double())
        return amplitude.float(), (1 - amplitude.square()).sqrt().float()

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        """Noise float32 [B, 2, T] of unit variance in ``noisy`` float32 [B, 2, T] at steps float32 or int64 [B]."""
        with torch.autocast(noisy.device.type, enabled=False):  # small differences of large numbers
            return self._noise(noisy.float(), *self._level(step))

    def _noise(self, noisy: Tensor, amplitude: Tensor, sigma: Tensor) -> Tensor:
        batch, period = len(noisy), self.period
        modulation = self.modulation(self.embedding(_features(amplitude, sigma)))
        of_slicer, scales, sharpness = modulation.split((4 * self.slicer.hidden, 4 * period, 1), 1)
        inner, outer = (1 + scales).view(batch, 2, 1, 2 * period).unbind(1)
        samples = noisy.view(batch, 2, -1, period).transpose(1, 2).flatten(2)  # [B, K, 2 P]
        carriers = self.enter((samples @ self.transform.T) * inner)
        values = torch.stack(carriers.chunk(2, 2), 3)  # [B, K, P, 2]
        sliced = self.slicer(values, of_slicer, (sharpness.exp() / sigma[:, None])[:, :, None, None])
        found = self.leave(torch.cat(sliced.unbind(3), 2) * outer) @ self.transform  # [B, K, 2 P]
        found = found.unflatten(2, (2, period)).transpose(1, 2).flatten(2)  # [B, 2, T]
        amplitude, sigma = amplitude[:, None, None], sigma[:, None, None]
        noise: Tensor = sigma * noisy - amplitude * found / sigma.clamp_min(_LEAST_SIGMA)
        return noise


def _features(amplitude: Tensor, sigma: Tensor) -> Tensor:
    """What the noise level is shown as: float32 [B] each to [B, 8]."""
    log = sigma.log()
    waves = [(2 * log).sin(), (2 * log).cos(), (4 * log).sin()]
    return torch.stack((log, log.square() / 4, sigma, amplitude, 1 / (1 + 10 * sigma), *waves), 1)
