"""LTE's pilots against another implementation of the standard's sequence, and where they lie."""

import numpy as np
import pytest
import torch

from rfsep.signals.lte.pilots import NUM_CELLS, gold_bits, pilot_carriers, pilot_shift, pilot_values


def test_gold_sequences_are_sionnas() -> None:
    utils = pytest.importorskip("sionna.phy.nr.utils")
    seeds = np.array([1, 12345, 2**31 - 1])
    for seed, bits in zip(seeds.tolist(), gold_bits(seeds, 440), strict=True):
        assert np.array_equal(bits, np.asarray(utils.generate_prng_seq(440, seed)))


def test_values_follow_from_cell_slot_and_symbol() -> None:
    """TS 36.211 clause 6.10.1.1 written out for one symbol: the middle 200 of 220 pilots."""
    cell, slot = 301, 7
    bits = gold_bits(np.array([2**10 * (7 * (slot + 1) + 4 + 1) * (2 * cell + 1) + 2 * cell + 1]), 440)[0]
    signs = 1 - 2 * torch.from_numpy(bits.astype(np.float32))
    expected = torch.complex(signs[20:420:2], signs[21:420:2]) / 2**0.5
    assert torch.equal(pilot_values()[cell, slot, 1], expected)
    assert pilot_values().shape == (NUM_CELLS, 20, 2, 200)


def test_pilots_lie_beside_the_middle_carrier_and_ports_between_each_other() -> None:
    assert pilot_carriers(0)[[0, 99, 100, -1]].tolist() == [-600, -6, 1, 595]
    assert pilot_carriers(5)[[0, -1]].tolist() == [-595, 600]
    assert [pilot_shift(301, symbol, port) for symbol in (0, 1) for port in (0, 1)] == [1, 4, 4, 1]
