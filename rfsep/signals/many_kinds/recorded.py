"""Interference of many kinds as a receiver records it: off the carrier, in bursts, clipped, and with noise."""

import math

import torch
from torch import Tensor

from rfsep.signals.bursts import Bursts, Range, check_range, uniform
from rfsep.types import Sampled, SignalSource, synthetic


def _power(waveform: Tensor) -> Tensor:
    return waveform.abs().square().mean(1, keepdim=True).clamp_min(1e-12)


def clipped(waveform: Tensor, limit: Tensor) -> Tensor:
    """Limits both components of rows complex64 [B, T] to ``limit`` float32 [B, 1] times the row's rms amplitude.

    The row's power stays the same.
    """
    before = _power(waveform)
    most = (limit * before.sqrt())[:, :, None]
    flat = torch.view_as_complex(torch.view_as_real(waveform.contiguous()).clamp(-most, most))
    return flat * (before / _power(flat)).sqrt()


class AsRecorded:
    """Windows of a source with a random carrier, bursts, clipping and the receiver's noise; the expected power is 1.

    Args:
        source: interference of unit power, such as `rfsep.signals.several.Several`.
        carrier: (low, high) of the carrier's offset in cycles per sample.
        bursts: share of windows with bursts.
        burst_on: (low, high), samples that a burst lasts.
        burst_off: (low, high), samples between bursts.
        level_db: standard deviation of a burst's level in dB, for several transmitters at different distances.
        clipping: share of windows that are clipped.
        limit: (low, high), largest real or imaginary part of these in rms amplitudes.
        snr_db: (low, high) of the power above the receiver's white noise.

    Raises:
        InputError: a range is empty or out of bounds.
    """

    def __init__(
        self,
        source: SignalSource,
        carrier: Range = (-0.1, 0.1),
        bursts: float = 0.5,
        burst_on: Range = (200.0, 5000.0),
        burst_off: Range = (200.0, 5000.0),
        level_db: float = 4.0,
        clipping: float = 0.15,
        limit: Range = (0.6, 2.0),
        snr_db: Range = (10.0, 40.0),
    ) -> None:
        self.source = source
        self.carrier = check_range("carrier", carrier, -0.5, 0.5)
        self.share_of_bursts = check_range("bursts", (bursts, bursts), 0.0, 1.0)[0]
        self.bursts = Bursts(check_range("burst_on", burst_on, 1.0), check_range("burst_off", burst_off, 0.0))
        self.level_db = check_range("level_db", (level_db, level_db), 0.0)[0]
        self.clipping = check_range("clipping", (clipping, clipping), 0.0, 1.0)[0]
        self.limit = check_range("limit", limit, 0.01)
        self.snr_db = check_range("snr_db", snr_db, -100.0)

    def _gate(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Tensor:
        """Returns amplitudes float32 [B, T] whose expected square is 1: 1 without bursts, else levels and pauses."""
        edges = self.bursts.edges(batch_size, num_samples, generator)
        samples = torch.arange(num_samples, dtype=torch.float64).expand(batch_size, -1).contiguous()
        passed = torch.searchsorted(edges, samples, right=True)  # [B, T], odd inside a burst
        nepers = self.level_db * math.log(10) / 20
        draws = torch.randn((batch_size, edges.shape[1]), dtype=torch.float64, generator=generator)
        level = torch.exp(nepers * draws - nepers**2).gather(1, passed.clamp(max=edges.shape[1] - 1))
        bursty = torch.rand((batch_size, 1), generator=generator) < self.share_of_bursts
        return torch.where(bursty, level * (passed % 2) / math.sqrt(self.bursts.duty()), 1.0).float()

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]."""
        waveform = self.source.sample(batch_size, num_samples, generator).waveform
        carrier, phase = (
            uniform(self.carrier, (batch_size, 1), generator),
            uniform((0.0, 1.0), (batch_size, 1), generator),
        )
        turns = (carrier * torch.arange(num_samples) + phase).frac().float()
        waveform = waveform * torch.polar(self._gate(batch_size, num_samples, generator), 2 * math.pi * turns)
        noise_power = 10 ** (-uniform(self.snr_db, (batch_size, 1), generator) / 10).float()
        noise = torch.randn(waveform.shape, dtype=waveform.dtype, generator=generator)
        waveform = (waveform + noise_power.sqrt() * noise) / (1 + noise_power).sqrt()
        limit = uniform(self.limit, (batch_size, 1), generator).float()
        chosen = torch.rand((batch_size, 1), generator=generator) < self.clipping
        return synthetic(torch.where(chosen, clipped(waveform, limit), waveform))
