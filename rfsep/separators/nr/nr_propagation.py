"""The model of a window in which 5G NR carriers stand above a narrow-band SOI, given the channel."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.band import Band
from rfsep.separators.inference.elements import QPSK, tilted_kinds
from rfsep.separators.inference.superposed import DTYPE, SOI, Model, Waves
from rfsep.separators.nr.nr_channel import Channel
from rfsep.separators.nr.nr_timing import Symbol
from rfsep.separators.nr.nr_waves import FAR_CARRIERS, FAR_POWERS, carrier_waves, sent_waveform
from rfsep.signals.nr.numerology import NUM_SUBCARRIERS

# Tuned; split not recorded. The power of white noise that is assumed even where there is none.
_NOISE = 1e-2

# Tuned; split not recorded. A carrier counts as no weaker than this share of the mean power.
_FADED = 0.01


class Share(NamedTuple):
    """The known carriers of an OFDM symbol, and those to detect.

    Attributes:
        grid: known carriers, complex128 [612], zero elsewhere; None where there are none.
        carriers: numbers of the carriers to detect, int64 [N].
        kinds: their constellations, int64 [N], see `rfsep.separators.inference.elements`; None: QPSK.
        far: carriers beyond those that are modelled one by one are unknown, too.
    """

    grid: Tensor | None
    carriers: Tensor
    kinds: Tensor | None = None
    far: bool = False


def make_model(
    window: Tensor, band: Band, symbols: list[Symbol], shares: list[Share], channel: Channel, noise_power: float
) -> Model:
    """Builds the model of a window complex128 [T]; the channel's posterior variance enters as noise.

    Args:
        window: samples.
        band: the SOI's.
        symbols: of the interference.
        shares: known and unknown carriers of each.
        channel: of the interference.
        noise_power: of the white noise; a little is assumed where there is none.
    """
    decimator = band.decimator.real.contiguous()
    unknown = {SOI: Waves(slice(0, len(decimator)), band.response)}
    noise, left, kinds = torch.zeros_like(band.noise), window, dict[int, Tensor]()
    doubt, power = channel.doubt(), squared(channel.response())
    doubt = doubt / torch.maximum(power, _FADED * power.mean())
    for place, (symbol, share) in enumerate(zip(symbols, shares, strict=True)):
        if share.far:
            far = carrier_waves(decimator, symbol, channel.taps, FAR_CARRIERS)
            noise[far.rows, far.rows] += (far.values * FAR_POWERS) @ far.values.mH
        if share.grid is not None:
            left = left - sent_waveform(symbol, share.grid, channel.taps, len(window))
        if len(share.carriers):
            near = carrier_waves(decimator, symbol, channel.taps, share.carriers)
            unsure = doubt[share.carriers + NUM_SUBCARRIERS // 2]
            noise[near.rows, near.rows] += (near.values * unsure) @ near.values.mH
            unknown[place] = near
            kinds[place] = torch.full_like(share.carriers, QPSK) if share.kinds is None else share.kinds
    single = {place: Waves(rows, waves.to(DTYPE)) for place, (rows, waves) in unknown.items()}
    white = (max(_NOISE, noise_power) * band.noise).to(DTYPE)
    samples = (band.decimator @ left).to(DTYPE)
    return Model(samples, single, noise.to(DTYPE), white, lambda place, cavity: tilted_kinds(cavity, kinds[place]))
