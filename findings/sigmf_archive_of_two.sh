#!/usr/bin/env bash
# sigmf 1.14.0: from an archive of two recordings, fromfile gives the metadata of one and the samples of the other.
#
# Versions: sigmf 1.14.0, numpy 2.4.6, Python 3.11.
# Behaviour: The reader keeps the last .sigmf-meta and the first .sigmf-data in the archive, whatever their names. It warns of
#   nothing, and it writes the checksum of the wrong samples into the metadata that it returns. It raises an error only where
#   the metadata already holds core:sha512, which is optional.
# Guess beforehand: the reader takes one recording whole, or refuses an archive that holds more than one.
# Why it matters: the SigMF specification lets an archive hold several recordings, so people ship the antennas of an array or
#   the bands of a survey in one file. Samples then bear another recording's sample rate and centre frequency, and every
#   frequency, bandwidth and duration that is measured from them is wrong.
# Output seen:
#   one alone: metadata of one (100 MHz), first sample 1+1j, checksum noted: that of one
#   two alone: metadata of two (200 MHz), first sample 2+2j, checksum noted: that of two
#   one, two: metadata of two (200 MHz), first sample 1+1j, checksum noted: that of one
#   two, one: metadata of one (100 MHz), first sample 2+2j, checksum noted: that of two
#   one, two with core:sha512: SigMFFileError: Calculated file hash does not match associated metadata.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check sigmf==1.14.0 numpy==2.4.6
cat > "$place/show.py" <<'PYTHON'
import hashlib
import io
import json
import os
import sys
import tarfile

import numpy as np
import sigmf

os.chdir(sys.argv[1])
DATA = {name: np.full(8, value, "<i2").tobytes() for name, value in (("one", 1), ("two", 2))}
FREQUENCY = {"one": 100e6, "two": 200e6}


def metadata(name, checksum):
    whole = {"core:datatype": "ci16_le", "core:version": "1.2.0", "core:sample_rate": 1e6, "core:description": name}
    if checksum:
        whole["core:sha512"] = hashlib.sha512(DATA[name]).hexdigest()
    capture = {"core:sample_start": 0, "core:frequency": FREQUENCY[name]}
    return json.dumps({"global": whole, "captures": [capture], "annotations": []}).encode()


def archive(path, names, checksum=False):
    with tarfile.open(path, "w") as tar:
        for name in names:
            for ending, content in (("meta", metadata(name, checksum)), ("data", DATA[name])):
                member = tarfile.TarInfo(f"{name}/{name}.sigmf-{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def read(path):
    recording = sigmf.fromfile(path, autoscale=False)
    facts = recording.get_global_info()
    sample = recording.read_samples()[0]
    owner = next(name for name in DATA if hashlib.sha512(DATA[name]).hexdigest() == facts["core:sha512"])
    frequency = recording.get_captures()[0]["core:frequency"] / 1e6
    return f"metadata of {facts['core:description']} ({frequency:g} MHz), first sample {sample:g}, checksum noted: that of {owner}"


seen = {
    "one alone": read(archive("one.sigmf", ["one"])),
    "two alone": read(archive("two.sigmf", ["two"])),
    "one, two": read(archive("both.sigmf", ["one", "two"])),
    "two, one": read(archive("turned.sigmf", ["two", "one"])),
}
try:
    seen["one, two with core:sha512"] = read(archive("checked.sigmf", ["one", "two"], checksum=True))
except sigmf.error.SigMFFileError as error:
    seen["one, two with core:sha512"] = f"{type(error).__name__}: {error}"
for name, line in seen.items():
    print(f"{name}: {line}")
pairs = [
    line.startswith(f"metadata of {meta} ") and line.endswith(f"that of {data}")
    for line, meta, data in zip(seen.values(), ("one", "two", "two", "one"), ("one", "two", "one", "two"))
]
sys.exit(0 if all(pairs) and seen["one, two with core:sha512"].startswith("SigMFFileError") else 1)
PYTHON
"$place/venv/bin/python" "$place/show.py" "$place"
