"""Single carriers as trains of pulses: offset QPSK, turned PSK, direct-sequence spread spectrum, 2-FSK."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rfsep.signals.modems.pulse_train import PulseTrain
from rfsep.signals.pulses import root_raised_cosine
from rfsep.types import InputError


def oqpsk(samples_per_symbol: int = 16, roll_off: float = 0.5, span: int = 8) -> PulseTrain:
    """Returns offset QPSK: the quadrature part is half a symbol later than the in-phase part.

    The bits of a symbol are those of QPSK (first the sign of I, then of Q). I has its centre where QPSK has it, half a
    symbol period after its beginning, and Q at the symbol's end.

    Args:
        samples_per_symbol: an even number.
        roll_off: roll-off of the root-raised-cosine pulse.
        span: pulse length in symbols.

    Raises:
        InputError: ``samples_per_symbol`` is odd.
    """
    if samples_per_symbol % 2:
        raise InputError(
            f"samples_per_symbol is {samples_per_symbol}, expected an even number: Q is half a symbol late"
        )
    pulse = root_raised_cosine(samples_per_symbol, roll_off, span * samples_per_symbol + 1)
    lead = (span - 1) * samples_per_symbol // 2
    return turned_train(pulse, "bpsk", [0.0, 90.0], samples_per_symbol // 2, lead)


def turned_psk(
    constellation_name: str = "qpsk",
    rotations_deg: Sequence[float] = (0.0, 45.0),
    samples_per_symbol: int = 16,
    roll_off: float = 0.5,
    span: int = 8,
) -> PulseTrain:
    """Returns PSK whose points turn from symbol to symbol, by ``rotations_deg`` in turn: pi/4-QPSK by default.

    Symbols have their centres where those of `rfsep.signals.linear_modem.LinearModem` have them; ``rotations_deg``
    is as long as a period, in symbols.
    """
    pulse = root_raised_cosine(samples_per_symbol, roll_off, span * samples_per_symbol + 1)
    lead = span * samples_per_symbol // 2 - samples_per_symbol // 2
    return turned_train(pulse, constellation_name, rotations_deg, samples_per_symbol, lead)


def turned_train(
    pulse: Tensor,
    constellation_name: str,
    rotations_deg: Sequence[float],
    spacing: int,
    lead: int,
    power: float = 1.0,
) -> PulseTrain:
    """Returns a train of one pulse, every ``spacing`` samples, turned by ``rotations_deg`` one after the other.

    Args:
        pulse: float64 [L].
        constellation_name: constellation of every symbol.
        rotations_deg: turns; they repeat with the period.
        spacing: samples between symbols.
        lead: samples by which the first pulse begins before the period.
        power: mean power of the signal.
    """
    count = len(rotations_deg)
    waveforms = torch.zeros((count, len(pulse) + (count - 1) * spacing), dtype=torch.complex128)
    for place, degrees in enumerate(rotations_deg):
        turn = complex(torch.polar(torch.tensor(1.0).double(), torch.tensor(math.radians(degrees)).double()))
        waveforms[place, place * spacing : place * spacing + len(pulse)] = turn * pulse
    return PulseTrain(waveforms, lead, count * spacing, constellation_name, power=power)


def dsss(
    chips: Sequence[float],
    constellation_name: str = "qpsk",
    samples_per_chip: int = 2,
    roll_off: float | None = 0.35,
    span: int = 12,
) -> PulseTrain:
    """Returns direct-sequence spread spectrum: every symbol is sent as a code of chips.

    Args:
        chips: the code, first chip first; IEEE 802.11-2016 clause 15.4.4.4 has the Barker code of 11 chips.
        constellation_name: of the symbols.
        samples_per_chip: samples per chip.
        roll_off: roll-off of a chip's root-raised-cosine pulse; None: rectangular chips.
        span: length of a chip's pulse in chips.

    Raises:
        InputError: the code is empty or zero.
    """
    code = torch.tensor([float(chip) for chip in chips], dtype=torch.float64)
    if not code.any():
        raise InputError(f"chips are {list(chips)}, expected a code such as [1, -1, 1, 1]")
    if roll_off is None:
        pulse, lead = torch.ones(samples_per_chip, dtype=torch.float64), 0
    else:
        pulse = root_raised_cosine(samples_per_chip, roll_off, span * samples_per_chip + 1)
        lead = span * samples_per_chip // 2 - samples_per_chip // 2
    spread = torch.zeros((len(code) - 1) * samples_per_chip + len(pulse), dtype=torch.float64)
    for place, chip in enumerate(code):
        spread[place * samples_per_chip : place * samples_per_chip + len(pulse)] += chip * pulse
    return turned_train(spread, constellation_name, [0.0], len(code) * samples_per_chip, lead)


def fsk2(samples_per_symbol: int = 16) -> PulseTrain:
    """Returns binary frequency-shift keying of modulation index 1, with continuous phase and rectangular pulses.

    A bit turns the phase by half a turn forward (1) or back (0), which ends in the same place. So the waveform is
    linear in the bits beside a known tone: in symbol k it is ``(-1)^k (cos(pi t / T) - 1j a_k sin(pi t / T))``, with
    a_k = -1 for bit 1. The tone is a known symbol of a period. Its half of the power carries no bit, so the error rate
    of coherent detection is Q(sqrt(Eb / N0)), that of orthogonal signals (Proakis and Salehi, Digital Communications,
    5th ed., eq. 4.2-42).
    """
    angle = math.pi * (torch.arange(samples_per_symbol, dtype=torch.float64) + 0.5) / samples_per_symbol
    waveforms = torch.zeros((4, 2 * samples_per_symbol), dtype=torch.complex128)
    for half, sign in enumerate((1, -1)):
        place = slice(half * samples_per_symbol, (half + 1) * samples_per_symbol)
        waveforms[2 * half, place] = sign * angle.cos()
        waveforms[2 * half + 1, place] = -1j * sign * angle.sin()
    known = torch.tensor([1, torch.nan, 1, torch.nan], dtype=torch.complex64)
    return PulseTrain(waveforms, 0, 2 * samples_per_symbol, "bpsk", known)
