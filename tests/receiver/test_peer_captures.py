"""Transmissions of GNU Radio and liquid: their frames are found in white noise, and their bits come out."""

from math import erfc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from scipy.signal import fftconvolve

from rfsep.app.captures.labels import relabelling
from rfsep.receiver.preamble import find_preamble, frame_starts, one_turn_pieces, sent_bits, symmetries
from rfsep.receiver.soft import soft_bits
from rfsep.signals.constellations import constellation, hard_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.pulses import root_raised_cosine

REFERENCE = Path(__file__).parents[1] / "reference"
NAMES = ("peer_gnuradio_16", "peer_gnuradio_8", "peer_liquid_16", "peer_liquid_8")
POINTS = constellation("qpsk").numpy()


class Peer(NamedTuple):
    """Symbols complex64 [S] at the true timing and carrier, bits as sent, preamble, and labels of the points."""

    symbols: np.ndarray
    bits: np.ndarray
    preamble: np.ndarray
    labels: np.ndarray


def heard(name: str, esn0_db: float, turn_deg: float) -> Peer:
    """A capture with white noise, behind a receiver that knows all but the phase."""
    file = np.load(REFERENCE / f"{name}.npz")
    wave = (file["iq"].astype(np.float64) @ [1, 1j]) / file["scale"]
    period, places, generator = int(file["samples_per_symbol"]), np.arange(len(wave)), np.random.default_rng(1)
    wave = wave + generator.standard_normal((len(wave), 2)) @ [1, 1j] * np.sqrt(period / 2 * 10 ** (-esn0_db / 10))
    wave = wave * np.exp(-2j * np.pi * float(file["carrier"]) * places)
    pulse = root_raised_cosine(period, float(file["roll_off"]), 16 * period + 1, unit_energy=True).numpy()
    matched = CubicSpline(places, fftconvolve(wave, pulse, "same") / np.sqrt(period))
    step = period * (1 + 1e-6 * float(file["clock_ppm"]))
    symbols = matched(float(file["first_centre"]) + step * np.arange(len(file["bits"]) // 2))
    phase = np.angle(-np.mean(symbols**4)) / 4
    symbols = (symbols * np.exp(1j * (np.deg2rad(turn_deg) - phase))).astype(np.complex64)
    return Peer(symbols, file["bits"], file["preamble"], relabelling(str(file["program"]), LinearModem()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_frames_of_another_program_are_found_and_right(name: str, turn_deg: float) -> None:
    peer = heard(name, 8, turn_deg)
    received = hard_bits(torch.from_numpy(peer.symbols), torch.from_numpy(POINTS)).numpy()
    found = find_preamble(received, peer.preamble, symmetries(POINTS), peer.labels)
    sent = [
        start for start in range(len(peer.bits) - 63) if np.array_equal(peer.bits[start : start + 64], peer.preamble)
    ]
    assert len(sent) >= 8
    assert [find.start for find in found.finds] == sent
    assert found.false_alarm <= 1e-3
    bits = np.concatenate(
        list(sent_bits(received, one_turn_pieces(found, received, None, POINTS), found.turns, peer.labels))
    )
    expected = 0.5 * erfc(10**0.4 / 2**0.5)
    inner = slice(40, -40)  # The pulse is cut at the ends of a capture.
    wrong, count = int((bits != peer.bits)[inner].sum()), len(peer.bits) - 80
    assert abs(wrong - expected * count) < 4 * np.sqrt(expected * count)
    length, starts = frame_starts(found, len(bits))
    assert length == 512
    assert starts == tuple(start for start in sent if start + 512 <= len(bits))


@pytest.mark.parametrize("name", NAMES)
def test_soft_bits_of_another_program_know_their_error_rate(name: str) -> None:
    peer = heard(name, 5, 0)
    received = hard_bits(torch.from_numpy(peer.symbols), torch.from_numpy(POINTS)).numpy()
    found = find_preamble(received, peer.preamble, symmetries(POINTS), peer.labels)
    turned = peer.symbols * np.exp(-1j * np.deg2rad(found.turns[found.finds[0].turn].degrees))
    parts = list(soft_bits(turned.astype(np.complex64), POINTS, peer.labels))
    llr = np.concatenate([part.llr for part in parts])
    wrong, told = (llr > 0) != peer.bits, 1 / (1 + np.exp(np.abs(llr.astype(np.float64))))
    assert abs(np.mean([part.esn0_db.mean() for part in parts]) - 5) < 0.3
    assert abs(wrong.sum() - told.sum()) < 4 * np.sqrt(np.sum(told * (1 - told)))
    assert 0.025 < wrong.mean() < 0.05  # Q(sqrt(10^.5)) = .0377
