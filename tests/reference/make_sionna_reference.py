"""Writes sionna.npz: bits and waveforms of NVIDIA Sionna against which rfsep's modems are tested.

    python tests/reference/make_sionna_reference.py

Made with sionna-no-rt 2.2.0 (Apache-2.0). Each signal NAME has two entries: NAME_bits, uint8 [2, N] in the order of
Sionna's mapper and resource grid, and NAME_waveform, complex64 [2, T].
"""

from pathlib import Path

import numpy as np
import torch
from sionna.phy import config
from sionna.phy.mapping import BinarySource, Mapper
from sionna.phy.ofdm import OFDMModulator, ResourceGrid, ResourceGridMapper
from sionna.phy.signal import RootRaisedCosineFilter, Upsampling

BATCH = 2
NUM_SYMBOLS = 64
NUM_OFDM_SYMBOLS = 4


def linear(kind: str, bits_per_symbol: int, samples_per_symbol: int) -> tuple[torch.Tensor, torch.Tensor]:
    """RRC of roll-off 0.5 and span 8, first symbol half a symbol into the window, times sqrt(samples_per_symbol)."""
    bits = BinarySource()([BATCH, NUM_SYMBOLS * bits_per_symbol])
    upsampled = Upsampling(samples_per_symbol)(Mapper(kind, bits_per_symbol)(bits))
    delayed = torch.roll(upsampled, samples_per_symbol // 2, -1)
    waveform = RootRaisedCosineFilter(8, samples_per_symbol, 0.5)(delayed, padding="same")
    return bits, waveform * samples_per_symbol**0.5


def ofdm(kind: str, bits_per_symbol: int) -> tuple[torch.Tensor, torch.Tensor]:
    """FFT 64, prefix 16, guards (4, 3), DC null: 56 data carriers."""
    grid = ResourceGrid(
        num_ofdm_symbols=NUM_OFDM_SYMBOLS,
        fft_size=64,
        subcarrier_spacing=20e6 / 64,
        cyclic_prefix_length=16,
        num_guard_carriers=(4, 3),
        dc_null=True,
    )
    bits = BinarySource()([BATCH, 1, 1, int(grid.num_data_symbols) * bits_per_symbol])
    waveform = OFDMModulator(16)(ResourceGridMapper(grid)(Mapper(kind, bits_per_symbol)(bits)))
    return bits[:, 0, 0], waveform[:, 0, 0]


def main() -> None:
    config.device, config.seed = "cpu", 7
    signals = {
        "qpsk": linear("qam", 2, 16),
        "qam16": linear("qam", 4, 16),
        "qpsk2": linear("qam", 2, 4),
        "bpsk": linear("pam", 1, 16),
        "ofdm_qpsk": ofdm("qam", 2),
        "ofdm_qam16": ofdm("qam", 4),
        "ofdm_bpsk": ofdm("pam", 1),
    }
    arrays: dict[str, np.ndarray] = {}
    for name, (bits, waveform) in signals.items():
        arrays[f"{name}_bits"] = bits.numpy().astype(np.uint8)
        arrays[f"{name}_waveform"] = waveform.numpy().astype(np.complex64)
    np.savez_compressed(Path(__file__).with_name("sionna.npz"), **arrays)


if __name__ == "__main__":
    main()
