"""The nouns of identification: a finding with its confidence, and all findings about a recording."""

from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")


class Finding(NamedTuple, Generic[V]):
    """A value and its confidence.

    Attributes:
        value: None if it is unknown or does not apply.
        confidence: 0 to 1; each field of `Identified` defines its own.
    """

    value: V | None
    confidence: float


class Identified(NamedTuple):
    """The result of identification.

    Attributes:
        kind: ``ofdm``, ``single_carrier`` (PSK, QAM), ``constant_envelope`` (FM, FSK, GFSK, MSK), ``chirp``, ``pulses``
            (on and off), ``noise`` (like Gaussian noise) or ``unknown``; of several kinds the one longest on the air.
            Of answers with confidence p, a share of at least p - .05 is right on the recordings and synthetic signals
            of docs/results/identify.json; of ``unknown`` it is 1 - the highest confidence that another kind reached.
        kinds: all kinds, the longest on the air first, if there are several; the least confidence of them.
        kind_shares: share of each of them in the time on the air; the same confidence.
        fft_size: samples; 1 - the probability that noise correlates as much at any lag, or that the correlation of
            another lag varies as clearly as this one's.
        cyclic_prefix_length: samples, of all symbols but the first of a slot; posterior probability among the layouts
            near the period found.
        first_cyclic_prefix_length: samples, of the first symbol of a slot; equal to the others in uniform OFDM.
        symbols_per_slot: 1 for uniform OFDM.
        statistical_period: samples after which the statistics repeat: a slot, an OFDM symbol, or a single carrier's
            or a constant envelope's symbol rounded to whole samples.
        symbol_period: samples, on average over a slot; of a single carrier and of steps in frequency.
        num_guard_carriers: unused carriers at the lowest and highest frequencies; 1 - the probability that the
            steps in power at the edges are scatter between carriers.
        dc_null: whether the carrier in the middle is empty; the confidence of the guards.
        constellation: bpsk, qpsk, qam16 or qam64; see `rfsep.identification.symbol_statistics.Constellation`. If
            frames, or parts of them, hold several, it is the most frequent one, with at most its share as confidence.
        constellations: all constellations, the most frequent first, if there are several; the share of their symbols.
        constellation_shares: share of each of them; the same confidence.
        samples_per_symbol: of a single carrier, mean; if frames differ, their median with confidence 0.
        samples_per_symbol_range: lowest and highest over frames.
        roll_off: of a root-raised-cosine pulse; 1 - twice its standard deviation over frames.
        deviation: of a constant envelope, cycles per sample: half the distance of the outer tones, or without symbols
            half the range in which the frequency is 98 % of the time; the confidence of the kind.
        chirp_rate: cycles per sample per sample, absolute; the confidence of the kind.
        duty_cycle: share of the time in which the power, averaged over 256 samples, is on the upper side of the best
            split of its levels in dB; 1 if the sides differ by less than 6 dB. Confidence: 1 - the overlap of normal
            distributions fitted to both sides.
        carrier_offset: cycles per sample, median; share of the frames within 0.05 carriers or symbol rates of it, times
            the confidence of the middle carrier.
        carrier_offset_hz: the same in Hz, if the sample rate is known.
    """

    kind: Finding[str]
    kinds: Finding[tuple[str, ...]] = Finding(None, 0.0)
    kind_shares: Finding[tuple[float, ...]] = Finding(None, 0.0)
    fft_size: Finding[int] = Finding(None, 0.0)
    cyclic_prefix_length: Finding[int] = Finding(None, 0.0)
    first_cyclic_prefix_length: Finding[int] = Finding(None, 0.0)
    symbols_per_slot: Finding[int] = Finding(None, 0.0)
    statistical_period: Finding[int] = Finding(None, 0.0)
    symbol_period: Finding[float] = Finding(None, 0.0)
    num_guard_carriers: Finding[tuple[int, int]] = Finding(None, 0.0)
    dc_null: Finding[bool] = Finding(None, 0.0)
    constellation: Finding[str] = Finding(None, 0.0)
    constellations: Finding[tuple[str, ...]] = Finding(None, 0.0)
    constellation_shares: Finding[tuple[float, ...]] = Finding(None, 0.0)
    samples_per_symbol: Finding[float] = Finding(None, 0.0)
    samples_per_symbol_range: Finding[tuple[float, float]] = Finding(None, 0.0)
    roll_off: Finding[float] = Finding(None, 0.0)
    deviation: Finding[float] = Finding(None, 0.0)
    chirp_rate: Finding[float] = Finding(None, 0.0)
    duty_cycle: Finding[float] = Finding(None, 0.0)
    carrier_offset: Finding[float] = Finding(None, 0.0)
    carrier_offset_hz: Finding[float] = Finding(None, 0.0)
