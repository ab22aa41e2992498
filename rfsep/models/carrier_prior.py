"""A diffusion network for OFDM on a known grid, with one slicer that all carriers share."""

import torch
from torch import Tensor, nn

_LEAST_SIGMA = 0.05  # The estimate is not sharpened below this noise; two of the 50 published steps are below.
_FEATURES = 8


def symbol_transform(period: int, fft_size: int) -> Tensor:
    """Returns the orthonormal float32 [2 P, 2 P] from a period's samples to its prefix and the bins of its last F.

    Both sides hold real parts, then imaginary parts. With ``fft_size`` F = 1 samples stay unchanged.

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
    """A function of one complex number and the noise level: float32 [..., 2] to float32 [..., 2].

    It has two hidden layers of ``silu(k v) / k``, a ramp whose corner is the sharper, the weaker the noise. A few such
    units can express the distance to the nearest constellation point at any level.

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
        """Maps values [B, K, P, 2] with modulation [B, 4 hidden] and sharpness [B, 1, 1, 1] to [B, K, P, 2]."""
        scale, shift, next_scale, next_shift = modulation.view(len(values), 4, 1, 1, -1).unbind(1)
        ramp = nn.functional.silu(sharpness * (self.first(values) * (1 + scale) + shift)) / sharpness
        ramp = nn.functional.silu(sharpness * (self.second(ramp) * (1 + next_scale) + next_shift)) / sharpness
        sliced: Tensor = self.last(ramp)
        return sliced


class CarrierPrior(nn.Module):
    """Estimates the noise in OFDM: float32 [B, 2, T] and steps [B] to float32 [B, 2, T], T a multiple of the period.

    A token is one OFDM symbol, given as its prefix and its bins. A linear map, the identity at first, gathers the parts
    of a carrier. The same slicer denoises every carrier, and a second map goes back. A network with separate units for
    each carrier would learn every constellation anew, 56 times.

    If F is the network's output, the estimate is ``sigma x - sqrt(alpha_bar) F / sigma``, with sigma held above 0.05 in
    the second term. F = 0 is the optimum for white Gaussian signals. F near the distance to the nearest point is the
    optimum for discrete ones.

    Args:
        period: samples per token, P.
        fft_size: size of the FFT over the last samples of a token.
        hidden: units of the slicer's layers.
        width: width of the noise level's embedding.
        num_steps: steps of the schedule, whose beta is ``first`` ... ``last``, evenly spaced.
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
        """Returns zero inputs of one window of the whole tokens in ``num_samples`` samples."""
        return torch.zeros((1, 2, num_samples // self.period * self.period)), torch.zeros(1)

    def _level(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """Returns sqrt(alpha_bar) and sigma float32 [B] of steps float32 or int64 [B], interpolated linearly."""
        step = step.float().clamp(0, len(self.amplitude) - 1)
        low = step.long()
        high = (low + 1).clamp(max=len(self.amplitude) - 1)
        amplitude = torch.lerp(self.amplitude[low], self.amplitude[high], (step - low).double())
        return amplitude.float(), (1 - amplitude.square()).sqrt().float()

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        """Noise float32 [B, 2, T] of unit variance in ``noisy`` float32 [B, 2, T] at steps float32 or int64 [B]."""
        with torch.autocast(noisy.device.type, enabled=False):  # It takes small differences of large numbers.
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
    """Returns features [B, 8] of the noise level, float32 [B] each."""
    log = sigma.log()
    waves = [(2 * log).sin(), (2 * log).cos(), (4 * log).sin()]
    return torch.stack((log, log.square() / 4, sigma, amplitude, 1 / (1 + 10 * sigma), *waves), 1)
