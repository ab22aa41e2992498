"""Detects the physical broadcast channel of an LTE cell beneath a SOI, through a channel that pilots told."""

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.band import Band
from rfsep.separators.lte.cell_symbols import Pilots, places
from rfsep.separators.lte.known_symbols import KnownSymbol, channel, make_body, waveforms
from rfsep.separators.lte.resource_blocks import PREFIX, carrier_numbers, symbol_waves, whitened
from rfsep.signals.lte.broadcast import NUM_SYMBOLS, SLOT, broadcast_carriers, received_points

# Physics: a second port has as much power as the first one; without one, its taps hold noise.
_SECOND_PORT = 0.1

# Physics: carrier offset turns all carriers of a symbol against the pilots. Phases that are tried.
_PHASES = 24

# The least samples of a symbol in the window, its rounds of expectation propagation and their damping.
_LEAST_SEEN, _ROUNDS, _DAMPING = 400, 8, 0.5

# Noise as a share of the channel's power; the share of the power found that has to be explained.
_FLOOR, _LEAST_EXPLAINED = 0.01, 0.5

_LEAST_VARIANCE = 1e-9


def broadcast(window: Tensor, band: Band, cell: Pilots, taps: Tensor) -> Tensor:
    """Returns the broadcast channel of a cell in a window, complex64 [T], zero where it is not there.

    Args:
        window: what known symbols have left of it, complex64 [T].
        band: of the SOI, whose symbols count as Gaussian noise here.
        cell: pilots in or near the window, which tell where the channel would be.
        taps: of their ports, complex64 [2, taps].
    """
    ports = 2 if float(squared(taps[1]).sum()) > _SECOND_PORT * float(squared(taps[0]).sum()) else 1
    found = torch.zeros_like(window)
    for place in places(cell, len(window), _LEAST_SEEN):
        if place.slot == SLOT and place.symbol < NUM_SYMBOLS:
            carriers = broadcast_carriers(cell.cell, place.symbol)
            points = received_points(channel(taps[:ports], carriers + cell.shift))
            values = _detected(window, band, cell, place.start, carriers, points)
            body = make_body(carriers + cell.shift, values)[None]
            found = found + waveforms(KnownSymbol(body, place.start, cell.fraction), len(window))[0, 0]
    return found


def _detected(window: Tensor, band: Band, cell: Pilots, start: int, carriers: Tensor, points: Tensor) -> Tensor:
    """Returns posterior means complex64 [n] of carriers in the symbol whose body begins at ``start``."""
    waves = symbol_waves(band, start - PREFIX, PREFIX, cell.shift + cell.fraction)
    sent = torch.isin(carrier_numbers().long(), carriers)
    power = float(squared(points).mean())
    rest = waves[:, ~sent & (carrier_numbers() != 0)]
    covariance = band.response @ band.response.mH + power * (_FLOOR * band.noise + rest @ rest.mH)
    white = whitened(band, band.decimator @ window.to(torch.complex128), covariance, waves[:, sent])
    gram, moment = white.waves.mH @ white.waves, white.waves.mH @ white.samples
    values = _propagated(gram, moment, points.to(torch.complex128))
    expected = float((values.conj() @ gram @ values).real)
    explained = 2 * float((values.conj() @ moment).real) - expected
    return (values if explained > _LEAST_EXPLAINED * expected else torch.zeros_like(values)).to(torch.complex64)


def _turned(points: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """Turns points complex128 [G, P, g] by the phase with the largest likelihood."""
    phase = torch.arange(_PHASES, dtype=torch.float64) * 2 * torch.pi / _PHASES
    turned = torch.polar(torch.ones_like(phase), phase)[:, None, None, None] * points
    distance = (squared(turned - mean[:, None]) * precision[:, None]).sum(-1)  # [phases, G, P]
    return turned[int((-distance).logsumexp(-1).sum(-1).argmax())]


def _propagated(gram: Tensor, moment: Tensor, points: Tensor) -> Tensor:
    """Returns posterior means complex128 [n] of groups of carriers, by expectation propagation.

    Args:
        gram: information on the carriers, complex128 [n, n].
        moment: likewise, complex128 [n].
        points: that each group may carry, complex128 [G, P, g], up to a common phase; n = G g.
    """
    groups = (points.shape[0], points.shape[2])
    precision = 1 / squared(points).mean(1).flatten()
    shift, mean = torch.zeros_like(moment), torch.zeros_like(moment)
    for step in range(_ROUNDS):
        covariance = torch.linalg.inv(gram + torch.diag_embed(precision).to(gram.dtype))
        variance = covariance.diagonal().real
        free = (1 / variance - precision).clamp_min(_LEAST_VARIANCE)
        cavity = ((covariance @ (moment + shift)) / variance - shift) / free
        seen, trust = cavity.view(groups), free.view(groups)
        if step == 0:
            points = _turned(points, seen, trust)
        chance = (-(squared(points - seen[:, None]) * trust[:, None]).sum(-1)).softmax(1)[..., None]
        mean = (chance * points).sum(1)
        spread = ((chance * squared(points)).sum(1) - squared(mean)).clamp_min(_LEAST_VARIANCE).flatten()
        mean = mean.flatten()
        told = (1 / spread - free).clamp_min(_LEAST_VARIANCE)
        precision = (1 - _DAMPING) * precision + _DAMPING * told
        shift = (1 - _DAMPING) * shift + _DAMPING * (mean * (told + free) - cavity * free)
    return mean
