"""Measures the speed of rfsep separate with each separator, and whether its memory is flat: part of make bench.

python tests/bench_separate.py [SECONDS]: SECONDS of the long capture, 600 by default.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench import write

from rfsep.app import commands
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop

RECORDING = "lte20/lte20-f1852p5.sigmf-meta"  # a recording of the test split
LTE = ("passthrough", "matched_filter", "lmmse", "cyclic_lmmse", "lte_lmmse", "lte_detection", "lte_pilots")
OFDM = ("passthrough", "matched_filter", "lmmse", "cyclic_lmmse", "cyclic_mmse", "joint_detection", "token_detection")
SINR_DB = -6
# A recording is played this slowly: ten minutes are 6e7 samples.
LONG_RATE_HZ = 1e5


def rfsep(*arguments: str) -> str:
    """Runs the command in this process, and returns its output."""
    sys.argv = ["rfsep", *arguments]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        commands.main()
    return said.getvalue()


def alone(*arguments: str) -> None:
    """Runs the command in a separate process, to measure its memory."""
    code = "from rfsep.app.commands import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)


def row(folder: Path, interference: str, separator: str) -> dict[str, Any]:
    """Measures one separator on a capture with its truth."""
    out = folder / f"{interference}-{separator}"
    heard = folder / interference
    options = ("--separator", separator, "--examples", interference, "--out", str(out))
    said = rfsep("separate", str(heard / "capture.sigmf-meta"), *options, "--truth", str(heard / "truth_bits.npy"))
    facts = json.loads((out / "separate.json").read_text())
    ber = re.search(r"BER (\S+) ", said)
    assert ber is not None
    signal = facts["signal_seconds"]
    return {
        "separator": separator,
        "interference": interference,
        "sample_rate_hz": facts["sample_rate_hz"],
        "signal_seconds": signal,
        "real_time_factor": facts["real_time_factor"],
        "real_time_factor_of_processor": signal / facts["processor_seconds"],
        "samples_a_processor_second": facts["num_samples"] / facts["processor_seconds"],
        "ber": float(ber[1]),
        "bits": facts["num_bits"],
    }


def made(folder: Path, interference: str, source: str, *options: str) -> None:
    """Makes a capture of QPSK in interference, in a folder of that name."""
    rfsep("embed", source, "--sinr-db", str(SINR_DB), "--out", str(folder / interference), *options)


def main() -> None:
    """Measures every separator, and the memory over a long recording."""
    long_seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        source = RandomCrop(OfdmModem()).sample(1, 50_000, batch_generator(Purpose.TEST, 1)).waveform[0]
        np.save(folder / "ofdm.npy", source.numpy())
        made(folder, "ofdm_qpsk", str(folder / "ofdm.npy"), "--sample-rate", "25e6")
        rows += [row(folder, "ofdm_qpsk", separator) for separator in OFDM]
        memory = None
        if "RFSEP_RECORDINGS" in os.environ:
            recording = str(Path(os.environ["RFSEP_RECORDINGS"]) / RECORDING)
            made(folder, "lte20", recording, "--seconds", "0.0024")
            rows += [row(folder, "lte20", separator) for separator in LTE]
            made(folder, "long", recording, "--sample-rate", str(LONG_RATE_HZ), "--seconds", str(long_seconds))
            options = ("--separator", "matched_filter", "--out", str(folder / "separated"))
            alone("separate", str(folder / "long" / "capture.sigmf-meta"), *options)
            facts = json.loads((folder / "separated" / "separate.json").read_text())
            kept = ("signal_seconds", "sample_rate_hz", "real_time_factor", "processor_seconds", "memory_mb")
            memory = {key: facts[key] for key in kept}
    write("separate", {"sinr_db": SINR_DB, "rows": rows, "long_recording": memory})


if __name__ == "__main__":
    main()
