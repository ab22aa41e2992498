"""Every reader of files that may come from strangers: a valid file of its kind, how it is harmed, how it is read."""

import gzip
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import mutations
import numpy as np
import safetensors.torch
import scipy.io
import scipy.io.wavfile
import sigmf
import sigmf.archive
import torch
import yaml
from mutations import Mutation, mixed

from rfsep.app.config import CONFIG_ERRORS, one_line
from rfsep.app.networks.runs import ZOO, open_run
from rfsep.app.score import declared_card
from rfsep.app.trust import read_interference
from rfsep.pages.collect import collect
from rfsep.storage.atomic import write_json
from rfsep.storage.captures.doubts import look_at
from rfsep.storage.captures.facts import NO_HINTS, Hints
from rfsep.storage.captures.opening import open_capture
from rfsep.storage.growing import GrowingFiles, Grown
from rfsep.storage.hdf5 import read_frames
from rfsep.storage.hdf5_set import TestSetHeader, read_own_mixtures, read_own_truth, write_mixtures
from rfsep.storage.manifest import verify
from rfsep.storage.npy import count_errors, read_bits, read_complex, read_floats, read_text
from rfsep.storage.npz import read_npz, read_npz_vector
from rfsep.storage.official import convert, read_official_mixtures, read_official_truth
from rfsep.storage.pickles import read_arrays
from rfsep.storage.seal import sealed
from rfsep.storage.submissions import find_submissions, list_submissions, read_submission, write_submission
from rfsep.storage.weights import read_checkpoint, read_metadata, read_weights
from rfsep.training.metrics_csv import MetricsCsv, read_metrics
from rfsep.types import InputError, MixtureBatch

PAIR = ("QPSK", "OFDMQPSK")
ROWS, SAMPLES, BITS = 11, 32, 4
WAVES = (np.arange(ROWS * SAMPLES) * (0.1 + 0.2j)).astype(np.complex64).reshape(ROWS, SAMPLES)


@contextmanager
def answered() -> Iterator[None]:
    """What is wrong with a file is an InputError of one printable line, or what hydra says; nothing else comes out.

    Raises:
        AssertionError: more than a line, or what a terminal would obey.
    """
    try:
        yield
    except (InputError, *CONFIG_ERRORS) as error:
        refused(one_line(error))


def refused(line: str) -> None:
    """A look at the line that a command would print."""
    if not line.isprintable() or not 0 < len(line) < 6000:
        raise AssertionError(f"not one printable line of reasonable length: {line[:300]!r}")


class Reader(NamedTuple):
    """How a kind of file is fuzzed.

    Attributes:
        name: of the file in its folder.
        make: lays out a folder of valid files.
        read: reads the file in all ways that there are.
        mutate: harms its content.
        refusals: ways to read it that do not suit a valid file.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], None]
    mutate: Mutation
    refusals: int = 0


def _batch() -> MixtureBatch:
    soi, bits = torch.from_numpy(WAVES), torch.tensor([[0, 1, 1, 0]] * ROWS, dtype=torch.uint8)
    zeros = torch.zeros(ROWS, dtype=torch.int64)
    levels = torch.arange(-30.0, 1.0, 3.0)
    return MixtureBatch(soi + 1, soi, torch.ones_like(soi), bits, zeros + BITS, levels, zeros, zeros, zeros)


def _set(folder: Path) -> None:
    header = TestSetHeader(*PAIR, ROWS, SAMPLES, BITS, 25e6, "0" * 32, 1, {"a": 1})
    write_mixtures(folder, header, [_batch()])


def _official(folder: Path) -> None:
    _set(folder / "own")
    convert(folder / "own", folder, *PAIR)


def _npy(array: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "a.npy", array)


def _read_npy(path: Path) -> None:
    for read, shape in ((read_complex, (None, None)), (read_bits, (None, None)), (read_floats, (None,))):
        with answered():
            np.sum(read(path, shape) != 0)
    with answered():
        bits = read_bits(path, (None, None))
        assert bits.dtype == np.uint8
        assert bits.size == 0 or int(bits.max()) <= 1
    with answered():
        read_text(path, (None, None))
    with answered():
        count_errors(path, path)
    _read_capture(path)


def _read_capture(path: Path, hints: Hints = NO_HINTS) -> None:
    with answered():
        capture = open_capture(path, hints)
        look_at(capture, lambda count: None)
        assert np.isfinite(capture.read(0, min(3, capture.facts.num_samples))).all()


def _make_npz(folder: Path) -> None:
    np.savez(folder / "a.npz", a=np.arange(5) * 1j, b=np.zeros((2, 2)))


def _read_npz(path: Path) -> None:
    with answered():
        read_npz_vector(path, "a")
    with answered():
        read_npz(path)
    _read_capture(path)


def _make_pickle(folder: Path) -> None:
    arrays = (WAVES, WAVES[:, :2].T, np.ones((2, 2), np.uint8))
    (folder / "a.pkl").write_bytes(pickle.dumps(arrays, 4))


def _read_pickle(path: Path) -> None:
    with answered():
        for array in read_arrays(path):
            assert array.dtype.kind in "biufc"


def _make_hdf5(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w", libver="latest") as file:
        file.create_dataset("dataset", data=WAVES, chunks=(4, 8), compression="gzip", shuffle=True, fletcher32=True)
        file["sig_type"] = "EMISignal1"


def _make_lzf(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        waves = np.round(WAVES).astype(np.complex128)
        file.create_dataset("dataset", data=waves, chunks=(4, 8), compression="lzf", shuffle=True)


def _make_numpys_submission(folder: Path) -> None:
    """Bits as the organisers' scripts save them, an estimate as numpy computes it."""
    for kind, array in (("soi", WAVES.astype(np.complex128)), ("bits", np.ones((ROWS, BITS), np.float32))):
        np.save(folder / _estimate.format(kind), array)


