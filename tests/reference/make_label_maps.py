"""Writes label_maps.json: the points that other people's transmitters send for the bits 00.., measured on them.

    apt-get install gnuradio libliquid-dev octave octave-communications gcc   # 3.10.5, 1.5.0, 7.3.0 with 1.2.5
    pip install scikit-commpy==0.8.0 komm==0.37.0
    python tests/reference/make_label_maps.py gnuradio liquid octave          # with the interpreter that has GNU Radio
    python tests/reference/make_label_maps.py commpy komm

Each program adds its points to the file; points are scaled so that the smallest part is one.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("label_maps.json")
Maps = dict[str, list[complex]]
LIQUID = """
#include <complex.h>
#include <liquid/liquid.h>
#include <stdio.h>
int main() {
  int schemes[] = {LIQUID_MODEM_QPSK, LIQUID_MODEM_PSK8, LIQUID_MODEM_QAM16};
  for (int i = 0; i < 3; i++) {
    modemcf modem = modemcf_create(schemes[i]);
    for (unsigned k = 0; k < 1u << modemcf_get_bps(modem); k++) {
      float complex x;
      modemcf_modulate(modem, k, &x);
      printf("%.6f %.6f ", crealf(x), cimagf(x));
    }
    printf("\\n");
  }
}
"""
OCTAVE = (
    "pkg load communications; x = {pskmod(0:3,4,pi/4,'gray'), pskmod(0:7,8,0,'gray'), qammod(0:15,16)};"
    "for i = 1:3, printf('%.6f ', [real(x{i}); imag(x{i})]); printf('\\n'); end"
)


def gnuradio() -> Maps:
    """constellation_qpsk and constellation_16qam; its 8-PSK lies 22.5 degrees off."""
    from gnuradio import digital

    found = (digital.constellation_qpsk(), digital.constellation_16qam())
    return {str(len(one.points())): list(one.points()) for one in found}


def _lines(said: str) -> Maps:
    parts = [np.array(line.split(), float) for line in said.splitlines() if line.strip()]
    return {str(len(one) // 2): (one[::2] + 1j * one[1::2]).tolist() for one in parts}


def liquid() -> Maps:
    """LIQUID_MODEM_QPSK, PSK8, QAM16."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "maps.c")
        source.write_text(LIQUID)
        subprocess.run(["gcc", str(source), "-o", f"{folder}/maps", "-lliquid", "-lm"], check=True)
        return _lines(subprocess.run([f"{folder}/maps"], check=True, capture_output=True, text=True).stdout)


def octave() -> Maps:
    """pskmod in Gray order, qammod, of the communications package."""
    command = ["octave", "--no-gui", "--quiet", "--eval", OCTAVE]
    return _lines(subprocess.run(command, check=False, capture_output=True, text=True).stdout)


def commpy() -> Maps:
    """QAMModem(4), PSKModem(8), QAMModem(16)."""
    import commpy.modulation

    modems = (commpy.modulation.QAMModem(4), commpy.modulation.PSKModem(8), commpy.modulation.QAMModem(16))
    found = {}
    for modem in modems:
        width = modem.num_bits_symbol
        bits = (np.arange(2**width)[:, None] >> np.arange(width)[::-1]) & 1
        found[str(2**width)] = modem.modulate(bits.reshape(-1)).tolist()
    return found


def komm() -> Maps:
    """PSK and QAM constellations with reflected labelings."""
    import komm as package

    pairs = (
        (package.PSKConstellation(4, phase_offset=1 / 8), package.ReflectedLabeling(2)),
        (package.PSKConstellation(8), package.ReflectedLabeling(3)),
        (package.QAMConstellation(16), package.ReflectedRectangularLabeling((2, 2))),
    )
    found = {}
    for points, labels in pairs:
        numbers = [int("".join(map(str, row)), 2) for row in np.asarray(labels.matrix).astype(int)]
        ordered = dict(zip(numbers, np.asarray(points.matrix).reshape(-1), strict=True))
        found[str(len(numbers))] = [complex(ordered[number]) for number in range(len(numbers))]
    return found


PROGRAMS: dict[str, Callable[[], Maps]] = {
    "gnuradio": gnuradio,
    "liquid": liquid,
    "octave": octave,
    "commpy": commpy,
    "komm": komm,
}


def main() -> None:
    """Measure the programs that are named."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in sys.argv[1:]:
        maps = {}
        for size, points in PROGRAMS[name]().items():
            array = np.array(points)
            parts = np.abs(np.concatenate((array.real, array.imag)))
            array = array / parts[parts > 1e-3].min()
            maps[size] = [[round(float(one.real), 3) + 0.0, round(float(one.imag), 3) + 0.0] for one in array]
        known[name] = maps
    FILE.write_text(json.dumps(known) + "\n")


if __name__ == "__main__":
    main()
