"""OFDM symbols of a 5G NR uplink whose bodies lie in a window: their carriers, their pilots, and a first channel."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.nr.nr_channel import (
    Channel,
    Observed,
    carrier_numbers,
    clear_carriers,
    fit_taps,
    gap_likelihood,
    guessed,
    joined_sides,
    smooth_sides,
)
from rfsep.separators.nr.nr_timing import Symbol
from rfsep.separators.nr.nr_waves import sent_waveform
from rfsep.signals.nr import FFT_SIZE, NUM_SUBCARRIERS
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem

_EARLY = 14  # samples inside the prefix at which a body is cut
_COMB = 0.2  # power beside pilots over that on them, below which a symbol is taken for one of pilots
_LEAST_SEEN = 64  # samples of a symbol that is cut off, in which its pilots are looked for
_LIKE = 0.5  # share of its power that pilots must explain
_DOUBT = 60.0  # nats that a channel found roughly may be off
_FIRST_UPDATES, _LATER_UPDATES = 12, 4


class Body(NamedTuple):
    """A symbol whose body lies in a window: its place among the symbols, and its pilots complex128 [612] or None."""

    place: int
    pilots: Tensor | None


def spectrum_of_slices(modem: Modem) -> Tensor:
    """Mean power float64 [612] that symbols of unit power put on the carriers of a body, leakage included."""
    lags = modem_autocorrelation(modem, FFT_SIZE)
    lags = lags * (1 - torch.arange(FFT_SIZE) / FFT_SIZE)
    density = torch.fft.fft(lags).real * 2 - lags[0].real
    power: Tensor = density[carrier_numbers() % FFT_SIZE].clamp_min(0).double() * NUM_SUBCARRIERS / FFT_SIZE
    return power


def cut(window: Tensor, symbol: Symbol) -> Tensor:
    """Carriers complex128 [612] of a body inside a window complex128 [T], response times what was sent."""
    first = symbol.body - _EARLY
    number = carrier_numbers()
    phase = 2 * torch.pi / FFT_SIZE * number.double() * _EARLY
    spectrum = torch.fft.fft(window[first : first + FFT_SIZE])[number % FFT_SIZE]
    carriers: Tensor = spectrum * torch.polar(torch.full_like(phase, NUM_SUBCARRIERS**0.5 / FFT_SIZE), phase)
    return carriers


def sliced(values: Tensor) -> Tensor:
    """QPSK points nearest to values complex128 [...]."""
    return torch.complex(values.real.sign(), values.imag.sign()) * 2**-0.5


def holds_body(symbol: Symbol, num_samples: int) -> bool:
    """The body of a symbol lies in a window."""
    return symbol.body >= _EARLY and symbol.body - _EARLY + FFT_SIZE <= num_samples


def is_comb(carriers: Tensor) -> bool:
    """Every second of the carriers complex128 [612] is empty, as in a symbol of pilots."""
    energy = squared(carriers * clear_carriers())
    return float(energy[1::2].sum()) < _COMB * float(energy[::2].sum())


def find_bodies(window: Tensor, symbols: list[Symbol], pilots: Tensor) -> list[Body]:
    """Symbols whose bodies lie in a window complex128 [T], and which of the pilots complex128 [n, 612] they are.

    Pilots leave every second carrier empty. Which they are is told by products of neighbours, which the channel hardly
    turns. Where no pilots are known (n = 0), their symbols are left out while there are others.
    """
    found, strange = list[Body](), list[Body]()
    for place, symbol in enumerate(symbols):
        if not holds_body(symbol, len(window)):
            continue
        carriers = cut(window, symbol) * clear_carriers()
        if not is_comb(carriers):
            found.append(Body(place, None))
        elif len(pilots):
            even = (carriers * pilots.conj())[:, ::2]
            found.append(Body(place, pilots[(even[:, 1:] * even[:, :-1].conj()).sum(1).abs().argmax()]))
        else:
            strange.append(Body(place, None))
    return found or strange


def said_of_channel(carriers: Tensor, sent: Tensor, spread: Tensor, precision: Tensor) -> Observed:
    """What a body says of the channel.

    Args:
        carriers: complex128 [612].
        sent: posterior means of what was sent on them, complex128 [612].
        spread: posterior variances of it, float64 [612].
        precision: of what else is on them, float64 [612].
    """
    return Observed(precision * (squared(sent) + spread), precision * sent.conj() * carriers)


def summed(said: list[Observed]) -> Observed:
    """What several bodies say together."""
    return Observed(*(torch.stack(part).sum(0) for part in zip(*said, strict=True)))


def first_channel(
    window: Tensor, clean: Tensor, symbols: list[Symbol], bodies: list[Body], variance: Tensor, soi: Tensor
) -> Channel:
    """Channel from the carriers beside the SOI.

    Args:
        window: complex128 [T].
        clean: the window in which the SOI has been weakened.
        symbols: of the window.
        bodies: of the symbols.
        variance: of what disturbs carriers of ``clean``, float64 [612].
        soi: mean power of the SOI on carriers of ``window``, float64 [612].
    """
    clear = clear_carriers()
    precision = clear / variance
    carriers = [cut(clean, symbols[body.place]) for body in bodies]
    known = [(part, body.pilots) for part, body in zip(carriers, bodies, strict=True) if body.pilots is not None]
    if known:
        heard, pilots = known[0]
        guess = guessed((heard * pilots.conj() / 2 * clear)[None])[0].channel
        said = said_of_channel(heard, pilots, torch.zeros_like(variance), precision)
        channel = fit_taps(said, guess.variances, _FIRST_UPDATES)
    else:
        whole = [cut(window, symbols[body.place]) for body in bodies]
        channel = _likeliest(smooth_sides(carriers[0]), precision, whole, soi)
    response = channel.response().conj()
    every = [
        said_of_channel(
            part,
            sliced(part * response) if body.pilots is None else body.pilots,
            torch.zeros_like(variance),
            precision,
        )
        for part, body in zip(carriers, bodies, strict=True)
    ]
    return fit_taps(summed(every), channel.variances, _LATER_UPDATES)


def _likeliest(sides: Tensor, precision: Tensor, bodies: list[Tensor], soi: Tensor) -> Channel:
    """Channel of two sides complex128 [612] up to a quarter turn, which carriers in the gap help to tell."""

    def score(channel: Channel) -> float:
        return channel.evidence + sum(gap_likelihood(channel, body, soi) for body in bodies)

    guesses = joined_sides(sides)
    scores = [score(guess.channel) for guess in guesses]
    fits = [
        fit_taps(Observed(precision, precision * guess.response), guess.channel.variances, _FIRST_UPDATES)
        for guess, reached in zip(guesses, scores, strict=True)
        if reached > max(scores) - _DOUBT
    ]
    return max(fits, key=score)


def cut_off_pilots(
    window: Tensor, symbols: list[Symbol], bodies: list[Body], channel: Channel, pilots: Tensor
) -> dict[int, Tensor]:
    """Pilots complex128 [612] of symbols that are cut off by a window's ends, by place; as the channel has them turned.

    A channel found from data is known up to a quarter turn.
    """
    found = dict[int, Tensor]()
    if not len(pilots) or any(body.pilots is not None for body in bodies):
        return found  # the next ones are nine symbols away
    whole = {body.place for body in bodies}
    for place, symbol in enumerate(symbols):
        low, high = max(0, symbol.body - symbol.prefix), min(len(window), symbol.body + FFT_SIZE)
        if place in whole or high - low < _LEAST_SEEN:
            continue
        sent = sent_waveform(symbol, pilots, channel.taps, len(window))[:, low:high]
        both = torch.fft.fft(torch.cat((window[None, low:high], sent)), 2 * FFT_SIZE)[:, 2 * carrier_numbers()]
        both = both[:, clear_carriers()]
        product, energy = both[1:].conj() @ both[0], squared(both).sum(1)
        likeness = squared(product) / (energy[0] * energy[1:]).clamp_min(1e-30)
        best = int(likeness.argmax())
        if float(likeness[best]) > _LIKE:
            turn = torch.round(torch.angle(product[best]) / (torch.pi / 2)) * (torch.pi / 2)
            found[place] = pilots[best] * torch.polar(torch.ones_like(turn), turn)
    return found
