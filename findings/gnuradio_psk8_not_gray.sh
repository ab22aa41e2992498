#!/usr/bin/env bash
# GNU Radio 3.10.5: psk_constellation(8, 'gray', differential=True) sends bits on phase steps that are not in Gray order.
#
# Versions: Debian package gnuradio 3.10.5.1, its own Python 3.11 and numpy.
# Behaviour: the map that precedes the differential encoder is [0, 1, 3, 2, 6, 7, 5, 4], the Gray code of each number. A label
#   needs the place of its label in the Gray code, which is the inverse. Up to four points code and inverse are the same; for
#   eight they are not. The labels of the steps 0, 45, .. 315 degrees are 000 001 011 010 111 110 100 101: between 135 and 180,
#   and between 315 and 0 degrees, two bits change instead of one. The same constellation without differential encoding is Gray.
# Guess beforehand: the steps are in Gray order, as the name says, and as they are for four points.
# Why it matters: nearly all errors of D8PSK in noise are steps to a neighbour. Two of the eight boundaries cost two bits, so the
#   bit error rate is a fourth above the formulas for Gray D8PSK, and a receiver that decodes Gray steps reads half of the labels
#   wrong without any noise.
# Output seen:
#   gnuradio 3.10.5.1
#   4 points, differential: labels of the steps 00 01 11 10, bits that change between neighbours 1 1 1 1
#   8 points, differential: labels of the steps 000 001 011 010 111 110 100 101, bits that change between neighbours 1 1 1 2 1 1 1 2
#   8 points, absolute: labels of the angles 000 001 011 010 110 111 101 100, bits that change between neighbours 1 1 1 1 1 1 1 1
set -euo pipefail
python=/usr/bin/python3
if ! "$python" -c 'import gnuradio.digital' 2> /dev/null; then
  echo "needs Debian's package gnuradio (3.10.5): apt-get install gnuradio" >&2
  exit 1
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cat > "$place/show.py" <<'PYTHON'
import sys

import numpy as np
from gnuradio import blocks, digital, gr
from gnuradio.digital import psk

print("gnuradio", gr.version())


def steps(size):
    """The phase step, in units of a full turn over size, that each label makes behind a label 0."""
    points = psk.psk_constellation(size, mod_code="gray", differential=True)
    labels = [value for label in range(size) for value in (0, label)]
    flow = gr.top_block()
    source = blocks.vector_source_b(labels, False)
    chain = [
        source,
        digital.map_bb(points.pre_diff_code()),
        digital.diff_encoder_bb(size),
        digital.chunks_to_symbols_bc(points.points()),
    ]
    sink = blocks.vector_sink_c()
    flow.connect(*chain, sink)
    flow.run()
    sent = np.array(sink.data())
    turned = np.rint(np.angle(sent[1::2] * sent[::2].conj()) * size / (2 * np.pi)).astype(int) % size
    return turned.tolist()


def told(size, places, name):
    width = size.bit_length() - 1
    labels = [format(places.index(place), f"0{width}b") for place in range(size)]
    changes = [sum(a != b for a, b in zip(labels[i], labels[(i + 1) % size])) for i in range(size)]
    print(f"{size} points, {name} {' '.join(labels)}, bits that change between neighbours {' '.join(map(str, changes))}")
    return changes


four = told(4, steps(4), "differential: labels of the steps")
eight = told(8, steps(8), "differential: labels of the steps")
points = np.array(psk.psk_constellation(8, mod_code="gray", differential=False).points())
angles = (np.rint(np.angle(points) * 8 / (2 * np.pi)).astype(int) % 8).tolist()
absolute = told(8, angles, "absolute: labels of the angles")
as_seen = four == [1] * 4 and absolute == [1] * 8 and eight == [1, 1, 1, 2, 1, 1, 1, 2]
sys.exit(0 if as_seen else "the behaviour has changed")
PYTHON
"$python" "$place/show.py"
