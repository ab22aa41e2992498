"""Phase steps carry the bits that other programs put there."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.receiver.differential import differential_bits, phase_steps, step_bits
from rfsep.signals.constellations import constellation, hard_bits
from rfsep.types import InputError

MEASURED = json.loads((Path(__file__).parents[1] / "reference" / "phase_steps.json").read_text())
PSK = {2: "bpsk", 4: "qpsk", 8: "psk8"}


def sent(steps: list[int], turn: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and symbols on the ring that begins at ``turn`` radians."""
    size = len(steps)
    numbers = np.random.default_rng(1).integers(0, size, count)
    angles = 2 * np.pi * np.cumsum(np.array(steps)[numbers]) / size
    width = (size - 1).bit_length()
    return ((numbers[:, None] >> np.arange(width)[::-1]) & 1).reshape(-1), np.exp(1j * (angles + turn))


@pytest.mark.parametrize("program", ["gnuradio", "liquid"])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_bits_of_other_programs_come_out(program: str, size: int) -> None:
    points = constellation(PSK[size])
    ring = phase_steps(program, points.numpy())
    first = float(np.angle(points[0].item()))
    bits, symbols = sent(MEASURED[program][str(size)], first + 2 * np.pi / size, 300)
    received = hard_bits(torch.from_numpy(symbols.astype(np.complex64)), points).numpy()
    width = ring.labels.shape[1]
    assert np.array_equal(differential_bits(received, ring), bits[width:])
    # No constellation is known behind an arbitrary turn, and the steps are the same.
    assert np.array_equal(step_bits((3 * symbols * np.exp(0.2j)).astype(np.complex64), ring), bits[width:])


def test_a_wrong_decision_makes_two_wrong_steps_and_a_slip_one() -> None:
    points = constellation("qpsk")
    ring = phase_steps("gray", points.numpy())
    bits, symbols = sent([0, 1, 3, 2], np.pi / 4, 100)
    symbols[50] *= 1j
    received = hard_bits(torch.from_numpy(symbols.astype(np.complex64)), points).numpy()
    assert set(np.flatnonzero(differential_bits(received, ring) != bits[2:]) // 2) == {49, 50}
    symbols[51:] *= 1j
    received = hard_bits(torch.from_numpy(symbols.astype(np.complex64)), points).numpy()
    assert set(np.flatnonzero(differential_bits(received, ring) != bits[2:]) // 2) == {49}


def test_steps_of_dbpsk_in_white_noise_meet_the_closed_form() -> None:
    generator = np.random.default_rng(2)
    ring = phase_steps("gray", constellation("bpsk").numpy())
    bits, symbols = sent([0, 1], 0.3, 200_000)
    noise = generator.standard_normal((len(symbols), 2)) @ [1, 1j] * np.sqrt(0.5 / 4)  # Eb/N0 of 4
    ber = float((step_bits((symbols + noise).astype(np.complex64), ring) != bits[1:]).mean())
    expected = 0.5 * np.exp(-4)  # Proakis and Salehi, 5th ed., equation 4.5-25
    assert abs(ber - expected) < 5 * np.sqrt(expected / len(bits))


def test_other_constellations_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="no such"):
        phase_steps("gray", constellation("qam16").numpy())
    with pytest.raises(InputError, match="no such"):
        phase_steps("gray", constellation("pam4").numpy())
    with pytest.raises(InputError, match="choose one of"):
        phase_steps("matlab", constellation("qpsk").numpy())
