"""Finds the OFDM symbols of a 5G NR uplink inside a window: their carriers, their pilots, and a first channel."""

from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.iq import squared
from rfsep.separators.nr.nr_channel import (
    GAP,
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
from rfsep.separators.nr.nr_timing import Acquired, Symbol, turning
from rfsep.separators.nr.nr_waves import sent_waveform
from rfsep.signals.nr.numerology import FFT_SIZE, NUM_SUBCARRIERS
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem

# Tuned; split not recorded. A body is cut this many samples inside the prefix.
_EARLY = 14

# Tuned; split not recorded. Pilots leave every second carrier empty (TS 38.211 clause 6.4.1.1). A symbol holds pilots
# if the power on the other carriers is below this share of the power on theirs.
_COMB = 0.2

# Tuned; split not recorded. A symbol that the window cuts off must have this many samples inside it, and pilots must
# explain this share of their power.
_LEAST_SEEN = 64
_LIKE = 0.5

# Tuned; split not recorded. The evidence of a rough channel may be wrong by this many nats.
_DOUBT = 60.0

# Tuned; split not recorded. Updates of the taps' variances, in the first fit and in later ones.
_FIRST_UPDATES, _LATER_UPDATES = 12, 4


# Physics: an offset of two carriers is 60 kHz, 17 ppm of a carrier of 3.5 GHz. Tuned on a py3gpp downlink: to move the
# band by one carrier must gain this share of a carrier's mean power.
_MOST_CARRIERS = 2
_EDGE = 0.3


# Tuned on a py3gpp downlink in 20 dB of noise and on synthetic uplinks. Products of neighbours add up to this share of
# the energy if the pilots are right, and to less than 0.3 if not.
_KNOWN = 0.5


class Body(NamedTuple):
    """A symbol whose body lies in a window: its place among the symbols, and pilots complex128 [612] or None."""

    place: int
    pilots: Tensor | None


def spectrum_of_slices(modem: Modem) -> Tensor:
    """Returns the mean power float64 [612] of unit-power SOI symbols on the carriers of a body, with leakage."""
    lags = modem_autocorrelation(modem, FFT_SIZE)
    lags = lags * (1 - torch.arange(FFT_SIZE) / FFT_SIZE)
    density = torch.fft.fft(lags).real * 2 - lags[0].real
    power: Tensor = density[carrier_numbers() % FFT_SIZE].clamp_min(0).double() * NUM_SUBCARRIERS / FFT_SIZE
    return power


def cut(window: Tensor, symbol: Symbol) -> Tensor:
    """Returns the received carriers complex128 [612] of a body inside a window complex128 [T]."""
    first = symbol.body - _EARLY
    number = carrier_numbers()
    phase = 2 * torch.pi / FFT_SIZE * number.double() * _EARLY
    spectrum = torch.fft.fft(window[first : first + FFT_SIZE])[number % FFT_SIZE]
    carriers: Tensor = spectrum * torch.polar(torch.full_like(phase, NUM_SUBCARRIERS**0.5 / FFT_SIZE), phase)
    return carriers


def sliced(values: Tensor) -> Tensor:
    """Returns the QPSK points nearest to values complex128 [...]."""
    return torch.complex(values.real.sign(), values.imag.sign()) * 2**-0.5


def holds_body(symbol: Symbol, num_samples: int) -> bool:
    """The body of a symbol lies in a window."""
    return symbol.body >= _EARLY and symbol.body - _EARLY + FFT_SIZE <= num_samples


def is_comb(carriers: Tensor) -> bool:
    """Every second of the carriers complex128 [612] is empty, as in a symbol of pilots."""
    energy = squared(carriers * clear_carriers())
    return float(energy[1::2].sum()) < _COMB * float(energy[::2].sum())


def whole_carriers(window: Tensor, at: Acquired) -> int:
    """Returns by how many carriers the band of an interference lies too high, at most `_MOST_CARRIERS`.

    Args:
        window: complex128 [T].
        at: symbols and the part of the carrier offset that prefixes show.
    """
    turned = window * turning(-at.carrier, len(window))
    first = [symbol.body - _EARLY for symbol in at.symbols if holds_body(symbol, len(window))]
    if not first:
        return 0
    energy = squared(torch.fft.fft(torch.stack([turned[one : one + FFT_SIZE] for one in first]))).mean(0)
    shifts = torch.arange(-_MOST_CARRIERS, _MOST_CARRIERS + 1)
    inside = energy[(carrier_numbers() + shifts[:, None]) % FFT_SIZE].mean(1)
    best = int(inside.argmax())
    gained = float(inside[best] - inside[_MOST_CARRIERS]) * NUM_SUBCARRIERS
    steps = int(shifts[best])
    return steps if gained > _EDGE * abs(steps) * float(inside[best]) else 0


def find_bodies(window: Tensor, symbols: list[Symbol], pilots: Tensor) -> list[Body]:
    """Finds symbols whose bodies lie in a window complex128 [T], and those of ``pilots`` complex128 [n, 612] in them.

    Pilots leave every second carrier empty. Products of neighbours, which the channel hardly turns, show which pilots
    were sent. If none of the known ones were, their symbols are left out while there are others.
    """
    found, strange = list[Body](), list[Body]()
    for place, symbol in enumerate(symbols):
        if not holds_body(symbol, len(window)):
            continue
        carriers = cut(window, symbol) * clear_carriers()
        if not is_comb(carriers):
            found.append(Body(place, None))
            continue
        even = (carriers * pilots.conj())[:, ::2]
        likeness = (even[:, 1:] * even[:, :-1].conj()).sum(1).abs() / squared(even).sum(1).clamp_min(1e-30)
        if len(pilots) and float(likeness.max()) > _KNOWN:
            found.append(Body(place, pilots[likeness.argmax()]))
        else:
            strange.append(Body(place, None))
    return found or strange


def noise_beside(carriers: Tensor, response: Tensor) -> float:
    """Returns the power of white noise that a body's carriers complex128 [612] far from the SOI show, if in QPSK.

    Args:
        carriers: received.
        response: of the channel, complex128 [612].
    """
    far = carrier_numbers().abs() >= 2 * GAP
    left = carriers - sliced(carriers * response.conj()) * response
    return float(squared(left[far]).mean()) * FFT_SIZE / NUM_SUBCARRIERS


def said_of_channel(carriers: Tensor, sent: Tensor, spread: Tensor, precision: Tensor) -> Observed:
    """Collects what a body says about the channel.

    Args:
        carriers: received, complex128 [612].
        sent: posterior means of the sent values, complex128 [612].
        spread: posterior variances of the sent values, float64 [612].
        precision: inverse power of everything else on the carriers, float64 [612].
    """
    return Observed(precision * (squared(sent) + spread), precision * sent.conj() * carriers)


def summed(said: list[Observed]) -> Observed:
    """Adds up what several bodies say."""
    return Observed(*(torch.stack(part).sum(0) for part in zip(*said, strict=True)))


def first_channel(
    window: Tensor, clean: Tensor, symbols: list[Symbol], bodies: list[Body], variance: Tensor, soi: Tensor
) -> Channel:
    """Estimates the channel from the carriers beside the SOI.

    Args:
        window: complex128 [T].
        clean: the window after the SOI has been weakened.
        symbols: of the window.
        bodies: those symbols whose bodies lie in the window.
        variance: of the disturbance on carriers of ``clean``, float64 [612].
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
    """Returns the likeliest channel of two sides complex128 [612], whose quarter turns the gap's carriers decide."""

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
    """Finds pilots complex128 [612], by place, in symbols that the window's ends cut off.

    A channel found from data is known up to a quarter turn; the pilots are turned to match it.
    """
    found = dict[int, Tensor]()
    if not len(pilots) or any(body.pilots is not None for body in bodies):
        return found  # The next pilots are nine symbols away.
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
