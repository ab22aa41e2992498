"""Impairments drawn at random, anew for every window."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rfsep.signals.bursts import Range, check_range, uniform
from rfsep.signals.channels.impairments import Impairments, check_impairments
from rfsep.signals.channels.profiles import LONGEST_DELAY, PROFILES, delay_profile
from rfsep.signals.channels.rays import parse_rays
from rfsep.types import InputError

_COLUMNS = ("carrier", "phase_rad", "clock_ppm", "delay", "phase_noise")
_PROFILES = {f"tdl_{name.lower()}": name for name in PROFILES}


class RandomImpairments:
    """Draws carrier, phase, clock, delay, rays and phase noise of independent links, uniform in ranges.

    A number in place of a range (low, high) is always itself. The rays have a total power of 1 on average, so that a
    signal keeps its own power.

    Args:
        carrier: offset of the carrier in cycles/sample.
        phase: ``random``, uniform over the circle, or ``zero``, at the first sample of a window.
        clock_ppm: by which the transmitter's clock is faster than the receiver's.
        delay: in samples.
        rays: fixed delays and powers, ``0:0,2:-6``; a ray without a phase has a random one.
        profile: one or several of tdl_a, tdl_b and tdl_c (3GPP TR 38.901 clause 7.7.2), drawn per window. The taps
            fade independently, as complex normal gains, and stay as they are within a window.
        delay_spread: of the profile in samples.
        phase_noise: standard deviation of the phase's steps from sample to sample, rad.

    Raises:
        InputError: a range is empty or out of bounds, rays and a profile together, or a profile without a spread.
    """

    def __init__(
        self,
        carrier: float | Range = 0.0,
        phase: Literal["zero", "random"] = "zero",
        clock_ppm: float | Range = 0.0,
        delay: float | Range = 0.0,
        rays: str = "",
        profile: str | Sequence[str] | None = None,
        delay_spread: float | Range = 0.0,
        phase_noise: float | Range = 0.0,
    ) -> None:
        if phase not in ("zero", "random"):
            raise InputError(f"channel.phase is {phase!r}; choose one of zero, random")
        self.carrier = _range("carrier", carrier, -0.5, 0.5)
        self.random_phase = phase == "random"
        self.clock_ppm = _range("clock_ppm", clock_ppm, -1e4, 1e4)
        self.delay = _range("delay", delay, -1e4, 1e4)
        self.rays = parse_rays(rays)
        self.profiles = _profiles(profile)
        self.delay_spread = _range("delay_spread", delay_spread, 0.0, 1e3)
        self.phase_noise = _range("phase_noise", phase_noise, 0.0, math.pi)
        if self.rays and self.profiles:
            raise InputError(f"channel has rays '{rays}' and profile {profile}; choose one")
        if bool(self.profiles) != (self.delay_spread[1] > 0):
            raise InputError(
                f"channel.profile {profile} and delay_spread {delay_spread} samples: one without the other"
            )
        for impairments in self.extremes():
            check_impairments(impairments)

    def draw(self, batch_size: int, generator: torch.Generator) -> list[Impairments]:
        """Draws the impairments of ``batch_size`` windows."""
        shape = (batch_size,)
        carrier = uniform(self.carrier, shape, generator)
        phase = uniform((0.0, 2 * math.pi if self.random_phase else 0.0), shape, generator)
        clock_ppm, delay = uniform(self.clock_ppm, shape, generator), uniform(self.delay, shape, generator)
        phase_noise = uniform(self.phase_noise, shape, generator)
        rays = self._draw_rays(batch_size, generator)
        columns = [one.tolist() for one in (carrier, phase, clock_ppm, delay)]
        return [Impairments(*row) for row in zip(*columns, rays, phase_noise.tolist(), strict=True)]

    def extremes(self) -> list[Impairments]:
        """Returns impairments between whose clocks, delays and rays all others lie."""
        longest = LONGEST_DELAY * self.delay_spread[1]
        delays = [ray.delay for ray in self.rays] or ([0.0, longest] if self.profiles else [])
        rays = tuple((delay, 1.0 + 0.0j) for delay in delays)
        return [Impairments(clock_ppm=ppm, delay=delay, rays=rays) for ppm in self.clock_ppm for delay in self.delay]

    def num_rays(self) -> int:
        """Returns the largest number of rays of a window; 0 where the channel is one path without delay."""
        return max([len(self.rays), *(len(delay_profile(name).delays) for name in self.profiles)])

    def _draw_rays(self, batch_size: int, generator: torch.Generator) -> list[tuple[tuple[float, complex], ...]]:
        if self.rays:
            scale = sum(10 ** (ray.power_db / 10) for ray in self.rays) ** -0.5
            phases = uniform((0.0, 2 * math.pi), (batch_size, len(self.rays)), generator).tolist()
            return [
                tuple((ray.delay, scale * ray.gain(phase)) for ray, phase in zip(self.rays, row, strict=True))
                for row in phases
            ]
        if not self.profiles:
            return [()] * batch_size
        spread = uniform(self.delay_spread, (batch_size,), generator)
        choice = torch.randint(0, len(self.profiles), (batch_size,), generator=generator).tolist()
        drawn = []
        for which, samples in zip(choice, spread.tolist(), strict=True):
            delays, powers = delay_profile(self.profiles[which])
            gains = powers.sqrt() * torch.randn(len(powers), dtype=torch.complex128, generator=generator)
            drawn.append(tuple(zip((delays * samples).tolist(), gains.tolist(), strict=True)))
        return drawn


def table_columns(num_rays: int) -> tuple[str, ...]:
    """Returns the names of the columns of `as_table`.

    >>> table_columns(1)[4:]
    ('phase_noise', 'ray_0_delay', 'ray_0_gain_real', 'ray_0_gain_imag')
    """
    rays = [f"ray_{ray}_{name}" for ray in range(num_rays) for name in ("delay", "gain_real", "gain_imag")]
    return (*_COLUMNS, *rays)


def as_table(drawn: Sequence[Impairments], num_rays: int) -> NDArray[np.float64]:
    """Returns impairments float64 [B, 5 + 3 R], see `table_columns`; zeros stand where a window has fewer rays.

    Args:
        drawn: impairments of B windows.
        num_rays: R, the largest number of rays.
    """
    table = np.zeros((len(drawn), len(_COLUMNS) + 3 * num_rays))
    for row, one in zip(table, drawn, strict=True):
        rays = [number for delay, gain in one.rays for number in (delay, gain.real, gain.imag)]
        numbers = [one.carrier, one.phase_rad, one.clock_ppm, one.delay, one.phase_noise, *rays]
        row[: len(numbers)] = numbers
    return table


def _range(name: str, value: float | Range, lowest: float, highest: float) -> Range:
    """Returns the checked pair (low, high) of a range, or of a number."""
    pair = (float(value), float(value)) if isinstance(value, int | float) else value
    return check_range(f"channel.{name}", pair, lowest, highest)


def _profiles(profile: str | Sequence[str] | None) -> tuple[str, ...]:
    """Returns the letters of profiles."""
    names = [] if profile is None else [profile] if isinstance(profile, str) else list(profile)
    if wrong := [name for name in names if name not in _PROFILES]:
        raise InputError(f"channel.profile is {wrong[0]!r}; choose out of {', '.join(_PROFILES)}")
    return tuple(_PROFILES[name] for name in names)
