"""Recordings: SigMF split by file, official frames split by frame, normalised as they say."""

import hashlib
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.distinct import distinct_samples
from rfsep.signals.recordings import OfficialFrames, SigmfRecordings
from rfsep.types import InputError

ROOT = Path(__file__).parents[2]


def write_sigmf(folder: Path, name: str, samples: np.ndarray) -> None:
    data = np.stack((samples.real, samples.imag), 1).round().astype("<i2").tobytes()
    (folder / f"{name}.sigmf-data").write_bytes(data)
    meta = {
        "global": {
            "core:datatype": "ci16_le",
            "core:sample_rate": 1e6,
            "core:version": "1.2.0",
            "core:num_channels": 1,
            "core:sha512": hashlib.sha512(data).hexdigest(),
        },
        "captures": [{"core:sample_start": 0}],
        "annotations": [],
    }
    (folder / f"{name}.sigmf-meta").write_text(json.dumps(meta))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Three files: one loud with a DC offset, one quiet, one short."""
    rng = np.random.default_rng(0)
    for name, length, scale, offset in (
        ("loud", 5000, 3000, 500 + 200j),
        ("quiet", 9000, 30, 0),
        ("short", 50, 300, 0),
    ):
        noise = rng.standard_normal(length) + 1j * rng.standard_normal(length)
        write_sigmf(tmp_path, name, scale * noise + offset)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["loud", "quiet"], "test": ["short"]}))
    return tmp_path


def test_files_weigh_the_same_without_dc_and_at_unit_power(recorded: Path) -> None:
    source = SigmfRecordings(recorded, recorded / "split.json", "train")
    sampled = source.sample(2000, 500, batch_generator(Purpose.TEST, 0))
    assert sampled.origin.float().mean().item() == pytest.approx(0.5, abs=0.05)
    for file in range(2):
        windows = sampled.waveform[sampled.origin == file]
        assert windows.abs().square().mean().item() == pytest.approx(1.0, abs=0.02)
        assert windows.mean().abs().item() < 0.02
    starts = {round(float(value), 4) for value in sampled.waveform[:, 0].real}
    assert len(starts) > 800  # crops are everywhere in the files


def places(frames: torch.Tensor, stream: np.ndarray) -> list[int]:
    """Where frames were cut from a recording whose first samples are all different."""
    values = frames.numpy()
    return sorted(int(np.flatnonzero((stream == row[0]) & (np.roll(stream, -1) == row[1]))[0]) for row in values)


def test_examples_do_not_overlap_while_there_is_room(recorded: Path) -> None:
    """14,000 samples hold 27 frames of 500: the loud file all its 10, and the quiet one 17 of its 18."""
    source = SigmfRecordings(recorded, recorded / "split.json", "train")
    frames = source.examples(27, 500, batch_generator(Purpose.EXAMPLES))
    loud, quiet = (recording.astype(np.complex64) for recording in source.recordings)
    of_loud = torch.from_numpy(np.isin(frames[:, 0].numpy(), loud) & np.isin(frames[:, 7].numpy(), loud))
    starts = places(frames[of_loud], loud), places(frames[~of_loud], quiet)
    assert [len(one) for one in starts] == [10, 17]
    assert all((np.diff(one) >= 500).all() for one in starts)
    assert bool(distinct_samples(frames).all())
    assert torch.equal(frames, source.examples(27, 500, batch_generator(Purpose.EXAMPLES)))
    assert not torch.equal(frames, source.examples(27, 500, batch_generator(Purpose.TEST)))
    few = source.examples(6, 500, batch_generator(Purpose.EXAMPLES))
    assert torch.from_numpy(np.isin(few[:, 0].numpy(), loud)).sum() == 3  # files weigh the same


def test_examples_that_find_no_room_overlap(recorded: Path) -> None:
    source = SigmfRecordings(recorded, recorded / "split.json", "train")
    frames = source.examples(60, 500, batch_generator(Purpose.EXAMPLES))
    assert frames.shape == (60, 500)
    assert 13_500 <= int(distinct_samples(frames).sum()) < 14_000 + 5 * 32  # overlaps of fewer than 32 stay unseen
    with pytest.raises(InputError, match="no recording has 9001 samples; the longest has 9000"):
        source.examples(1, 9001, batch_generator(Purpose.EXAMPLES))


def test_windows_longer_than_every_file_are_refused(recorded: Path) -> None:
    source = SigmfRecordings(recorded, recorded / "split.json", "test")
    with pytest.raises(InputError, match="no recording has 51 samples; the longest has 50"):
        source.sample(1, 51, batch_generator(Purpose.TEST, 0))
    assert source.sample(1, 50, batch_generator(Purpose.TEST, 0)).waveform.shape == (1, 50)


def test_origin_is_the_place_in_the_list_also_where_a_file_is_too_short(recorded: Path) -> None:
    source = SigmfRecordings(recorded, recorded / "split.json", "train")
    sampled = source.sample(20, 6000, batch_generator(Purpose.TEST, 0))
    assert sampled.origin.unique().tolist() == [1]


def test_unknown_split_is_named(recorded: Path) -> None:
    with pytest.raises(InputError, match="unknown split 'validation'; choose one of train, test"):
        SigmfRecordings(recorded, recorded / "split.json", "validation")


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The layout of the official dataset: frame f is filled with the value f + 1."""
    (tmp_path / "interferenceset_frame").mkdir()
    with h5py.File(tmp_path / "interferenceset_frame" / "EMISignal1_raw_data.h5", "w") as file:
        values = np.arange(1, 6)[:, None] * np.exp(2j * np.pi * np.arange(1000) / 50)
        file["dataset"] = values.astype(np.complex64)
        file["sig_type"] = "EMISignal1"
    entry = {"file": "interferenceset_frame/EMISignal1_raw_data.h5"}
    split = {"train": {**entry, "frames": [0, 1, 2]}, "val": {**entry, "frames": [3, 4]}}
    (tmp_path / "split.json").write_text(json.dumps(split))
    return tmp_path


