"""Reads the slots of a long mixture in 5G NR: what each resource element carries, and the channel.

The cell's number determines pilots, synchronisation blocks and tracking signals (TS 38.211 clause 7.4). They show the
slot's number, which resource blocks are in use, and the channel. Data show their constellation, block by block: beside
the SOI by themselves, beneath it softly and by their neighbours.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.inference.elements import EMPTY, KNOWN, decided, log_likelihoods
from rfsep.separators.nr.nr_bodies import cut, holds_body, said_of_channel, summed
from rfsep.separators.nr.nr_channel import GAP, Channel, carrier_numbers, clear_carriers, fit_taps, guessed
from rfsep.separators.nr.nr_known import Synchronised, placed, tracking_grids
from rfsep.separators.nr.nr_timing import LONG_PREFIX, Symbol
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_SUBCARRIERS
from rfsep.signals.nr.pilots import NUM_SLOTS, PILOT_SYMBOLS, pilot_grids

_BLOCK = 12  # carriers of a resource block

# Tuned on synthetic downlinks. Squared correlation of pilots' steps over that of a perfect match: chance reaches 0.02.
_LIKE = 0.05

# Tuned on synthetic downlinks. A resource block has pilots if their power is so many times that of the carriers between
# them, and at least this share of the mean.
_COMB, _LEAST = 4.0, 1e-3

# Tuned on synthetic downlinks. Nats that a change of constellation between two resource blocks costs.
_CHANGE = 8.0

# Tuned on synthetic downlinks. Share of the interference's power that its points may miss, as a guard against
# certainty; updates of the taps' variances.
_BLUR, _UPDATES = 3e-3, 8


# Tuned on synthetic downlinks. A carrier's channel is known if its variance is below this share of its power: less than
# the squared distance from a point of 64-QAM to its neighbour, 4 / 42.
_SOUNDED = 0.01


class Layout(NamedTuple):
    """What is known of a mixture's interference.

    Attributes:
        symbols: of the mixture.
        bodies: received carriers complex128 [612] of the symbols whose bodies lie in the mixture, by place.
        known: values of the elements whose kind is `KNOWN`, complex128 [n, 612].
        kinds: of all elements, int64 [n, 612]; see `rfsep.separators.inference.elements`.
        channel: of the interference.
        sounded: carriers at which known elements show the channel well enough to decide data, bool [612].
        noise: power of white noise, as carriers far from the SOI show it.
    """

    symbols: list[Symbol]
    bodies: dict[int, Tensor]
    known: Tensor
    kinds: Tensor
    channel: Channel
    sounded: Tensor
    noise: float

    def sent(self, place: int) -> Tensor:
        """Returns the elements of a symbol complex128 [612], known or decided; those beneath the SOI are uncertain."""
        kinds = self.kinds[place]
        return torch.where(
            kinds == KNOWN, self.known[place], decided(self.bodies[place], self.channel.response(), kinds)
        )


class _Slots(NamedTuple):
    """The symbols of a mixture by slot.

    Attributes:
        slot: of each symbol, int64 [n], counted from that of the first long prefix.
        number: of each symbol in its slot, int64 [n].
    """

    slot: Tensor
    number: Tensor


def _slots(symbols: list[Symbol]) -> _Slots | None:
    """Numbers symbols; None if no long prefix shows where a slot begins."""
    first = next((place for place, symbol in enumerate(symbols) if symbol.prefix == LONG_PREFIX), None)
    if first is None:
        return None
    since = torch.arange(len(symbols)) - first
    return _Slots(since.div(14, rounding_mode="floor"), since % 14)


def _first_slot(bodies: dict[int, Tensor], slots: _Slots, pilots: Tensor) -> int | None:
    """Returns the number in a frame of the slot with the first long prefix, as pilots show it; None if none do."""
    score, heard = torch.zeros(NUM_SLOTS, dtype=torch.float64), 0
    clear = clear_carriers()[::2]
    pairs = clear[1:] & clear[:-1]
    for place, carriers in bodies.items():
        if int(slots.number[place]) not in PILOT_SYMBOLS:
            continue
        steps = (carriers[2::2] * carriers[:-2:2].conj())[pairs]
        row = pilots[:, PILOT_SYMBOLS.index(int(slots.number[place]))]
        known = (row[:, 2::2] * row[:, :-2:2].conj())[:, pairs]
        energy = squared(steps).sum() * squared(known).sum(1)
        score += (squared(known.conj() @ steps) / energy.clamp_min(1e-30)).roll(-int(slots.slot[place]))
        heard += 1
    if not heard or float(score.max()) < _LIKE * heard:
        return None
    return int(score.argmax())


def _in_use(carriers: Tensor) -> Tensor:
    """Returns which resource blocks of a pilots' symbol complex128 [612] are in use, if nothing disturbs: bool [51]."""
    energy = squared(carriers).view(-1, _BLOCK // 2, 2).mean(1)  # [51, 2]
    return energy[:, 0] > _COMB * energy[:, 1] + _LEAST * energy.mean()


def _first_channel(bodies: dict[int, Tensor], pilots: dict[int, Tensor], variance: Tensor) -> Channel:
    """Estimates the channel by the pilots complex128 [612] of symbols, on resource blocks beside the SOI."""
    said, mean = [], torch.zeros(NUM_SUBCARRIERS, dtype=torch.complex128)
    for place, sent in pilots.items():
        heard = bodies[place] * clear_carriers() * _in_use(bodies[place]).repeat_interleave(_BLOCK)
        used = (heard != 0) & (sent != 0)
        mean += heard * sent.conj() / 2 / len(pilots)
        said.append(said_of_channel(heard, sent, torch.zeros_like(variance), used / variance))
    return fit_taps(summed(said), guessed(mean[None])[0].channel.variances, _UPDATES)


def _pilots_in_use(bodies: dict[int, Tensor], pilots: dict[int, Tensor], channel: Channel, variance: Tensor) -> Tensor:
    """Returns the log ratio of the likelihoods that a slot's resource blocks carry pilots and do not: float64 [51]."""
    response, doubt = channel.response(), channel.doubt()
    ratio = torch.zeros(NUM_SUBCARRIERS, dtype=torch.float64)
    for place, sent in pilots.items():
        spread = variance + doubt * squared(sent)
        ratio += (squared(bodies[place]) - squared(bodies[place] - response * sent)) / spread
    return ratio.view(-1, _BLOCK).sum(1)


def _smoothed(likelihood: Tensor) -> Tensor:
    """Returns the likeliest kinds int64 [51] of resource blocks float64 [51, K] if a change costs `_CHANGE` nats."""
    score, back = likelihood[0], list[Tensor]()
    for row in likelihood[1:]:
        stay = score > score.max() - _CHANGE
        back.append(torch.where(stay, torch.arange(len(score)), score.argmax()))
        score = torch.where(stay, score, score.max() - _CHANGE) + row
    path = [int(score.argmax())]
    for before in reversed(back):
        path.append(int(before[path[-1]]))
    return torch.tensor(path[::-1])


def read_slots(
    mixture: Tensor,
    clean: Tensor,
    symbols: list[Symbol],
    pilot_id: int,
    sync: Synchronised | None,
    variance: Tensor,
    level: float,
) -> Layout | None:
    """Reads the slots of a mixture complex128 [T]; None if no pilots are found.

    Args:
        mixture: carriers beneath the SOI are taken from it, for to weaken the SOI weakens them too.
        clean: the mixture after its SOI has been weakened, complex128 [T].
        symbols: of the mixture.
        pilot_id: the number that determines pilots and tracking signals.
        sync: the synchronisation blocks, if the example frames show any.
        variance: of everything but the interference on carriers, float64 [612].
        level: power of the interference.
    """
    slots = _slots(symbols)
    beneath = carrier_numbers().abs() < GAP
    bodies = {
        place: torch.where(beneath, cut(mixture, symbol), cut(clean, symbol))
        for place, symbol in enumerate(symbols)
        if holds_body(symbol, len(clean))
    }
    pilots = pilot_grids(pilot_id).to(torch.complex128)
    first = None if slots is None else _first_slot(bodies, slots, pilots)
    if slots is None or first is None:
        return None
    slots = slots._replace(slot=slots.slot + first)
    sent = {
        place: pilots[int(slots.slot[place]) % NUM_SLOTS, PILOT_SYMBOLS.index(int(slots.number[place]))]
        for place in range(len(symbols))
        if int(slots.number[place]) in PILOT_SYMBOLS
    }
    heard = {place: values for place, values in sent.items() if place in bodies}
    blurred = variance + _BLUR * level
    channel = _first_channel(bodies, heard, blurred)
    layout = Layout(
        symbols,
        bodies,
        torch.zeros((len(symbols), NUM_SUBCARRIERS), dtype=torch.complex128),
        torch.full((len(symbols), NUM_SUBCARRIERS), EMPTY),
        channel,
        torch.zeros(NUM_SUBCARRIERS, dtype=torch.bool),
        0.0,
    )
    _place_known(layout, slots, pilot_id, sync)
    for slot in torch.unique(slots.slot).tolist():
        _read_slot(layout, slots.slot == slot, sent, blurred)
    channel = _fitted(layout, variance)  # Known elements alone tell it.
    sounded = channel.doubt() < _SOUNDED * squared(channel.response())
    layout = layout._replace(channel=channel, sounded=sounded)
    layout = layout._replace(channel=_fitted(layout, variance))
    return layout._replace(noise=_noise(layout))


def _place_known(layout: Layout, slots: _Slots, pilot_id: int, sync: Synchronised | None) -> None:
    """Writes synchronisation blocks and tracking signals into a layout, as far as they are found."""
    response = layout.channel.response()
    for place, grid in tracking_grids(layout.bodies, slots.slot.tolist(), slots.number.tolist(), pilot_id, response):
        layout.kinds[place, grid != 0] = KNOWN
        layout.known[place] += grid
    if sync is not None:
        for place, values, kinds in placed(layout.bodies, slots.number.tolist(), sync, response):
            taken = kinds != EMPTY
            layout.known[place] = torch.where(taken, values, layout.known[place])
            layout.kinds[place] = torch.where(taken, kinds, layout.kinds[place])


def _read_slot(layout: Layout, inside: Tensor, sent: dict[int, Tensor], variance: Tensor) -> None:
    """Writes pilots and constellations of a slot's symbols bool [n] into a layout."""
    places = inside.nonzero()[:, 0].tolist()
    heard = {place: sent[place] for place in places if place in sent and place in layout.bodies}
    response = layout.channel.response()
    likelihood = torch.zeros((NUM_SUBCARRIERS, 4), dtype=torch.float64)
    for place in places:
        if place in layout.bodies and place not in sent:
            free = layout.kinds[place] == EMPTY
            spread = variance + layout.channel.doubt()
            likelihood += free[:, None] * log_likelihoods(layout.bodies[place], response, spread)
    blocks = likelihood.view(-1, _BLOCK, 4).sum(1)
    if not any(place in layout.bodies for place in places):
        blocks[:, 1] = _CHANGE  # Nothing is heard of a slot that the mixture cuts off so early: QPSK is most frequent.
    if heard:
        used = _pilots_in_use(layout.bodies, heard, layout.channel, variance)
        blocks[:, 1:] += used[:, None]
    kinds = (_smoothed(blocks) - 1).repeat_interleave(_BLOCK)  # The first column stands for empty elements.
    for place in places:
        free = layout.kinds[place] == EMPTY
        if place in sent:
            layout.kinds[place] = torch.where(free, KNOWN, layout.kinds[place])
            layout.known[place] = torch.where(free & (kinds >= 0), sent[place], layout.known[place])
        else:
            layout.kinds[place] = torch.where(free, torch.where(kinds < 0, KNOWN, kinds), layout.kinds[place])


def _fitted(layout: Layout, variance: Tensor) -> Channel:
    """Fits the channel to known carriers, and to decided ones beside the SOI where it is sounded."""
    beside = carrier_numbers().abs() >= GAP
    said = []
    for place, carriers in layout.bodies.items():
        heard = ((beside & layout.sounded) | (layout.kinds[place] == KNOWN)) / variance
        said.append(said_of_channel(carriers, layout.sent(place), torch.zeros_like(variance), heard))
    return fit_taps(summed(said), layout.channel.variances, _UPDATES)


def _noise(layout: Layout) -> float:
    """Returns the power of white noise that carriers far from the SOI show."""
    far, response = (carrier_numbers().abs() >= 2 * GAP) & layout.sounded, layout.channel.response()
    left = [squared(heard - response * layout.sent(place))[far].mean() for place, heard in layout.bodies.items()]
    return float(torch.stack(left).mean()) * FFT_SIZE / NUM_SUBCARRIERS
