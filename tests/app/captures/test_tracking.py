"""What a receiver keeps from chunk to chunk comes back as it was, or is refused; some SOIs cannot be tracked."""

import json
from typing import Any, cast

import numpy as np
import pytest

from rfsep.app.api import load_soi
from rfsep.app.captures.tracking import Tracked, begin, can_be_tracked, is_whole, kept
from rfsep.receiver.state import State
from rfsep.types import InputError

TAPS = np.array([0.1, 0.2j, -0.1, 1.0, 0.3, 0.0, 1e-9], np.complex128)
STATE = State(1.1e-4, 32_000, 32_007.3, 1 + 2e-5, -0.7, 1e-9, TAPS, True, 3e-7)
UNUSED = cast(Tracked, None)  # A kept state needs no receiver.


def test_a_kept_state_is_the_same_to_the_last_bit() -> None:
    back = begin(UNUSED, 0, json.loads(json.dumps(kept(STATE))))
    assert back._replace(taps=TAPS) == STATE._replace(taps=TAPS)
    assert np.array_equal(back.taps, TAPS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("carrier", "fast"), ("taps", [1.0, 2.0]), ("pace", float("nan")), ("place", None), ("taps", "")],
)
def test_a_damaged_state_is_refused_in_a_line(name: str, value: Any) -> None:
    with pytest.raises(InputError, match="is damaged"):
        begin(UNUSED, 0, {**kept(STATE), name: value})
    with pytest.raises(InputError, match="is damaged"):
        begin(UNUSED, 0, {"place": 3})


@pytest.mark.parametrize(
    ("soi", "tracked"),
    [
        ("qpsk", True),
        ("bpsk", True),
        ("qam16", True),
        ("psk8", True),
        ("msk", True),
        ("oqpsk", False),
        ("fsk2", False),
        ("ofdm_80211a", False),
    ],
)
def test_only_symbols_that_tell_their_phase_are_tracked(soi: str, tracked: bool) -> None:
    assert can_be_tracked(load_soi(soi)) is tracked


def test_narrow_sois_are_shifted_by_whole_samples() -> None:
    assert is_whole(load_soi("qpsk"))
    assert not is_whole(load_soi("qpsk2"))
    assert not is_whole(load_soi("ofdm_qpsk"))
