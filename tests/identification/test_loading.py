"""Packets by plain numpy: a preamble on every second carrier, BPSK, then QPSK with pilots, the last symbol in part."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.identification.loading import loading_patterns, pilot_carriers
from rfsep.separators.inference.interference import received_modems
from rfsep.separators.joint_detection import JointDetection
from rfsep.signals.linear_modem import LinearModem

CARRIERS = np.r_[-26:0, 1:27]
PILOTS = [5, 19, 32, 46]  # places among the carriers
PACKET = 14  # symbols
QPSK = LinearModem()


def frame(draw: np.random.Generator, length: int) -> Tensor:
    count, first = length // 80 + 2, int(draw.integers(PACKET))
    grid = np.zeros((count, 64), complex)
    for row in range(count):
        place = (row + first) % PACKET
        values = np.exp(0.25j * np.pi * (1 + 2 * draw.integers(0, 4, 52)))
        values[PILOTS] = draw.choice([-1, 1], 4)
        if place < 3:
            values = draw.choice([-1, 1], 52).astype(complex)
        if place == 0:
            values *= 2**0.5 * (np.arange(52) % 2 == 0)
        if place == PACKET - 1:
            values[20:40] = 0
        grid[row, CARRIERS] = values
    body = np.fft.ifft(grid) * 64 / 52**0.5
    wave = np.concatenate((body[:, 48:], body), 1).ravel() * np.exp(2j * np.pi * draw.random())
    start = int(draw.integers(80))
    return torch.tensor(wave[start : start + length]).to(torch.complex64)


def frames(count: int, length: int, seed: int) -> Tensor:
    draw = np.random.default_rng(seed)
    return torch.stack([frame(draw, length) for _ in range(count)])


def test_patterns_and_pilots_are_found() -> None:
    examples = frames(24, 8192, 1)
    modem = received_modems(examples, None)[0]
    found = loading_patterns(examples, modem)
    used = [set((pattern.amplitude > 0).nonzero()[:, 0].tolist()) for pattern in found]
    assert len(used) == 2
    assert set(range(0, 52, 2)) in used
    assert set(range(52)) - set(range(20, 40)) in used
    preamble = found[used.index(set(range(0, 52, 2)))]
    assert float(preamble.amplitude[0]) == pytest.approx(2**0.5, rel=0.02)
    assert preamble.share == pytest.approx(1 / PACKET, abs=0.02)
    assert pilot_carriers(examples, modem).nonzero()[:, 0].tolist() == PILOTS


def test_packets_are_detected_symbol_by_symbol() -> None:
    """At -18 dB, where every fourth bit behind the matched filter is wrong."""
    soi = QPSK.sample(3, 1280, torch.Generator().manual_seed(2))
    mixture = soi.waveform + 10 ** (18 / 20) * frames(3, 1280, 3)
    found = JointDetection(QPSK, frames(24, 8192, 1)).separate(mixture)
    assert float((found.bits != soi.bits).double().mean()) < 2e-3


def test_recorded_packets() -> None:
    """GNU Radio's packets, whose examples are another part of the same recording."""
    folder = os.environ.get("RFSEP_RECORDINGS")
    if folder is None:
        pytest.skip("needs RFSEP_RECORDINGS")
    path = Path(folder, "independent", "ofdm-gnuradio-packets.sigmf-data")
    pairs = torch.from_numpy(np.fromfile(path, "<i2")).float().view(-1, 2)
    heard = torch.view_as_complex(pairs / (2 * pairs.square().mean()).sqrt())
    soi = QPSK.sample(4, 2560, torch.Generator().manual_seed(4))
    mixture = soi.waveform + 10 ** (18 / 20) * heard[150_000:].unfold(0, 2560, 7001)[:4]
    found = JointDetection(QPSK, heard[:120_000].unfold(0, 8192, 4000)).separate(mixture)
    assert float((found.bits != soi.bits).double().mean()) < 5e-3
