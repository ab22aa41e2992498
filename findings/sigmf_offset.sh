#!/usr/bin/env bash
# sigmf 1.14.0: core:offset is never applied, so the first capture of a later part loses samples, is empty or raises an error.
#
# Versions: sigmf 1.14.0 (it carries the schema of the specification), numpy 2.4.6, Python 3.11.
# Behaviour: The schema's entry on core:offset makes all sample indices absolute and puts none of them below the offset, so the
#   first capture of a part that begins at sample N has sample_start N. read_samples_in_capture takes N as a place in the file and
#   drops the first N samples of the part. validate() accepts each of these files. (The entry on sample_start calls it a place in
#   the file: the two entries agree for an offset of zero only, which the specification's tracker discusses.)
# Guess beforehand: the reader subtracts the offset, and each part gives its 20 samples.
# Why it matters: core:offset is there for long recordings that are split over several files. Read capture by capture, a part
#   comes back short without a word, so time, phase and the places of the annotated bursts no longer fit; later parts are empty.
# Output seen:
#   offset 0, 20 samples in the file, byte range (0, 40): 20 samples, the first is number 0
#   offset 5, 20 samples in the file, byte range (10, 40): 15 samples, the first is number 10
#   offset 20, 20 samples in the file, byte range (40, 40): 0 samples
#   offset 1000, 20 samples in the file, byte range (2000, 40): ValueError: negative dimensions are not allowed
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check sigmf==1.14.0 numpy==2.4.6
cat > "$place/show.py" <<'PYTHON'
import json
import os
import sys

import numpy as np
import sigmf

os.chdir(sys.argv[1])
seen = []
for offset in (0, 5, 20, 1000):
    facts = {"core:datatype": "ri16_le", "core:version": "1.2.0", "core:sample_rate": 1e6, "core:offset": offset}
    capture = {"core:sample_start": offset}
    with open("part.sigmf-meta", "w") as file:
        json.dump({"global": facts, "captures": [capture], "annotations": []}, file)
    np.arange(offset, offset + 20, dtype="<i2").tofile("part.sigmf-data")
    part = sigmf.fromfile("part.sigmf-meta", autoscale=False)
    part.validate()
    try:
        read = part.read_samples_in_capture(0)
        seen.append(f"{len(read)} samples" + (f", the first is number {read[0]:g}" if len(read) else ""))
    except Exception as error:
        seen.append(f"{type(error).__name__}: {error}")
    print(f"offset {offset}, 20 samples in the file, byte range {part.get_capture_byte_boundaries(0)}: {seen[-1]}")
whole, short, empty, wrong = seen
same = whole.startswith("20 ") and short == "15 samples, the first is number 10" and empty == "0 samples" and "Error" in wrong
sys.exit(0 if same else 1)
PYTHON
"$place/venv/bin/python" "$place/show.py" "$place"
