"""Separates a radio signal of interest from interference in one channel, and compares separators fairly.

Everything below is imported at its first use.

>>> import rfsep
>>> modem = rfsep.load_soi("qpsk")
>>> modem.symbol_period
16
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfsep.app.api import (
        learn,
        load_examples,
        load_interference,
        load_separator,
        load_soi,
        make_test_set,
        score,
    )
    from rfsep.app.captures.separate import Request as CaptureRequest
    from rfsep.app.captures.separate import separate_capture
    from rfsep.identification.identify import identify
    from rfsep.iq import mix
    from rfsep.mixtures.mix import Mixer
    from rfsep.types import InputError, MixtureBatch, Modem, Sampled, Separated, Separator, SignalSource

__version__ = "0.1.0"
__all__ = [
    "CaptureRequest",
    "InputError",
    "Mixer",
    "MixtureBatch",
    "Modem",
    "Sampled",
    "Separated",
    "Separator",
    "SignalSource",
    "identify",
    "learn",
    "load_examples",
    "load_interference",
    "load_separator",
    "load_soi",
    "make_test_set",
    "mix",
    "score",
    "separate_capture",
]
_API = ("learn", "load_examples", "load_interference", "load_separator", "load_soi", "make_test_set", "score")
_PLACES = dict.fromkeys(_API, "rfsep.app.api") | {
    "CaptureRequest": "rfsep.app.captures.separate",
    "separate_capture": "rfsep.app.captures.separate",
    "identify": "rfsep.identification.identify",
    "mix": "rfsep.iq",
    "Mixer": "rfsep.mixtures.mix",
}
_OTHER_NAMES = {"CaptureRequest": "Request"}


def __getattr__(name: str) -> Any:
    """Imports one of ``__all__`` at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'rfsep' has no attribute '{name}'")
    return getattr(import_module(_PLACES.get(name, "rfsep.types")), _OTHER_NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
