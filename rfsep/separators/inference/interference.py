"""Models the interference by its modem, or by example frames if no modem is given."""

import warnings
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from rfsep.identification.channel import received_modem
from rfsep.identification.findings import Identified
from rfsep.identification.identify import identified_modems, identify
from rfsep.identification.loading import loading_patterns, pilot_carriers
from rfsep.separators.inference.gaussian import Bases, GaussianModel
from rfsep.separators.inference.grid import Filter, SoiGrid
from rfsep.separators.inference.synchronise import Synchroniser
from rfsep.separators.inference.timing import TimingNetwork
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import (
    PeriodicCovariance,
    learn_periodic_covariance,
    modem_periodic_covariance,
)
from rfsep.types import InputError, Modem

One = TypeVar("One", bound=Modem)

_SURE = 0.5  # least confidence in a period
_STEADY = 0.25  # A symbol lasts a whole number of samples if the drift over a frame is below this many samples.
_LONGEST_PERIOD = 512  # Interference with a longer period, in samples, counts as stationary.
_LONGEST_LAG = 512
_PILOTS = torch.tensor([1.0 + 0j, -1.0 + 0j])  # points of a pilot carrier
_MOST_PATTERNS = 4  # patterns of empty carriers that detection tells apart
_DENSE = 640  # samples per window if the covariance has no blocks


class Setup(NamedTuple):
    """Everything that depends on a window's length alone."""

    grid: SoiGrid
    model: GaussianModel
    synchroniser: Synchroniser


def _drift(samples_per_symbol: float | None, num_samples: int) -> float:
    """Returns by how many samples a frame's last symbol misses the grid of whole samples per symbol."""
    if samples_per_symbol is None:
        return 0.0
    return abs(samples_per_symbol - round(samples_per_symbol)) * num_samples / samples_per_symbol


class Interference(NamedTuple):
    """An interference as its examples show it.

    Attributes:
        covariance: as sent, with its carrier but without channel and fraction of a sample, where ``received`` has them.
        received: its modem, if it is OFDM with known symbols.
    """

    covariance: PeriodicCovariance
    received: OfdmModem | None


class _Examined(NamedTuple):
    """What example frames show.

    Attributes:
        identified: what `rfsep.identification.identify` found.
        modems: identified OFDM modems, the most frequent first.
        received: the first of them with its carrier and channel; None without one.
        version: of the tensor that holds the frames, which counts its changes.
    """

    identified: Identified
    modems: list[OfdmModem]
    received: OfdmModem | None
    version: int


# Identification takes seconds, and a receiver makes its separators anew from the same frames.
_EXAMINED = WeakTensorKeyDictionary()


def _examined(examples: Tensor) -> _Examined:
    """Returns what example frames complex64 [F, T] show, found once for each tensor of frames."""
    if examples not in _EXAMINED or _EXAMINED[examples].version != examples._version:
        found = identify(examples)
        modems = [modem for modem in identified_modems(found) if isinstance(modem, OfdmModem)]
        received = received_modem(examples, modems[0], found.carrier_offset.value or 0.0) if modems else None
        _EXAMINED[examples] = _Examined(found, modems, received, examples._version)
    held: _Examined = _EXAMINED[examples]
    return held


def known_interference(examples: Tensor, interference: Modem | None) -> Interference:
    """Returns what is known of an interference by its modem, or by example frames complex64 [F, T].

    `rfsep.identification.identify` finds the period. Without a sure period of at most 512 samples the interference
    counts as stationary. OFDM with a channel has the covariance of its modem.
    """
    if isinstance(interference, OfdmModem):
        return Interference(modem_periodic_covariance(interference.received(interference.carrier)), interference)
    if interference is not None:
        return Interference(modem_periodic_covariance(interference), None)
    found, _, received, _ = _examined(examples)
    if received is not None and not received.flat:
        return Interference(modem_periodic_covariance(received.received(received.carrier)), received)
    period = found.statistical_period
    whole = _drift(found.samples_per_symbol.value, examples.shape[1]) < _STEADY
    sure = period.value is not None and period.confidence >= _SURE and whole and period.value <= _LONGEST_PERIOD
    covariance = learn_periodic_covariance(examples, period.value if sure and period.value else 1, _LONGEST_LAG)
    return Interference(covariance, received if covariance.independent else None)


