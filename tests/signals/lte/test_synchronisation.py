"""Synchronisation signals against those of srsRAN's transmitter, and against the standard's own description."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.signals.lte.synchronisation import primary_values, secondary_values, synchronisation_carriers

QUIET = Path(os.environ.get("RFSEP_RECORDINGS", "nowhere")) / "independent" / "lte-srsran-quiet.sigmf-data"
SUBFRAME = 19200


@pytest.mark.skipif(not QUIET.is_file(), reason="RFSEP_RECORDINGS names no recordings")
def test_signals_are_those_of_srsran() -> None:
    """Cell 1, no channel: symbols 6 and 5 of subframes 0 and 5 in turn."""
    numbers = np.fromfile(QUIET, dtype="<i2", count=4 * SUBFRAME).astype(float)
    samples = numbers[::2] + 1j * numbers[1::2]
    for half in (0, 1):
        spectra = []
        for symbol in (6, 5):
            begin = half * SUBFRAME + 100 + 1370 * symbol
            heard = np.fft.fft(samples[begin : begin + 1280])[synchronisation_carriers().numpy() % 1280]
            spectra.append(torch.from_numpy(heard / np.linalg.norm(heard)).to(torch.complex64))
        primary = (primary_values().conj() @ spectra[0]).abs() / 62**0.5
        secondary = (secondary_values().to(torch.complex64) @ spectra[1]).abs() / 62**0.5
        assert int(primary.argmax()) == 1
        assert float(primary.max()) > 0.999
        assert int(secondary.flatten().argmax()) == 2 * 1 + half
        assert float(secondary.max()) > 0.999


def test_cells_and_half_frames_differ() -> None:
    values = secondary_values().flatten(0, 1)
    assert torch.equal(values.abs(), torch.ones(1008, 62))
    likeness = (values @ values.T / 62).fill_diagonal_(0)
    assert float(likeness.abs().max()) < 0.6


def test_primary_signals_have_flat_spectra_and_are_even() -> None:
    """Every root is odd, so that the values are the same on carriers k and -k (Zadoff-Chu of length 63)."""
    values = primary_values()
    assert torch.allclose(values, values.flip(1), atol=1e-5)
    assert torch.allclose(values.abs(), torch.ones(3, 62))
    assert synchronisation_carriers()[[0, 30, 31, 61]].tolist() == [-31, -1, 1, 31]