def test_official_frames_are_used_as_they_are_and_only_those_of_the_split(official: Path) -> None:
    sampled = OfficialFrames(official, official / "split.json", "val").sample(50, 100, batch_generator(Purpose.TEST, 0))
    levels = sampled.waveform.abs()
    assert set(levels.flatten().round().int().tolist()) == {4, 5}
    assert torch.equal(levels[:, 0].round().long() - 4, sampled.origin)


def test_official_frames_too_few_or_too_short(official: Path) -> None:
    split = json.loads((official / "split.json").read_text())
    split["val"]["frames"] = [7]
    (official / "split.json").write_text(json.dumps(split))
    with pytest.raises(InputError, match="has 5 frames, the split list asks for frame 7"):
        OfficialFrames(official, official / "split.json", "val").sample(1, 10, batch_generator(Purpose.TEST, 0))
    with pytest.raises(InputError, match="frames have 1000 samples, fewer than a window of 1001"):
        OfficialFrames(official, official / "split.json", "train").sample(1, 1001, batch_generator(Purpose.TEST, 0))


@pytest.mark.parametrize("name", ["emisignal1", "commsignal2", "commsignal3", "commsignal5g1"])
def test_committed_splits_name_the_files_of_the_organisers(tmp_path: Path, name: str) -> None:
    """Those that sampletest_testmixture_generator.py and its neighbour for training open."""
    signal = {"emisignal1": "EMISignal1", "commsignal5g1": "CommSignal5G1"}.get(name, name.replace("comms", "CommS"))
    splits = json.loads((ROOT / "data" / "splits" / f"{name}.json").read_text())
    assert {part["file"] for part in splits.values()} == {
        f"interferenceset_frame/{signal}_raw_data.h5",
        f"testset1_frame/{signal}_test1_raw_data.h5",
    }
    assert splits["test"] == {"file": f"testset1_frame/{signal}_test1_raw_data.h5", "frames": list(range(50))}


@pytest.mark.parametrize(("named", "there"), [("testset1_frame", "test1_frame"), ("test1_frame", "testset1_frame")])
def test_folder_of_test_frames_by_either_name(tmp_path: Path, named: str, there: str) -> None:
    """As h5py packs it by LZF, without sig_type."""
    waves = np.random.default_rng(0).standard_normal((2, 500, 2)).astype(np.float32).view(np.complex64)[..., 0]
    (tmp_path / there).mkdir()
    with h5py.File(tmp_path / there / "EMISignal1_test1_raw_data.h5", "w") as file:
        file.create_dataset("dataset", data=waves, compression="lzf")
    split = {"test": {"file": f"{named}/EMISignal1_test1_raw_data.h5", "frames": [1]}}
    (tmp_path / "split.json").write_text(json.dumps(split))
    source = OfficialFrames(tmp_path, tmp_path / "split.json", "test")
    (frame,) = source.recordings
    assert np.array_equal(frame, waves[1])
    assert source.sample(1, 500, batch_generator(Purpose.TEST, 0)).waveform[0].numpy().tobytes() == waves[1].tobytes()


