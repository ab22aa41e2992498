"""Half of the bits wrong: the options that make them right are found."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.app.captures.labels import MAPS, relabelling
from rfsep.app.captures.truth import search, told
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError

SPELLED = ["ab", "aB", "Ab", "AB", "ba", "bA", "Ba", "BA"]  # the eight Gray label maps of QPSK


def drawn(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, count).astype(np.uint8)


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize("shift", [0, 66, -7])
def test_every_gray_map_and_shift_is_found_beneath_errors(spelled: str, shift: int) -> None:
    modem, bits = LinearModem(), drawn(20_000)
    sent = relabelling(spelled, modem)[bits.reshape(-1, 2) @ [2, 1]].reshape(-1)
    received = bits ^ (np.random.default_rng(1).random(20_000) < 0.1)
    pair = (received, sent[2 * shift :]) if shift >= 0 else (received[-2 * shift :], sent)
    found = search(*pair, 2, 1)
    assert found is not None
    assert (found.shift, found.spelled) == (shift, spelled)
    assert found.errors / found.compared == pytest.approx(0.1, abs=0.01)


def test_what_is_told_is_what_helps() -> None:
    modem, bits = LinearModem(), drawn(20_000)
    swapped = relabelling("swapped", modem)[bits.reshape(-1, 2) @ [2, 1]].reshape(-1)
    found = search(bits, swapped[2 * 66 :], 2, 1)
    assert found is not None
    assert told(found, modem, 0, None).startswith("all bits right with --soi-start 1056 and --labels swapped (0 of")
    turned = modem.modulate(torch.from_numpy(bits)[None]) * -1j  # a receiver whose phase is 90 degrees off
    heard = (modem.demodulate(turned) > 0)[0].numpy().astype(np.uint8)
    found = search(heard, bits, 2, 1)
    assert found is not None
    assert "--phase-deg 270" in told(found, modem, 0, None)


def test_nothing_is_told_of_bits_of_another() -> None:
    assert search(drawn(20_000), drawn(40_000)[20_000:], 2, 1) is None
    assert search(drawn(20), drawn(20), 2, 1) is None


def test_sixteen_points_and_carriers_of_ofdm() -> None:
    modem, bits = LinearModem("qam16"), drawn(20_000)
    sent = relabelling("cDaB", modem)[bits.reshape(-1, 4) @ [8, 4, 2, 1]].reshape(-1)
    found = search(bits, sent[4 * 5 :], 4, 1)
    assert found is not None
    assert (found.shift, found.spelled, found.errors) == (5, "cDaB", 0)
    ofdm = OfdmModem()
    each = ofdm.num_bits(ofdm.symbol_period)
    found = search(bits, bits[3 * each :], 2, each // 2)
    assert found is not None
    assert "--soi-start 240" in told(found, ofdm, 0, None)


def test_maps_are_those_that_were_measured() -> None:
    """tests/reference/make_label_maps.py measures them on the programs themselves."""
    measured = json.loads((Path(__file__).parents[2] / "reference" / "label_maps.json").read_text())
    assert set(measured) == set(MAPS)
    for name, maps in measured.items():
        assert {int(size) for size in maps} == set(MAPS[name])
        for size, parts in maps.items():
            points = np.array([complex(*one) for one in parts])
            assert np.abs(points - np.array(MAPS[name][int(size)])).max() < 1e-3


@pytest.mark.parametrize("name", MAPS)
def test_bits_of_another_transmitter_are_right_with_its_map(name: str) -> None:
    """Its points, sent through our pulse and received: the bits are the ones that it was given."""
    for constellation in ("qpsk", "qam16"):
        modem = LinearModem(constellation)
        width = (len(modem.constellation) - 1).bit_length()
        sent = drawn(400 * width)
        points = np.array(MAPS[name][2**width]) / np.sqrt(np.mean(np.abs(MAPS[name][2**width]) ** 2))
        symbols = points[sent.reshape(-1, width) @ (1 << np.arange(width)[::-1])].astype(np.complex64)
        waveform = modem.synthesise(torch.from_numpy(symbols)[None], 400 * 16)
        numbers = [
            int(np.abs(modem.constellation.numpy() - one).argmin()) for one in modem.analyse(waveform)[0].numpy()
        ]
        assert np.array_equal(relabelling(name, modem)[numbers].reshape(-1), sent)


def test_unknown_maps_are_refused() -> None:
    with pytest.raises(InputError, match="unknown label map 'nobody'; choose one of"):
        relabelling("nobody", LinearModem())
    with pytest.raises(InputError, match="order the letters ab"):
        relabelling("abcd", LinearModem())
    assert MAPS
    with pytest.raises(InputError, match="is known for 4, 16 points, not 64"):
        relabelling("gnuradio", LinearModem("qam64"))
