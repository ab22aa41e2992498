"""Electromagnetic interference of switched-mode power converters."""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from rfsep.signals.bursts import Bursts, Range, check_range, uniform
from rfsep.types import InputError, Sampled, synthetic

_KERNEL_DECAYS = 8  # length of a pulse in its longest decay times: e^-8 = -69 dB of its amplitude is cut


class EmiBursts:
    """Ringing pulses of a switched-mode converter: narrow-band, periodic with jitter, with harmonics, in bursts.

    Each switching edge shocks the parasitic inductance and capacitance of the circuit, which ring at their resonance
    f and die away; the diode's non-linearity adds 2f, 3f, ... (Paul, Introduction to Electromagnetic Compatibility,
    2nd ed., ch. 3 and 9). Edges come once per switching period, with the jitter of a controller that regulates or
    spreads its spectrum. The converter works in bursts at light load. Its switching clock is not locked to the
    receiver's oscillator, so every pulse arrives with its own phase. A pulse at time t_i is

        g(t - t_i) exp(j phi_i),  g(t) = exp(-t / tau) sum_k h^(k-1) exp(j (2 pi k f t + theta_k)),  t >= 0.

    f, tau, the period P and theta_k stay fixed over a window and differ between windows. g has energy P over the duty
    cycle. Phases are independent, so the expected power is 1 for all parameters. A single window has more or less,
    depending on its bursts.

    Args:
        frequency: (low, high) of f, cycles per sample from the receiver's centre. A QPSK SOI of 16 samples per symbol
            and roll-off 0.5 lies within +-0.047.
        period: (low, high) of P, samples.
        decay_time: (low, high) of tau, samples; a pulse is about three long.
        num_harmonics: sinusoids per pulse, including the fundamental.
        harmonic_amplitude: h, amplitude of each harmonic relative to the one below, 0..1.
        jitter: largest displacement of a pulse in periods, uniform to both sides.
        burst_on: (low, high), samples that a burst lasts.
        burst_off: (low, high), samples between bursts.

    Raises:
        InputError: a range is empty or out of bounds, or a harmonic lies beyond 0.5 cycles per sample.
    """

    def __init__(
        self,
        frequency: Range = (0.005, 0.06),
        period: Range = (100.0, 400.0),
        decay_time: Range = (3.0, 16.0),
        num_harmonics: int = 4,
        harmonic_amplitude: float = 0.5,
        jitter: float = 0.05,
        burst_on: Range = (2000.0, 10000.0),
        burst_off: Range = (1000.0, 5000.0),
    ) -> None:
        self.frequency = check_range("frequency", frequency, -0.5, 0.5)
        self.period = check_range("period", period, 1.0)
        self.decay_time = check_range("decay_time", decay_time, 0.1)
        self.jitter = check_range("jitter", (jitter, jitter), 0.0, 0.5)[0]
        self.harmonic_amplitude = check_range("harmonic_amplitude", (harmonic_amplitude, harmonic_amplitude), 0, 1)[0]
        self.bursts = Bursts(check_range("burst_on", burst_on, 1.0), check_range("burst_off", burst_off, 0.0))
        highest = num_harmonics * max(abs(self.frequency[0]), abs(self.frequency[1]))
        if num_harmonics < 1 or highest > 0.5:
            raise InputError(
                f"num_harmonics: {num_harmonics} puts the last at {highest:g} cycles per sample, beyond 0.5"
            )
        self.num_harmonics = num_harmonics
        self._kernel_length = math.ceil(_KERNEL_DECAYS * self.decay_time[1])

    def _pulses(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draws one pulse of unit energy per window: complex64 [B, L]."""
        order = torch.arange(1, self.num_harmonics + 1)
        frequency = uniform(self.frequency, (batch_size, 1), generator)
        decay_time = uniform(self.decay_time, (batch_size, 1), generator)
        theta = uniform((0.0, 2 * math.pi), (batch_size, self.num_harmonics), generator)
        t = torch.arange(self._kernel_length, dtype=torch.float64)
        angle = 2 * math.pi * (frequency * order)[:, :, None] * t + theta[:, :, None]  # [B, K, L]
        amplitude = self.harmonic_amplitude ** (order - 1.0)
        pulses = (amplitude[:, None] * torch.polar(torch.ones_like(angle), angle)).sum(1) * torch.exp(-t / decay_time)
        return (pulses / pulses.abs().square().sum(1, keepdim=True).sqrt()).to(torch.complex64)

    def _impulses(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws switching instants with their phases and levels: complex64 [B, num_samples], mostly 0."""
        period = uniform(self.period, (batch_size, 1), generator)
        # The first edge is uniform over a period, hence stationary, and so early that jitter carries none past sample
        # 0.
        count = math.ceil(num_samples / self.period[0]) + 4
        start = torch.rand((batch_size, 1), dtype=torch.float64, generator=generator) - 2
        jitter = uniform((-self.jitter, self.jitter), (batch_size, count), generator)
        instants = period * (start + torch.arange(count) + jitter)  # [B, count]
        edges = self.bursts.edges(batch_size, num_samples, generator)
        on = torch.searchsorted(edges, instants, right=True) % 2 == 1
        phase = uniform((0.0, 2 * math.pi), (batch_size, count), generator)
        level = (period / self.bursts.duty()).sqrt() * on
        place = instants.floor().long()
        level = level * ((place >= 0) & (place < num_samples))
        place = place.clamp(0, num_samples - 1) + num_samples * torch.arange(batch_size)[:, None]
        impulses = torch.zeros(batch_size * num_samples, dtype=torch.complex64)
        impulses.index_add_(0, place.flatten(), torch.polar(level, phase).to(torch.complex64).flatten())
        return impulses.view(batch_size, num_samples)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        total = num_samples + self._kernel_length  # Earlier pulses ring into the window.
        size = int(next_fast_len(total))  # Only dropped samples see the wrap-around.
        kernels = torch.fft.fft(self._pulses(batch_size, generator), size)
        impulses = torch.fft.fft(self._impulses(batch_size, total, generator), size)
        waveform = torch.fft.ifft(kernels * impulses)  # [B, size]
        return synthetic(waveform[:, self._kernel_length : total].contiguous())