def test_incomplete_official_folder_names_the_missing_file(tmp_path: Path) -> None:
    (tmp_path / "testset1_frame").mkdir()
    source = OfficialFrames(tmp_path, ROOT / "data" / "splits" / "commsignal2.json", "test")
    missing = (
        r"/testset1_frame/CommSignal2_test1_raw_data\.h5: no such file in the official folder .*: it is incomplete"
    )
    with pytest.raises(InputError, match=missing):
        source.sample(1, 10, batch_generator(Purpose.TEST, 0))


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "data" / "splits").glob("*.json")))
def test_committed_splits_do_not_overlap(name: str) -> None:
    splits = json.loads((ROOT / "data" / "splits" / f"{name}.json").read_text())
    assert set(splits) == {"train", "val", "test"}
    members = [
        {(part["file"], frame) for frame in part["frames"]} if isinstance(part, dict) else set(part)
        for part in splits.values()
    ]
    assert all(members)
    assert len(set.union(*members)) == sum(len(part) for part in members)


@pytest.mark.parametrize("kind", ["lte20", "wifi20"])
def test_real_recordings_are_the_ones_of_the_split(kind: str) -> None:
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: no real recordings here")
    folder = Path(os.environ["RFSEP_RECORDINGS"]) / kind
    splits = json.loads((ROOT / "data" / "splits" / f"{kind}.json").read_text())
    there = {path.name.removesuffix(".sigmf-meta") for path in folder.glob("*.sigmf-meta")}
    assert {name for part in splits.values() for name in part} == there
    for split in splits:
        for recording in SigmfRecordings(folder, ROOT / "data" / "splits" / f"{kind}.json", split).recordings:
            assert np.mean(np.abs(recording) ** 2) == pytest.approx(1.0, abs=1e-3)


def _raw(path: Path, samples: np.ndarray) -> None:
    samples.astype("<c8").tofile(path)


def test_a_list_of_several_rates_is_refused_or_converted(tmp_path: Path) -> None:
    for name, rate in (("a", "1Msps"), ("b", "20Msps")):
        _raw(tmp_path / f"{name}_{rate}.cf32", np.exp(2j * np.pi * 0.01 * np.arange(40_000)))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a_1Msps.cf32", "b_20Msps.cf32"]}))
    arguments = (tmp_path, tmp_path / "split.json", "train")
    with pytest.raises(InputError, match=r"b_20Msps.cf32: has 20000000 samples/s, a file before it 1000000"):
        SigmfRecordings(*arguments).recordings  # noqa: B018
    with pytest.raises(InputError, match=r"b_20Msps.cf32: has 20000000 samples/s, and sample_rate_hz is 1000000"):
        SigmfRecordings(*arguments, sample_rate_hz=1e6).recordings  # noqa: B018
    slow, fast = SigmfRecordings(*arguments, sample_rate_hz=1e6, resample=True).recordings
    assert (len(slow), len(fast)) == (40_000, 2_000)
    cycles = np.angle(fast[501:1500] * fast[500:1499].conj()) / (2 * np.pi)
    assert np.abs(cycles - 0.2).max() < 1e-3  # 20 times as many cycles a sample


def test_rates_that_differ_by_rounding_alone_are_one_rate(tmp_path: Path) -> None:
    _raw(tmp_path / "one_1Msps.cf32", np.exp(2j * np.pi * 0.01 * np.arange(40_000)))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["one_1Msps.cf32"]}))
    arguments = (tmp_path, tmp_path / "split.json", "train")
    for rate, resample, length in ((1e6 + 0.05, False, 40_000), (1e6 + 0.05, True, 40_000), (1.1e6 + 1, True, 44_000)):
        (found,) = SigmfRecordings(*arguments, sample_rate_hz=rate, resample=resample).recordings
        assert len(found) == length
    with pytest.raises(InputError, match=r"has 1000000 samples/s, and sample_rate_hz is 1000001"):
        SigmfRecordings(*arguments, sample_rate_hz=1e6 + 1).recordings  # noqa: B018


