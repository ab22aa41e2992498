"""Writes commpy.npz: hard decisions of scikit-commpy, against which ours are tested.

    python tests/reference/make_commpy_reference.py

Made with scikit-commpy 0.8.0 (BSD). ``psk8``, ``qam16`` and ``qam64`` have three entries each: points complex64 [P] of
unit power, whose index is the label, symbols complex64 [600] in noise 10 dB below them, and bits uint8 [600 * bits].
"""

from pathlib import Path

import numpy as np


def main() -> None:
    """Demodulate noisy symbols of each constellation."""
    from commpy.modulation import PSKModem, QAMModem  # not installed with the project

    generator = np.random.default_rng(0)
    arrays = {}
    for name, modem in (("psk8", PSKModem(8)), ("qam16", QAMModem(16)), ("qam64", QAMModem(64))):
        bits = generator.integers(0, 2, 600 * modem.num_bits_symbol)
        noise = generator.standard_normal((600, 2)) @ [1, 1j] * np.sqrt(0.05 * modem.Es)
        received = modem.modulate(bits) + noise
        scale = 1 / np.sqrt(modem.Es)
        arrays[f"{name}_points"] = (modem.constellation * scale).astype(np.complex64)
        arrays[f"{name}_symbols"] = (received * scale).astype(np.complex64)
        arrays[f"{name}_bits"] = modem.demodulate(received, "hard").astype(np.uint8)
    np.savez_compressed(Path(__file__).with_name("commpy.npz"), **arrays)


if __name__ == "__main__":
    main()
