"""Recordings that are one recording, and others that only look like it, made by plain numpy and on the air."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rfsep.signals.recordings import SigmfRecordings, check_apart
from rfsep.signals.same_recording import known, same_as
from rfsep.types import InputError

Waveform = NDArray[np.complex64]
LENGTH = 40_000


def noise(seed: int, length: int = LENGTH, power: float = 1.0) -> Waveform:
    rng = np.random.default_rng(seed)
    return (np.sqrt(power / 2) * (rng.standard_normal(length) + 1j * rng.standard_normal(length))).astype(np.complex64)


def pulses(seed: int, length: int, power: float = 0.001) -> Waveform:
    """QPSK of 16 samples per symbol with smooth pulses, in noise 30 dB below."""
    symbols = np.exp(0.5j * np.pi * np.random.default_rng(seed).integers(0, 4, length // 16 + 1))
    smooth = np.convolve(np.repeat(symbols, 16)[:length], np.hanning(16) / 8, "same")
    return (smooth + noise(seed + 1000, length, power)).astype(np.complex64)


def found(test: Waveform, *others: Waveform) -> int | None:
    return same_as(test, others, known(others))


def eight_bits(waveform: Waveform) -> Waveform:
    """A recording of I and Q in eight bits each, its largest value at full scale."""
    values = waveform.view(np.float32)
    steps: Waveform = np.round(127 * values / np.abs(values).max()).astype(np.float32).view(np.complex64)
    return steps


CHANGES: dict[str, Callable[[Waveform], Waveform]] = {
    "without its first sample": lambda one: one[1:],
    "without its last sample": lambda one: one[:-1],
    "a third of it": lambda one: one[len(one) // 3 : 2 * len(one) // 3],
    "begun later, and gone on with": lambda one: np.concatenate((one[10_007:], noise(9, 20_000))),
    "at another level and phase": lambda one: (1e-4j * one[5:]).astype(np.complex64),
    "with a DC offset": lambda one: one[5:] + np.complex64(0.3 - 0.2j),
    "in eight bits": lambda one: eight_bits(one[5:]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", [noise, pulses])
def test_a_changed_copy_is_found(make: Callable[[int, int], Waveform], change: str) -> None:
    others = [make(seed, LENGTH) for seed in range(3)]
    assert found(CHANGES[change](others[1]), *others) == 1


def test_a_preamble_that_repeats_is_no_copy() -> None:
    """Frames of 5,000 samples begin with the same 1,000, 40 dB above the noise; their data differ."""
    preamble = noise(50, 1000)

    def frames(seed: int) -> Waveform:
        data = noise(seed).reshape(8, 5000)
        data[:, :1000] = preamble
        return (data.ravel() + noise(seed + 99, power=1e-4)).astype(np.complex64)

    one, two = frames(1), frames(2)
    assert found(one, two) is None
    assert found(one[20_000:], one[:20_000]) is None
    assert found(one[1:], two, one) == 1


def test_a_packet_that_is_sent_again_is_no_copy() -> None:
    """The same smooth packet throughout, sent twice in different noise 30 dB below, at two phases."""
    clean = pulses(3, LENGTH, 0.0)
    first, again = (clean * turn + noise(seed, power=1e-3) for seed, turn in ((1, 1), (2, 1j)))
    assert found(first.astype(np.complex64), again.astype(np.complex64)) is None


def test_tones_and_frames_without_noise_prove_nothing() -> None:
    tone = np.exp(2j * np.pi * 0.0123 * np.arange(LENGTH)).astype(np.complex64)
    assert found(tone[20_000:], tone[:20_000]) is None
    frames = np.tile(noise(4, 4000), 10)
    assert found(frames[20_000:], frames[:20_000]) is None
    assert found(np.zeros(LENGTH, np.complex64), np.zeros(LENGTH, np.complex64), tone) is None


@pytest.mark.parametrize("length", [1, 7, 100, 300])
def test_short_recordings_are_compared_without_a_fault(length: int) -> None:
    assert found(noise(1, length), noise(2, length), noise(3)) is None


def write(folder: Path, name: str, waveform: Waveform) -> None:
    waveform.astype("<c8").tofile(folder / f"{name}.sigmf-data")
    facts = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": 1e6}
    meta = {"global": facts, "captures": [{"core:sample_start": 0}], "annotations": []}
    (folder / f"{name}.sigmf-meta").write_text(json.dumps(meta))


def test_the_refusal_names_both_files(tmp_path: Path) -> None:
    for name, waveform in (("a", noise(1)), ("b", pulses(2, LENGTH)), ("c", noise(3)), ("d", pulses(2, LENGTH)[1:])):
        write(tmp_path, name, waveform)
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["a", "b"], "test": ["c", "d"], "fine": ["c"]}))
    train, test, fine = (SigmfRecordings(tmp_path, tmp_path / "splits.json", one) for one in ("train", "test", "fine"))
    said = rf"^{tmp_path}/d.sigmf-meta of the test split is the same recording as {tmp_path}/b.sigmf-meta of the train"
    with pytest.raises(InputError, match=said):
        check_apart(test, {"train": train})
    check_apart(fine, {"train": train})


@pytest.mark.parametrize("kind", ["adsb", "fpv", "fsk", "satbpsk", "wifi20"])
def test_real_recordings_are_told_apart(kind: str) -> None:
    """No two of a kind are taken for one, not even packets sent again, and a part in eight bits is known again."""
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: no real recordings here")
    folder = Path(os.environ["RFSEP_RECORDINGS"], kind)
    recordings = SigmfRecordings(folder, "time", "train", shares=(1.0, 0.0, 0.0)).recordings
    index = known(recordings)
    for place, recording in enumerate(recordings):
        half = len(recording) // 2
        assert same_as(eight_bits(recording[half // 2 : -7]), recordings, index) == place
        assert found(recording, *recordings[:place], *recordings[place + 1 :]) is None
        assert found(recording[half:], recording[:half]) is None
