"""Writes digital_rf.zip by Digital RF's own writer: pip install digital_rf==2.6.14, python make_digital_rf.py.

Four channels of 250 samples at 1 ksps whose last 130 begin 30 samples late, in files of 100 ms each: ``filled``, as the
writer pads pauses; ``indexed``, where the index tells of them; ``floats``; ``pair``, of two interleaved channels.
The samples are those of `reference`.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

NUM_SAMPLES, FIRST, GAP, RATE = 250, 120, 30, 1000
CHANNELS = {"filled": ("i2", True, 1), "indexed": ("i2", False, 1), "floats": ("c8", True, 1), "pair": ("i2", True, 2)}


def reference(channels: int) -> np.ndarray:
    """Samples complex128 [250, channels]: multiples of 1/32768."""
    numbers = np.random.default_rng(7).integers(-20000, 20000, (NUM_SAMPLES, channels, 2))
    return (numbers[..., 0] + 1j * numbers[..., 1]) / 32768


def write(folder: Path) -> None:
    """The four channels."""
    import digital_rf

    for name, (dtype, continuous, channels) in CHANNELS.items():
        (folder / name).mkdir()
        writer = digital_rf.DigitalRFWriter(
            str(folder / name), np.dtype(dtype), 3600, 100, 1_700_000_000 * RATE, RATE, 1, uuid_str="rfsep",
            is_complex=True, num_subchannels=channels, is_continuous=continuous, marching_periods=False,
        )  # fmt: skip
        samples = reference(channels).astype(np.complex64)
        if dtype == "i2":
            whole = np.zeros(samples.shape, [("r", "i2"), ("i", "i2")])
            whole["r"], whole["i"] = (samples.real * 32768).round(), (samples.imag * 32768).round()
            samples = whole
        writer.rf_write(samples[:FIRST])
        writer.rf_write(samples[FIRST:], FIRST + GAP)
        writer.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        with zipfile.ZipFile(Path(__file__).with_name("digital_rf.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(folder).rglob("*.h5")):
                archive.write(path, path.relative_to(folder))
    sys.exit(0)