def _make_hdf5_capture(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("received", data=WAVES[0], chunks=(8,), compression="gzip")
        file["other"] = h5py.SoftLink("/received")
        file.attrs["sample_rate_hz"] = 1e6


def _read_hdf5(path: Path) -> None:
    with answered():
        read_frames(path)
    _read_capture(path)


def _read_set(path: Path) -> None:
    with answered():
        read_own_mixtures(path.parents[1], *PAIR)
    with answered():
        read_own_truth(path.parents[1], *PAIR)


def _read_official(path: Path) -> None:
    with answered():
        found = read_official_mixtures(path.parent, *PAIR)
        assert np.isfinite(found.sinr_db).all()
    with answered():
        read_official_truth(path.parent, *PAIR)


def _make_sigmf(folder: Path) -> None:
    fields = {"core:datatype": "ci16_le", "core:version": "1.2.0", "core:sample_rate": 2e6, "core:description": "a"}
    captures = [{"core:sample_start": 0, "core:frequency": 1e9}]
    content = {"global": fields, "captures": captures, "annotations": [{"core:sample_start": 0}]}
    (folder / "a.sigmf-meta").write_text(json.dumps(content))
    (folder / "a.sigmf-data").write_bytes(bytes(range(64)))


def _samples() -> np.ndarray:
    return np.round(np.random.default_rng(0).normal(0, 3000, (64, 2))).astype("<i2")


def _make_wav(folder: Path) -> None:
    scipy.io.wavfile.write(folder / "a.wav", 48000, _samples())


def _make_matlab(folder: Path) -> None:
    scipy.io.savemat(folder / "a.mat", {"x": WAVES[0].astype(complex), "fs": 1e6, "name": "x"}, do_compression=True)


def _make_blue(folder: Path) -> None:
    data = _samples().tobytes()
    head = b"BLUEEEEIEEEI" + struct.pack("<5i2di", 0, 0, 0, 0, 0, 512.0, float(len(data)), 1000) + b"CI"
    head = head.ljust(256, b"\0") + struct.pack("<2di", 0.0, 1e-6, 1)
    (folder / "a.blue").write_bytes(head.ljust(512, b"\0") + data)


def _make_archive(folder: Path) -> None:
    _make_sigmf(folder)
    sigmf.archive.SigMFArchive(sigmf.fromfile(str(folder / "a.sigmf-meta")), name=str(folder / "b.sigmf"))


def _make_zipped_archive(folder: Path) -> None:
    _make_sigmf(folder)
    sigmf.archive.SigMFArchive(sigmf.fromfile(str(folder / "a.sigmf-meta")), name=str(folder / "b.sigmf.zip"))


def _make_packed_archive(folder: Path) -> None:
    _make_archive(folder)
    (folder / "b.sigmf.gz").write_bytes(gzip.compress((folder / "b.sigmf").read_bytes()))


def _make_digital_rf(folder: Path) -> None:
    name = "filled/2023-11-14T22-00-00/rf@1700000000.200.h5"
    archive = Path(__file__).parents[1] / "storage" / "captures" / "digital_rf.zip"
    with zipfile.ZipFile(archive) as opened:
        (folder / "rf@1700000000.200.h5").write_bytes(opened.read(name))


def _make_pairs(folder: Path) -> None:
    pairs = np.zeros(64, [("r", "<i2"), ("i", "<i2")])
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("group/received", data=pairs, chunks=(8,), compression="gzip")


def _make_grouped(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["a/b"] = WAVES[0]


def _read_grouped(path: Path) -> None:
    _read_capture(path, Hints(dataset="a/b"))


def _read_manifest(path: Path) -> None:
    with answered():
        verify(path.parent)


def _make_safetensors(folder: Path) -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(3, dtype=torch.int64)}
    (folder / "a.safetensors").write_bytes(safetensors.torch.save(tensors, {"facts": "{}"}))


def _read_safetensors(path: Path) -> None:
    with answered():
        read_weights(path)
    with answered():
        read_metadata(path)


def _make_checkpoint(folder: Path) -> None:
    content = {"state_dict": {"a": torch.ones(2)}, "global_step": 3, "facts": {"minutes": 1.0}, "x": [(1, "b"), None]}
    torch.save(content, folder / "a.ckpt")


def _read_checkpoint(path: Path) -> None:
    with answered():
        read_checkpoint(path)
    with answered():
        read_weights(path)


def _make_submission(folder: Path) -> None:
    bits = np.zeros((ROWS, BITS), np.uint8)
    write_submission(folder, "team", "set", *PAIR, [(WAVES, bits)], ROWS, SAMPLES, BITS)


def _read_submission(path: Path) -> None:
    with answered():
        for entry in find_submissions(path.parent, "set"):
            for submission in list_submissions(entry, "set"):
                soi, bits = read_submission(submission, ROWS, SAMPLES, BITS)
                assert soi.dtype == np.complex64
                assert np.isfinite(soi).all()
                assert int(bits.max()) <= 1


def _make_scores(folder: Path) -> None:
    write_json(folder / "scores.json", sealed({"schema": 1, "id": "a", "testset": "set", "card": {}, "results": []}))


def _read_scores(path: Path) -> None:
    with suppress(KeyError), answered():  # sealed ones are ours, and whole
        collect(path.parent)


def _make_card(folder: Path) -> None:
    card = {"id": "a", "blind": True, "parameters": 5, "macs_per_sample": 1.0, "commit": "abc", "date": "2026-01-01"}
    write_json(
        folder / "card.json", card | {"seed": 0, "train_flops": 1e9, "train_minutes": 3, "seconds_per_mixture": 0.1}
    )


def _read_card(path: Path) -> None:
    with answered():
        card = declared_card(path, "a")
        json.dumps(sealed(card), allow_nan=False, ensure_ascii=False).encode()
        [float(value) for value in card.values() if isinstance(value, int | float)]


def _make_run(folder: Path) -> None:
    source = ZOO / "tokenizer_qpsk"
    for suffix in (".yaml", ".safetensors"):
        shutil.copy(source.with_suffix(suffix), folder / f"a{suffix}")


def _read_run(path: Path) -> None:
    with answered():
        open_run(str(path.with_suffix(".safetensors")))


def _make_interference(folder: Path) -> None:
    modem = {"_target_": "rfsep.signals.ofdm_modem.OfdmModem", "fft_size": 64, "cyclic_prefix_length": 16}
    (folder / "interference.yaml").write_text(yaml.safe_dump({"findings": {"kind": "ofdm"}, "modem": modem}))


def _read_interference(path: Path) -> None:
    with answered():
        read_interference(path)


_GROWN = [Grown("a.bin", np.dtype("<c8"), (8,), False), Grown("b.npy", np.dtype("u1"), (8,), True)]
_CHUNK = {"a.bin": np.ones(2, np.complex64), "b.npy": np.ones(2, np.uint8)}


def _make_state(folder: Path) -> None:
    with GrowingFiles(folder, {"x": [1]}, _GROWN) as files:
        files.append(_CHUNK, 0.1, {})
        files.save()


def _read_state(path: Path) -> None:
    with answered(), GrowingFiles(path.parent, {"x": [1]}, _GROWN) as files:
        files.append(_CHUNK, 0.1, {})


def _make_metrics(folder: Path) -> None:
    (folder / "metrics.csv").write_text("step,metric,value\n0,train/loss,1.5\n1,val/mse_db,-3\n5,train/loss,1\n")


def _read_metrics(path: Path) -> None:
    with answered():
        for row in read_metrics(path):
            int(row["step"]), float(row["value"])
    with answered():
        MetricsCsv(path, 2)


_npy_mutation = mixed(mutations.of_npy)
_json_mutation, _pickle_mutation = mixed(mutations.of_json), mixed(mutations.of_pickle)
_mixture, _truth = "mixture/QPSK_OFDMQPSK.h5", "truth/QPSK_OFDMQPSK.h5"
_metadata, _official_truth = "own_testmixture_QPSK_OFDMQPSK_metadata.npy", "GroundTruth_own_Dataset_QPSK_OFDMQPSK.pkl"
_estimate = "team_set_estimated_{}_QPSK_OFDMQPSK.npy"

READERS: dict[str, Reader] = {
    "npy": Reader("a.npy", _npy(WAVES), _read_npy, _npy_mutation, 6),
    "npy_bits": Reader("a.npy", _npy(np.ones((3, 5), bool)), _read_npy, _npy_mutation, 5),
    "npy_bits_float": Reader("a.npy", _npy(np.ones((3, 5), np.float32)), _read_npy, _npy_mutation, 5),
    "npy_text": Reader("a.npy", _npy(np.array([["-12.0", "a"]])), _read_npy, _npy_mutation, 6),
    "npz": Reader("a.npz", _make_npz, _read_npz, mixed(mutations.of_zip(_npy_mutation))),
    "pickle": Reader("a.pkl", _make_pickle, _read_pickle, _pickle_mutation),
    "hdf5": Reader("a.h5", _make_hdf5, _read_hdf5, mixed(), 1),
    "hdf5_lzf": Reader("a.h5", _make_lzf, _read_hdf5, mixed(), 1),
    "hdf5_capture": Reader("a.h5", _make_hdf5_capture, _read_hdf5, mixed(), 1),
    "mixtures": Reader(_mixture, _set, _read_set, mixed()),
    "truth": Reader(_truth, _set, _read_set, mixed()),
    "official_metadata": Reader(_metadata, _official, _read_official, _npy_mutation),
    "official_truth": Reader(_official_truth, _official, _read_official, _pickle_mutation),
    "sigmf": Reader("a.sigmf-meta", _make_sigmf, _read_capture, _json_mutation),
    "wav": Reader("a.wav", _make_wav, _read_capture, mixed()),
    "matlab": Reader("a.mat", _make_matlab, _read_capture, mixed()),
    "blue": Reader("a.blue", _make_blue, _read_capture, mixed()),
    "sigmf_archive": Reader("b.sigmf", _make_archive, _read_capture, mixed()),
    "sigmf_archive_packed": Reader("b.sigmf.gz", _make_packed_archive, _read_capture, mixed()),
    "sigmf_archive_zip": Reader(
        "b.sigmf.zip", _make_zipped_archive, _read_capture, mixed(mutations.of_zip(_json_mutation))
    ),
    "digital_rf": Reader("rf@1700000000.200.h5", _make_digital_rf, _read_capture, mixed()),
    "hdf5_linked": Reader("a.h5", _make_grouped, _read_grouped, mixed()),
    "hdf5_pairs": Reader("a.h5", _make_pairs, _read_capture, mixed()),
    "manifest": Reader("manifest.json", _set, _read_manifest, _json_mutation),
    "safetensors": Reader("a.safetensors", _make_safetensors, _read_safetensors, mixed(mutations.of_safetensors)),
    "checkpoint": Reader("a.ckpt", _make_checkpoint, _read_checkpoint, mixed(mutations.of_zip(_pickle_mutation))),
    "submission_soi": Reader(_estimate.format("soi"), _make_submission, _read_submission, _npy_mutation),
    "submission_bits": Reader(_estimate.format("bits"), _make_submission, _read_submission, _npy_mutation),
    "submission_soi_128": Reader(_estimate.format("soi"), _make_numpys_submission, _read_submission, _npy_mutation),
    "submission_bits_float": Reader(_estimate.format("bits"), _make_numpys_submission, _read_submission, _npy_mutation),
    "scores": Reader("scores.json", _make_scores, _read_scores, _json_mutation),
    "card": Reader("card.json", _make_card, _read_card, _json_mutation),
    "run": Reader("a.yaml", _make_run, _read_run, mixed(mutations.of_yaml)),
    "interference": Reader("interference.yaml", _make_interference, _read_interference, mixed(mutations.of_yaml)),
    "state": Reader("state.json", _make_state, _read_state, _json_mutation),
    "metrics": Reader("metrics.csv", _make_metrics, _read_metrics, mixed()),
}


class Place:
    """A folder of valid files, one of which is exchanged for harmed ones.

    Args:
        folder: empty.
        name: of the reader.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.reader = READERS[name]
        folder.mkdir(exist_ok=True)
        self.reader.make(folder)
        self.path = folder / self.reader.name
        self.valid = self.path.read_bytes()
        self.others = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path != self.path}

    def read(self, content: bytes) -> None:
        """Read a file of this content.

        Raises:
            BaseException: the reader failed in any other way than it should.
        """
        if self.reader.name == "state.json":  # the only reader that writes
            for path, other in self.others.items():
                path.write_bytes(other)
        self.path.unlink(missing_ok=True)  # HDF5 takes a file of the same inode for the one that it may still hold open
        self.path.write_bytes(content)
        self.reader.read(self.path)