def interference_modems(examples: Tensor, interference: Modem | None) -> list[Modem]:
    """Returns the interference's modem, as given or as identified from example frames complex64 [F, T].

    Frames that hold several constellations give one modem each, the most frequent first. Modems that are identified
    have neither a carrier nor a channel: see `received_modems`.

    Raises:
        InputError: the frames are not of an OFDM signal with known symbols.
    """
    found = identified_modems(identify(examples)) if interference is None else [interference]
    if not found or not modem_periodic_covariance(found[0]).independent:
        raise InputError("the interference is no OFDM whose symbols are known; give interference=")
    return found


def received_modems(examples: Tensor, interference: Modem | None) -> list[OfdmModem]:
    """As `interference_modems`, each with the carrier and the channel that the frames show, or as given.

    Raises:
        InputError: the frames are not of an OFDM signal with known symbols.
    """
    if interference is None:
        _, found, received, _ = _examined(examples)
        if received is not None:
            channel = [complex(tap) for tap in received.channel.tolist()]
            behind = (received.carrier, channel, received.channel_lead, received.delay)
            return [modem.received(*behind) for modem in found]
    elif isinstance(interference, OfdmModem):
        return [interference]
    raise InputError("the interference is no OFDM whose symbols are known; give interference=")


def block_kinds(examples: Tensor, modems: list[OfdmModem]) -> list[Tensor]:
    """Returns the kinds of symbols that example frames complex64 [F, T] show, as points complex64 [D, P].

    `rfsep.separators.inference.kinds.Kinds` tells what they mean.

    Args:
        examples: the frames.
        modems: as `received_modems` found them there, one for each constellation.
    """
    rows = [modem.constellation.expand(len(modem.carriers), -1) for modem in modems]
    if max(row.shape[1] for row in rows) > len(_PILOTS):
        pilots = pilot_carriers(examples, modems[0])[:, None]
        rows = [torch.where(pilots, _PILOTS.repeat(-(-row.shape[1] // 2))[: row.shape[1]], row) for row in rows]
    patterns = [pattern.amplitude[:, None] for pattern in loading_patterns(examples, modems[0])[:_MOST_PATTERNS]]
    return [*rows, *((row * amplitude).to(row.dtype) for amplitude in patterns for row in rows)]


def interference_modem(examples: Tensor, interference: Modem | None) -> Modem:
    """As `interference_modems`, where there can be one alone: of several the most frequent, with a warning."""
    return _first(interference_modems(examples, interference))


def received_modem_of(examples: Tensor, interference: Modem | None) -> OfdmModem:
    """As `received_modems`, where there can be one alone: of several the most frequent, with a warning."""
    return _first(received_modems(examples, interference))


def _first(found: list[One]) -> One:
    if len(found) > 1:
        sizes = ", ".join(str(len(modem.constellation)) for modem in found)
        warnings.warn(
            f"the example frames hold constellations of {sizes} points; that of {sizes.split(',')[0]} is taken for all",
            stacklevel=3,
        )
    return found[0]


def window_length(covariance: PeriodicCovariance, block: int) -> int:
    """Returns the number of samples per window that is solved at once."""
    return block if covariance.independent else min(block, _DENSE)


def make_setup(
    modem: Modem,
    covariance: PeriodicCovariance,
    length: int,
    *,
    begins: bool,
    ends: bool,
    timing_known: bool,
    noise_power: float | None,
    bases: Bases | None = None,
    timing_network: TimingNetwork | None = None,
    passed: Filter | None = None,
) -> Setup:
    """Builds grid, Gaussian model and synchroniser for windows of ``length`` samples, with their arguments."""
    period = covariance.period if covariance.independent else length
    model = GaussianModel(SoiGrid(modem, length, period, begins=begins, ends=ends, passed=passed), covariance, bases)
    synchroniser = Synchroniser(
        model, soi_timing_known=timing_known, noise_power=noise_power, timing_network=timing_network
    )
    return Setup(model.grid, model, synchroniser)
