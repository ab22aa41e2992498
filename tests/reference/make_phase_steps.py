"""Writes phase_steps.json: the phase steps that other people's differential PSK makes of bits, measured on them.

    apt-get install gnuradio libliquid-dev gcc            # 3.10.5, 1.5.0
    python tests/reference/make_phase_steps.py            # with the interpreter that has GNU Radio

For each program and each M: step number, in units of 360 / M degrees counterclockwise, of the labels 0, 1, .., whose
bits are sent first bit most significant. Each label is measured behind every other label, and the steps must agree.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("phase_steps.json")
SIZES = (2, 4, 8)
LIQUID = """
#include <complex.h>
#include <liquid/liquid.h>
#include <stdio.h>
int main() {
  int schemes[] = {LIQUID_MODEM_DPSK2, LIQUID_MODEM_DPSK4, LIQUID_MODEM_DPSK8};
  for (int i = 0; i < 3; i++) {
    modemcf modem = modemcf_create(schemes[i]);
    unsigned size = 1u << modemcf_get_bps(modem);
    for (unsigned k = 0; k < 2 * size * size; k++) {
      float complex x;
      modemcf_modulate(modem, k % 2 ? (k / 2) % size : k / 2 / size, &x);
      printf("%.6f %.6f ", crealf(x), cimagf(x));
    }
    printf("\\n");
  }
}
"""


def labels(size: int) -> np.ndarray:
    """Every label in turn, behind every other one."""
    order = np.arange(2 * size * size)
    return np.where(order % 2, (order // 2) % size, order // 2 // size)


def steps(symbols: np.ndarray, size: int) -> list[int]:
    """Step of each label; all measurements of one label must agree."""
    measured = np.rint(np.angle(symbols[1:] * symbols[:-1].conj()) * size / (2 * np.pi)).astype(int) % size
    found = [set(measured[labels(size)[1:] == label].tolist()) for label in range(size)]
    assert all(len(one) == 1 for one in found), found
    return [one.pop() for one in found]


def gnuradio(size: int) -> list[int]:
    """psk_constellation in Gray code through generic_mod's own chain in front of its pulse."""
    from gnuradio import blocks, digital, gr
    from gnuradio.digital import psk

    points = psk.psk_constellation(size, mod_code="gray", differential=True)
    flow = gr.top_block()
    source = blocks.vector_source_b(labels(size).tolist(), False)
    mapper, encoder = digital.map_bb(points.pre_diff_code()), digital.diff_encoder_bb(size)
    sink = blocks.vector_sink_c()
    flow.connect(source, mapper, encoder, digital.chunks_to_symbols_bc(points.points()), sink)
    flow.run()
    return steps(np.array(sink.data()), size)


def liquid() -> dict[str, list[int]]:
    """LIQUID_MODEM_DPSK2, DPSK4, DPSK8."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "steps.c")
        source.write_text(LIQUID)
        subprocess.run(["gcc", str(source), "-o", f"{folder}/steps", "-lliquid", "-lm"], check=True)
        said = subprocess.run([f"{folder}/steps"], check=True, capture_output=True, text=True).stdout
    rows = [np.array(line.split(), float) for line in said.splitlines()]
    return {str(size): steps(row[::2] + 1j * row[1::2], size) for size, row in zip(SIZES, rows, strict=True)}


def main() -> None:
    """Measure both programs."""
    found = {"gnuradio": {str(size): gnuradio(size) for size in SIZES}, "liquid": liquid()}
    FILE.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