def test_time_and_files_are_split_without_a_list(tmp_path: Path) -> None:
    _raw(tmp_path / "one.cf32", np.arange(100_000) % 977 + 1j)
    whole = np.arange(100_000)
    lengths = {"train": 70_000, "val": 14_000, "test": 14_000}
    firsts = {"train": 0, "val": 71_000, "test": 86_000}
    for split, length in lengths.items():
        (part,) = SigmfRecordings(tmp_path / "one.cf32", "time", split, guard=1000).recordings
        expected = whole[firsts[split] :][:length] % 977 + 0.0
        expected -= expected.mean()
        assert np.abs(part.real - expected / expected.std()).max() < 1e-3
    with pytest.raises(InputError, match=r"one\.cf32: too short for a part of split 'test' with a guard of 20000"):
        SigmfRecordings(tmp_path / "one.cf32", "time", "test", guard=20_000).recordings  # noqa: B018
    with pytest.raises(InputError, match="1 files cannot be split into three: split_list: time"):
        SigmfRecordings(tmp_path, "files", "train")
    for name in "abcdefghi":
        _raw(tmp_path / f"{name}.cf32", np.arange(10) + 1j)
    named = {split: [one.stem for one in SigmfRecordings(tmp_path, "files", split).paths] for split in lengths}
    assert named == {"train": ["a", "b", "c", "d", "e", "f"], "val": ["g", "h"], "test": ["i", "one"]}
    with pytest.raises(InputError, match="unknown split 'validation'; choose one of train, val, test"):
        SigmfRecordings(tmp_path, "files", "validation")


def test_no_window_reaches_across_a_gap(tmp_path: Path) -> None:
    """Samples before the gap are 1 and -1 in turn, behind it 1j and -1j."""
    samples = np.concatenate((np.tile([1, -1], 150), np.tile([1j, -1j], 250)))
    samples.astype("<c8").tofile(tmp_path / "a.sigmf-data")
    captures = [{"core:sample_start": 0, "core:frequency": 1e9}, {"core:sample_start": 300, "core:frequency": 2e9}]
    fields = {"core:datatype": "cf32_le", "core:sample_rate": 1e6, "core:version": "1.2.0"}
    content = {"global": fields, "captures": captures, "annotations": []}
    (tmp_path / "a.sigmf-meta").write_text(json.dumps(content))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a"]}))
    source = SigmfRecordings(tmp_path, tmp_path / "split.json", "train")
    windows = source.sample(300, 200, batch_generator(Purpose.TEST, 0)).waveform
    real = (windows.real.abs() > 0.5).all(1)
    assert bool((real | (windows.imag.abs() > 0.5).all(1)).all())
    assert real.float().mean().item() == pytest.approx(101 / 402, abs=0.08)  # places in both stretches weigh the same
    with pytest.raises(InputError, match=r"no recording has 501 samples; the longest has 500.*num_samples="):
        source.sample(1, 501, batch_generator(Purpose.TEST, 0))


def test_duty_takes_bursts_alone_at_unit_power(tmp_path: Path) -> None:
    """Bursts of a twentieth of the time: without it a window of nominal 0 dB is 13 dB off, and mostly noise."""
    noise = np.random.default_rng(0).standard_normal((200_000, 2)) @ np.array([1, 1j])
    busy = np.arange(200_000) % 20_000 < 1000
    _raw(tmp_path / "a.cf32", noise * np.where(busy, 1.0, 1e-3))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a.cf32"]}))
    arguments = (tmp_path, tmp_path / "split.json", "train")
    for duty_db, low, high in ((None, 0.85, 0.99), (3.0, 0.0, 0.0)):
        source = SigmfRecordings(*arguments, duty_db=duty_db)
        powers = source.sample(2000, 400, batch_generator(Purpose.TEST, 0)).waveform.abs().square().mean(1)
        assert low <= float((powers < 0.25).float().mean()) <= high
        if duty_db is not None:
            assert float(powers.mean()) == pytest.approx(1.0, abs=0.02)
            assert float(powers.min()) > 0.4
