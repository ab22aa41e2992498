"""Bits, frames, symbols and soft bits are written as they were sent."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.app.captures import frames
from rfsep.app.captures.frames import Sender, write_bits, write_frames, write_soft
from rfsep.app.captures.labels import own_labels, relabelling
from rfsep.receiver import preamble
from rfsep.receiver.differential import phase_steps
from rfsep.receiver.preamble import preamble_bits
from rfsep.signals.constellations import hard_bits, map_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.types import InputError

CODE = preamble_bits("0x1ACFFC1D_34D815CA")


def framed(count: int, payload: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    rows = [np.concatenate((CODE, generator.integers(0, 2, payload, np.uint8))) for _ in range(count)]
    return np.concatenate((generator.integers(0, 2, 14, np.uint8), *rows))


def decided(symbols: np.ndarray, modem: LinearModem) -> np.ndarray:
    return hard_bits(torch.from_numpy(symbols), modem.constellation).numpy()


@pytest.mark.parametrize("block", [1 << 18, 101])
def test_a_slipping_capture_of_gnu_radio_comes_out_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(frames, "_BLOCK", block)
    monkeypatch.setattr(preamble, "_BLOCK", block)
    modem, bits = LinearModem(), framed(9, 236)
    labels = relabelling("gnuradio", modem)
    numbers = [labels.tolist().index(pair) for pair in bits.reshape(-1, 2).tolist()]
    clean = modem.constellation.numpy()[numbers]
    noise = np.random.default_rng(2).standard_normal((len(clean), 2)) @ [0.1, 0.1j]
    turn = np.where(np.arange(len(clean)) < 7 + 4 * 150 + 100, -1, 1j)
    symbols = (2 * (clean + noise) * turn).astype(np.complex64)
    sender = Sender(labels, CODE)
    turned = write_bits(tmp_path / "bits.npy", decided(symbols, modem), symbols, modem, sender)
    # In a sudden slip no symbol shows the place, so the bits from the end of one preamble to the next may be wrong.
    wrong = np.flatnonzero(np.load(tmp_path / "bits.npy") != bits)
    assert wrong.size == 0 or (wrong.min() >= 14 + 4 * 300 + 64 and wrong.max() < 14 + 5 * 300)
    summary = write_frames(tmp_path, turned)
    assert summary["preambles"] == summary["frames"] == 9
    assert (summary["frame_bits"], summary["preamble_errors"], summary["cycle_slips"]) == (300, 0, 1)
    rows = np.load(tmp_path / "frames.npy")
    right = [row for row in range(9) if row != 4]
    assert np.array_equal(rows[right], bits[14:].reshape(9, 300)[right])
    told = json.loads((tmp_path / "frames.json").read_text())
    assert told["starts"] == [14 + 300 * k for k in range(9)]
    assert [one["turn_deg"] for one in told["pieces"]] == [180.0, 90.0]
    assert [find["errors"] for find in told["finds"]] == [0] * 9
    means = write_soft(tmp_path, symbols, modem, sender, turned)
    assert np.array_equal(np.load(tmp_path / "llr.npy") > 0, np.load(tmp_path / "bits.npy") > 0)
    back = np.load(tmp_path / "symbols.npy")
    assert np.allclose(back[:600], 2 * (clean + noise)[:600], atol=1e-5)
    assert abs(means["esn0_db"] - 17) < 0.3
    assert abs(means["evm"] - 10**-0.85) < 0.01
    assert means["predicted_ber"] < 1e-4


def test_differential_bits_need_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_BLOCK", 64)
    modem, bits = LinearModem("qpsk"), framed(3, 236)
    ring = phase_steps("gray", modem.constellation.numpy())
    steps = np.array([0, 1, 3, 2])[bits.reshape(-1, 2) @ [2, 1]]
    sent = np.exp(1j * (np.pi / 4 + np.pi / 2 * np.concatenate(([0], np.cumsum(steps))))).astype(np.complex64)
    sender = Sender(own_labels(2), CODE, ring)
    received = decided(-1j * sent, modem)
    turned = write_bits(tmp_path / "bits.npy", received, None, modem, sender)
    assert np.array_equal(turned.bits, bits)
    assert write_frames(tmp_path, turned)["frames"] == 3
    assert write_soft(tmp_path, sent, modem, sender, turned) == {}
    assert np.array_equal(np.load(tmp_path / "symbols.npy"), sent)
    assert not (tmp_path / "llr.npy").exists()


def test_without_a_preamble_bits_only_get_their_labels(tmp_path: Path) -> None:
    modem, bits = LinearModem("qam16"), np.random.default_rng(3).integers(0, 2, 400, np.uint8)
    labels = relabelling("octave", modem)
    turned = write_bits(tmp_path / "bits.npy", bits, None, modem, Sender(labels))
    assert np.array_equal(turned.bits, labels[bits.reshape(-1, 4) @ [8, 4, 2, 1]].reshape(-1))
    assert write_frames(tmp_path, turned) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["bits.npy"]
    symbols = map_bits(torch.from_numpy(bits), modem.constellation).numpy()
    write_soft(tmp_path, symbols, modem, Sender(labels), turned)
    assert np.array_equal(np.load(tmp_path / "llr.npy") > 0, turned.bits > 0)


def test_a_preamble_that_is_nowhere_changes_nothing(tmp_path: Path) -> None:
    modem, bits = LinearModem(), np.random.default_rng(4).integers(0, 2, 4000, np.uint8)
    turned = write_bits(tmp_path / "bits.npy", bits, None, modem, Sender(own_labels(2), CODE))
    assert np.array_equal(turned.bits, bits)
    summary = write_frames(tmp_path, turned)
    assert (summary["preambles"], summary["frames"]) == (0, 0)
    assert np.load(tmp_path / "frames.npy").shape == (0, 0)
    with pytest.raises(InputError, match="expected 32"):
        write_bits(tmp_path / "bits.npy", bits, None, modem, Sender(own_labels(2), CODE[:31]))
