#!/usr/bin/env bash
# sigmf 1.14.0: an 8-bit WAV is read as signed bytes, so that silence comes back near full scale; a 24-bit WAV raises TypeError.
#
# Versions: sigmf 1.14.0, numpy 2.4.6, Python 3.11.
# Behaviour: fromfile and wav_to_sigmf take the sample type from the width alone (int8, int16, int24, int32). The bytes of an
#   8-bit WAV are unsigned with 128 as zero, so 128 is read as -1.0 and 127 as almost +1.0. For 24 bits numpy has no such type.
# Guess beforehand: 8 bits become ru8, which the package scales rightly elsewhere, and 24 bits are read or refused by name.
# Why it matters: programs for cheap receivers (8-bit converters) record I/Q as stereo 8-bit WAV. A weak tone comes back as a
#   square wave near full scale: its level is wrong by more than 30 dB and its harmonics look like other signals.
# Output seen:
#   silence in 8 bits: type ri8, values [-1.]
#   tone of rms 0.03 in 16 bits: type ri16_le, rms 0.0300
#   tone of rms 0.03 in 8 bits: type ri8, rms 1.3867
#   tone of rms 0.03 in 8 bits, converted: type ri8, rms 1.3867
#   tone in 24 bits: TypeError: data type 'int24' not understood
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check sigmf==1.14.0 numpy==2.4.6
cat > "$place/show.py" <<'PYTHON'
import os
import sys
import wave

import numpy as np
import sigmf
from sigmf.convert.wav import wav_to_sigmf

os.chdir(sys.argv[1])
tone = 0.03 * np.exp(2j * np.pi * (np.arange(4800) + 0.5) / 48)
plane = np.stack([tone.real, tone.imag], axis=1)


def write(path, width, frames):
    with wave.open(path, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(width)
        out.setframerate(48000)
        out.writeframes(frames)
    return path


def rms(read):
    """Root of the mean power of the I/Q samples in the two channels."""
    return float(np.sqrt(np.mean(np.sum(np.square(read), axis=1))))


bytes_8 = (np.round(plane * 128) + 128).astype("u1").tobytes()
silence = sigmf.fromfile(write("silence.wav", 1, bytes([128]) * 96))
eight = sigmf.fromfile(write("eight.wav", 1, bytes_8))
converted = wav_to_sigmf("eight.wav", "converted")
sixteen = sigmf.fromfile(write("sixteen.wav", 2, np.round(plane * 32768).astype("<i2").tobytes()))
levels = [rms(recording.read_samples()) for recording in (sixteen, eight, converted)]
print(f"silence in 8 bits: type {silence.get_global_field('core:datatype')}, values {np.unique(silence.read_samples())}")
for name, recording, level in zip(("16 bits", "8 bits", "8 bits, converted"), (sixteen, eight, converted), levels):
    print(f"tone of rms 0.03 in {name}: type {recording.get_global_field('core:datatype')}, rms {level:.4f}")
frames = np.round(plane * 2**23).astype("<i4").view("u1").reshape(-1, 2, 4)[:, :, :3].tobytes()
try:
    sigmf.fromfile(write("deep.wav", 3, frames))
    deep = "read"
except Exception as error:
    deep = f"{type(error).__name__}: {error}"
print(f"tone in 24 bits: {deep}")
same = np.all(silence.read_samples() == -1) and abs(levels[0] - 0.03) < 1e-3 and min(levels[1:]) > 1
sys.exit(0 if same and deep.startswith("TypeError") else 1)
PYTHON
"$place/venv/bin/python" "$place/show.py" "$place"
