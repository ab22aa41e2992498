"""Slots of 5G NR in windows at a random time, through the fading channels of 3GPP TR 38.901."""

import math
from collections.abc import Callable, Sequence

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rfsep.signals.bursts import Range, uniform
from rfsep.signals.channels.delay_line import windowed_sinc
from rfsep.signals.channels.profiles import LONGEST_DELAY, delay_profile
from rfsep.signals.nr.numerology import FFT_SIZE, SAMPLE_RATE_HZ, SAMPLES_PER_SLOT, body_samples, nr_bodies
from rfsep.types import Sampled, synthetic

Slots = Callable[[int, int, torch.Generator, Tensor], Tensor]

_SINC_HALF_WIDTH = 8  # samples; with the window below, in-band error under -75 dB (the signal ends at 0.3 cycles)
_KAISER_BETA = 8.0


def impulse_responses(
    profiles: Sequence[str], delay_spread_s: Range, batch_size: int, generator: torch.Generator
) -> Tensor:
    """Draws channels complex64 [B, L] from lag -8 on, by a Kaiser-windowed sinc; mean gain 1 on every carrier."""
    longest = math.ceil(LONGEST_DELAY * delay_spread_s[1] * SAMPLE_RATE_HZ)
    spread = uniform(delay_spread_s, (batch_size, 1), generator) * SAMPLE_RATE_HZ  # samples
    choice = torch.randint(0, len(profiles), (batch_size,), generator=generator)
    tables = [delay_profile(name) for name in profiles]
    delays = pad_sequence([delays for delays, _ in tables], batch_first=True)[choice] * spread  # [B, P]
    powers = pad_sequence([powers for _, powers in tables], batch_first=True)[choice]  # a padded tap has power 0
    gains = powers.sqrt() * torch.randn(powers.shape, dtype=torch.complex128, generator=generator)
    whole = delays.floor()
    near = torch.arange(-_SINC_HALF_WIDTH, _SINC_HALF_WIDTH + 1)  # The kernel is 0 beyond these lags from a delay.
    taps = windowed_sinc(near - (delays - whole)[:, :, None], _SINC_HALF_WIDTH, _KAISER_BETA)  # [B, P, 17]
    place = whole.long()[:, :, None] + near + _SINC_HALF_WIDTH
    channel = torch.zeros((batch_size, longest + 2 * _SINC_HALF_WIDTH + 1), dtype=torch.complex128)
    channel.scatter_add_(1, place.flatten(1), (gains[:, :, None] * taps).flatten(1))
    return channel.to(torch.complex64)


def faded(
    slots: Slots,
    profiles: Sequence[str],
    delay_spread_s: Range,
    batch_size: int,
    num_samples: int,
    generator: torch.Generator,
) -> Sampled:
    """Draws windows complex64 [B, T] of consecutive slots at a random time, each through a channel of its own.

    Args:
        slots: draws so many windows of so many slots: complex64 [B, slots, 14, 612]. Its last argument, bool
            [B, slots], says which of them are heard; the others are drawn, but their values do not count.
        profiles: TDL profiles out of A, B, C; none means no channel.
        delay_spread_s: (low, high) of the uniform delay spread.
        batch_size: B.
        num_samples: T.
        generator: of all that is drawn.

    Returns:
        the windows; ``offset`` counts from the start of a slot on a path without delay.
    """
    if profiles:
        channel = impulse_responses(profiles, delay_spread_s, batch_size, generator)
    else:
        channel = torch.nn.functional.pad(torch.ones(batch_size, 1, dtype=torch.complex64), (_SINC_HALF_WIDTH, 0))
    before = channel.shape[1] - 1 - _SINC_HALF_WIDTH  # earlier samples that reach into the window
    length = before + num_samples + _SINC_HALF_WIDTH
    offset = torch.randint(0, SAMPLES_PER_SLOT, (batch_size,), generator=generator)
    start = (offset - before) % SAMPLES_PER_SLOT
    num_slots = math.ceil((SAMPLES_PER_SLOT - 1 + length) / SAMPLES_PER_SLOT)
    samples = body_samples(num_slots)
    first = samples[start] // FFT_SIZE  # [B], the first symbol that is heard
    last = samples[start + length - 1] // FFT_SIZE
    slot = torch.arange(num_slots)
    heard = (slot >= first[:, None] // 14) & (slot <= last[:, None] // 14)
    grids = slots(batch_size, num_slots, generator, heard).flatten(1, 2)  # [B, slots * 14, 612]
    symbols = first[:, None] + torch.arange(int((last - first).max()) + 1)  # [B, symbols], few of a short window
    rows = torch.arange(batch_size)[:, None]
    bodies = nr_bodies(grids[rows, symbols.clamp(max=grids.shape[1] - 1)]).flatten(1)  # [B, symbols * 1024]
    places = samples.unfold(0, length, 1)[start] - FFT_SIZE * first[:, None]  # [B, length]
    sent = bodies.gather(1, places)
    size = int(next_fast_len(length))  # Only dropped samples see the wrap-around.
    received = torch.fft.ifft(torch.fft.fft(sent, size) * torch.fft.fft(channel, size))
    return synthetic(received[:, channel.shape[1] - 1 :][:, :num_samples].contiguous(), offset=offset)
