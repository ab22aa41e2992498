"""Embedded signals are the same however many samples are made at once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.app.captures import embed
from rfsep.app.config import build_modem, soi_of
from rfsep.signals.channels.impairments import Impairments
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.storage.captures.facts import Hints
from rfsep.storage.captures.opening import open_capture
from rfsep.types import Modem

_RAYS = ((0.0, 1.0 + 0.0j), (700.3, 0.5j))


@pytest.mark.parametrize(
    "modem",
    [LinearModem(), OfdmModem(), build_modem(soi_of("pi4_dqpsk")), build_modem(soi_of("ofdm_80211a"))],
    ids=["qpsk", "ofdm", "pi4_dqpsk", "ofdm_80211a"],
)
@pytest.mark.parametrize("clock_ppm", [0.0, -300.0, 300.0])
def test_blocks_give_what_one_piece_gives(
    modem: Modem, clock_ppm: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "silent.npy", np.zeros(1000, np.complex64))
    capture = open_capture(tmp_path / "silent.npy", Hints())
    impairments = Impairments(1e-3, 0.4, clock_ppm, 2100.4, _RAYS, 3e-3)
    made = []
    for block in (1 << 14, 7):
        monkeypatch.setattr(embed, "_BLOCK", block)
        pieces = list(embed.embedded(capture, modem, 1.0, 20_011, impairments, 3))
        made.append([np.concatenate(column) for column in zip(*pieces, strict=True)])
    (whole, bits), (cut, cut_bits) = made
    assert len(pieces) > 30
    assert np.array_equal(bits, cut_bits)
    assert len(bits) == modem.num_bits(embed.sent_samples(impairments, 20_011))
    np.testing.assert_allclose(cut, whole, atol=2e-6)
    assert np.abs(whole[:1900]).max() < 1e-4 < 0.1 < np.abs(whole[2200:2700]).mean()


@pytest.mark.parametrize("name", ["pi4_dqpsk", "gfsk", "gmsk", "fsk2", "dsss", "oqpsk", "ofdm_80211a", "ofdm_pilots"])
def test_truth_is_what_the_embedded_signal_carries(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "silent.npy", np.zeros(1000, np.complex64))
    monkeypatch.setattr(embed, "_BLOCK", 9)
    modem = build_modem(soi_of(name))
    count = 50 * modem.symbol_period
    pieces = list(embed.embedded(open_capture(tmp_path / "silent.npy", Hints()), modem, 1.0, count, Impairments(), 3))
    samples, bits = (np.concatenate(column) for column in zip(*pieces, strict=True))
    assert len(pieces) == 6
    assert torch.equal(modem.decide(torch.from_numpy(samples)[None])[0], torch.from_numpy(bits))
