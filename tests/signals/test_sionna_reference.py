"""The modems give Sionna's waveforms, bit for bit and sample for sample (arrays of tests/reference)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import Modem

REFERENCE = Path(__file__).parents[1] / "reference" / "sionna.npz"
MODEMS: dict[str, Modem] = {
    "qpsk": LinearModem("qpsk"),
    "qam16": LinearModem("qam16"),
    "qpsk2": LinearModem("qpsk", samples_per_symbol=4),
    "bpsk": LinearModem("bpsk"),
    "ofdm_qpsk": OfdmModem("qpsk"),
    "ofdm_qam16": OfdmModem("qam16"),
    "ofdm_bpsk": OfdmModem("bpsk"),
}


@pytest.mark.parametrize("name", MODEMS)
def test_modulator_is_sionnas(name: str) -> None:
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        bits, expected = arrays[f"{name}_bits"], arrays[f"{name}_waveform"]
    waveform = MODEMS[name].modulate(torch.from_numpy(bits))
    assert waveform.shape == expected.shape
    np.testing.assert_allclose(waveform.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODEMS)
def test_demodulator_reads_sionnas_bits(name: str) -> None:
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        bits, waveform = arrays[f"{name}_bits"], arrays[f"{name}_waveform"]
    np.testing.assert_array_equal(MODEMS[name].decide(torch.from_numpy(waveform)).numpy(), bits)
