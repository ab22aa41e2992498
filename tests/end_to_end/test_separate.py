"""The commands rfsep embed and rfsep separate: bits out of a capture, however it is cut, stopped or stored."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sigmf
import torch
from shell import wait_until

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.joint_detection import JointDetection
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop

RATE = 19.2e6
NUM_SAMPLES = 40007  # no whole number of symbols
KNOWN = ("--soi-power-db", "0", "--soi-start", "0", "--keep-dc")
Rfsep = Callable[..., Any]


@pytest.fixture
def rfsep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Rfsep) -> Rfsep:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return rfsep_command


@pytest.fixture
def heard(tmp_path: Path) -> np.ndarray:
    """QPSK in OFDM at 6 dB, complex64 [NUM_SAMPLES]; its bits in truth.npy and itself in heard.npy."""
    modem, generator = LinearModem(), batch_generator(Purpose.TEST, 5)
    soi = modem.sample(1, NUM_SAMPLES, generator)
    interference = RandomCrop(OfdmModem(), power=56 / 64).sample(1, NUM_SAMPLES, generator).waveform
    mixture: np.ndarray = (soi.waveform + 0.5 * interference)[0].numpy()
    np.save(tmp_path / "truth.npy", soi.bits[0].numpy())
    np.save(tmp_path / "heard.npy", mixture)
    return mixture


def separated(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.fromfile(folder / "soi.sigmf-data", "<c8"), np.load(folder / "bits.npy")


def contents(folder: Path) -> dict[str, bytes]:
    """Of the files that have to be the same however often a run was stopped."""
    followed = [name for name in ("track.npy", "symbols.npy", "llr.npy") if (folder / name).exists()]
    return {name: (folder / name).read_bytes() for name in ("soi.sigmf-data", "bits.npy", "power.npy", *followed)}


def test_chunks_give_what_one_piece_gives(rfsep: Rfsep, tmp_path: Path, heard: np.ndarray) -> None:
    """The estimate of every window is the same, for windows fall where they fall in the uncut signal."""
    modem = LinearModem()
    examples = RandomCrop(OfdmModem()).sample(20, 4096, batch_generator(Purpose.EXAMPLES)).waveform
    np.save(tmp_path / "examples.npy", (examples / examples.abs().square().mean().sqrt()).numpy())
    common = (
        "separate",
        "heard.npy",
        "--sample-rate",
        "25e6",
        *KNOWN,
        "--track",
        "none",
        "--chunk-samples",
        "6000",
        "--out",
    )
    linear = ("--separator", "cyclic_lmmse", "--examples", "examples.npy", "--set", "method.block=1280")
    hard = ("--separator", "matched_filter", "--set", "method.remodulation=hard")
    quickly = ("--set", "method.num_mixtures=1", "--set", "method.num_samples=640")
    selected = ("--separator", "selected", "--examples", "examples.npy", *quickly)
    nothing = torch.zeros((0, 0), dtype=torch.complex64)
    learned = torch.from_numpy(np.load("examples.npy"))
    uncut = {
        "hard": MatchedFilter(modem, nothing, "hard"),
        "linear": CyclicLmmse(modem, learned, block=1280),
        "selected": JointDetection(modem, learned),
    }
    whole = {name: separator.separate(torch.from_numpy(heard)[None]) for name, separator in uncut.items()}
    for name, options in (("hard", hard), ("linear", linear), ("selected", selected)):
        status, _, complaint = rfsep(*common, name, *options)
        assert status == 0, complaint
        facts = json.loads((tmp_path / name / "separate.json").read_text())
        assert facts["identity"]["chunks"]["total"] == NUM_SAMPLES
        assert len(np.load(tmp_path / name / "power.npy")) >= 5  # chunks
        soi, bits = separated(tmp_path / name)
        expected = whole[name].soi[0].numpy()
        assert np.abs(soi - expected).max() < 1e-4 * np.abs(expected).max()
        assert np.array_equal(bits, whole[name].bits[0].numpy())


def stopped(command: tuple[str, ...], folder: Path, stop: signal.Signals, num_bytes: int) -> tuple[int, str]:
    """Exit status and complaint of a process that is sent a signal when so many bytes of its estimate are there."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from rfsep.app.commands import main; main()", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    partial = folder / "soi.sigmf-data.partial"
    wait_until(lambda: (folder / "state.json").exists() and partial.stat().st_size > num_bytes, process)
    process.send_signal(stop)
    _, complaint = process.communicate(timeout=60)
    return process.returncode, complaint


def test_a_stopped_run_is_gone_on_with_to_the_same_bytes(rfsep: Rfsep, tmp_path: Path, heard: np.ndarray) -> None:
    """Interrupted once, killed once."""
    np.save(tmp_path / "long.npy", np.tile(heard, 60))
    command = ("separate", "long.npy", "--sample-rate", "25e6", *KNOWN, "--separator", "matched_filter")
    cut, folder = ("--chunk-samples", "2560", "--out"), tmp_path / "stopped"
    assert rfsep(*command, *cut, "undisturbed")[0] == 0
    status, complaint = stopped((*command, *cut, "stopped"), folder, signal.SIGINT, 300_000)
    assert (status, complaint) == (130, "interrupted; the same command goes on where it stopped\n")
    kept = json.loads((folder / "state.json").read_text())["chunks"]
    assert kept > 10, "an interrupt keeps what was done"
    status, complaint = stopped((*command, *cut, "stopped"), folder, signal.SIGKILL, kept * 2560 * 8 + 300_000)
    assert status == -signal.SIGKILL, complaint
    assert json.loads((folder / "state.json").read_text())["chunks"] > kept
    assert not (folder / "soi.sigmf-data").exists(), "nothing that is not whole has its name"
    status, _, refusal = rfsep(*command, "--chunk-samples", "5120", "--out", "stopped")
    assert status == 2
    assert "stopped: holds another run: chunks was" in refusal
    assert rfsep(*command, *cut, "stopped")[0] == 0
    names = ["bits.npy", "llr.npy", "power.npy", "report.html", "separate.json", "soi.sigmf-data", "soi.sigmf-meta"]
    names += ["symbols.npy", "track.npy"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert contents(folder) == contents(tmp_path / "undisturbed")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    status, said, _ = rfsep(*command, *cut, "stopped", "--truth", "truth.npy")
    assert status == 0
    assert "finished already" in said
    assert "BER 0 (0 of 5000 bits)" in said, said
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_level_a_timing_a_carrier_and_a_rate_of_its_own(rfsep: Rfsep, tmp_path: Path) -> None:
    """What a receiver hears of a SOI at 20 Msps, 300 kHz beside its centre, with a DC offset."""
    modem, generator = LinearModem(), batch_generator(Purpose.TEST, 6)
    soi = modem.sample(1, 153_600, generator)
    sent = soi.waveform[0].numpy()
    spectrum = np.fft.fft(sent)
    size = 153_600 * 25 // 24  # 19.2 to 20 Msps
    padded = np.zeros(size, np.complex128)
    padded[:76_800], padded[-76_800:] = spectrum[:76_800], spectrum[76_800:]
    fast = np.fft.ifft(padded) * 25 / 24
    at = np.arange(size) / 20e6
    fast = 0.05 * fast * np.exp(2j * np.pi * 300e3 * at + 1j) + 0.02 - 0.01j
    quantised = np.round(np.stack((fast.real, fast.imag), -1) * 2**15).astype(">i2")
    delay = np.zeros((25 * 4 + 5, 2), ">i2") + np.round(np.array([0.02, -0.01]) * 2**15).astype(">i2")
    (tmp_path / "heard.bin").write_bytes(delay.tobytes() + quantised.tobytes())
    np.save(tmp_path / "truth.npy", soi.bits[0].numpy())
    phase = np.degrees(1 - 2 * np.pi * 300e3 * len(delay) / 20e6)
    options = ("--datatype", "ci16_be", "--sample-rate", "20e6", "--resample", "19.2e6", "--offset-hz", "300e3")
    tuned = ("--phase-deg", str(phase), "--separator", "matched_filter", "--truth", "truth.npy")
    status, said, complaint = rfsep(
        "separate", "heard.bin", *options, *tuned, "--out", "found", "--chunk-samples", "9999"
    )
    assert status == 0, complaint
    tuning = json.loads((tmp_path / "found" / "separate.json").read_text())["identity"]["tuning"]
    assert tuning["start"] == round(len(delay) * 0.96) % 16
    assert abs(10 * np.log10(tuning["soi_power"]) - 20 * np.log10(0.05)) < 0.3
    assert np.allclose(tuning["dc"], [0.02, -0.01], atol=2e-3)
    start = ("--soi-start", str(round(len(delay) * 0.96)))
    assert rfsep("separate", "heard.bin", *options, *tuned, *start, "--out", "given")[0] == 0
    status, said, _ = rfsep("separate", "heard.bin", *options, *tuned, *start, "--out", "given")
    assert "BER 0 (0 of 19200 bits)" in said, said
    estimate = separated(tmp_path / "given")[0]
    assert np.mean(np.abs(estimate[:145_000] - sent[:145_000]) ** 2) < 1e-2


def test_every_kind_of_file_gives_the_same(rfsep: Rfsep, tmp_path: Path, heard: np.ndarray) -> None:
    heard.tofile(tmp_path / "heard.iq")
    heard.astype(">c16").tofile(tmp_path / "heard.big")
    with h5py.File(tmp_path / "heard.h5", "w") as file:
        file.create_dataset("received", data=heard, chunks=(1000,), compression="gzip")
        file.create_dataset("other", data=np.ones(3))
        file.attrs["sample_rate_hz"] = 25e6
    meta = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": 25e6}
    content = {"global": meta, "captures": [{"core:sample_start": 0, "core:frequency": 1e9}], "annotations": []}
    (tmp_path / "heard.sigmf-meta").write_text(json.dumps(content))
    heard.tofile(tmp_path / "heard.sigmf-data")
    rate = ("--sample-rate", "25e6")
    kinds: dict[str, tuple[str, ...]] = {
        "heard.npy": rate,
        "heard.iq": ("--datatype", "cf32_le", *rate),
        "heard.big": ("--datatype", "cf64_be", *rate),
        "heard.h5": (),
        "heard.sigmf-meta": (),
    }
    for name, options in kinds.items():
        status, _, complaint = rfsep(
            "separate", name, *options, *KNOWN, "--separator", "matched_filter", "--out", f"out-{name}"
        )
        assert status == 0, complaint
        assert contents(tmp_path / f"out-{name}") == contents(tmp_path / "out-heard.npy")
    written = sigmf.fromfile(str(tmp_path / "out-heard.sigmf-meta" / "soi.sigmf-meta"))
    written.validate()
    assert written.get_captures()[0]["core:frequency"] == 1e9
    assert written.get_annotations()[0]["core:label"] == "QPSK"
    assert len(written.read_samples()) == NUM_SAMPLES  # which also checks the SHA-512
    provenance = written.get_global_info()["rfsep:provenance"]
    assert provenance["separator"]["name"] == "matched_filter"
    assert provenance["command"].startswith("rfsep separate heard.sigmf-meta")
    assert len(provenance["source"]["sha256"]) == 64
    page = (tmp_path / "out-heard.npy" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 10
    assert "://" not in page


def test_embed_gives_a_capture_whose_bits_come_back(rfsep: Rfsep, tmp_path: Path, heard: np.ndarray) -> None:
    heard.tofile(tmp_path / "quiet.iq")
    made = ("--datatype", "cf32_le", "--sample-rate", "1e6", "--sinr-db", "9", "--seconds", "0.3", "--out", "made")
    status, said, complaint = rfsep("embed", "quiet.iq", *made)
    assert status == 0, complaint
    level = said.split("amplitude of the SOI: ")[1].split(" dB")[0]
    recording = np.tile(heard, 8)[:300_000]
    soi = np.fromfile(tmp_path / "made" / "capture.sigmf-data", "<c8") - recording
    bits = np.load(tmp_path / "made" / "truth_bits.npy")
    power = np.mean(np.abs(heard) ** 2) - np.abs(heard.mean()) ** 2
    assert abs(10 * np.log10(np.mean(np.abs(soi) ** 2) / power) - 9) < 0.05
    sent = LinearModem().modulate(torch.from_numpy(bits)[None])[0].numpy() * 10 ** (float(level) / 20)
    assert np.abs(soi - sent).max() < 1e-3 * np.abs(sent).max()
    common = ("--separator", "matched_filter", "--truth", "made/truth_bits.npy", "--out", "out")
    status, said, complaint = rfsep("separate", "made/capture.sigmf-meta", *common)
    assert status == 0, complaint
    assert "first symbol at sample 0 (estimated)" in said
    errors = int(said.split("BER ")[1].split("(")[1].split(" of")[0])
    assert errors < 0.01 * len(bits)


def _broken(folder: Path) -> None:
    """Files that nothing can be made of."""
    good = np.exp(2j * np.pi * 0.01 * np.arange(1000)).astype(np.complex64)
    holes = good.copy()
    holes[700] = np.nan
    holes.tofile(folder / "holes.iq")
    np.save(folder / "holes.npy", holes)
    np.save(folder / "real.npy", good.real)
    np.save(folder / "rows.npy", good.reshape(2, -1))
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    np.full(1000, 1e200, "<c16").tofile(folder / "huge.iq")
    (folder / "cut.iq").write_bytes(good.tobytes()[:5])
    (folder / "cut.npy").write_bytes((folder / "real.npy").read_bytes()[:-1])
    (folder / "empty.iq").write_bytes(b"")
    with (folder / "vast.iq").open("wb") as file:
        file.truncate(1 << 43)  # holes alone
    good.tofile(folder / "good.iq")
    (folder / "text.h5").write_text("no HDF5")
    with h5py.File(folder / "other.h5", "w") as file:
        file["a"] = h5py.ExternalLink("holes.h5", "x")
    with h5py.File(folder / "several.h5", "w") as file:
        file["a"], file["b"] = good, good
    fields = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": 1e6}
    for name, changes in {
        "alone": {},
        "odd": {"core:datatype": "cf16_le"},
        "hash": {"core:sha512": "0" * 128},
        "link": {},
        "away": {"core:dataset": "../../etc/passwd"},
        "slow": {"core:sample_rate": -1},
    }.items():
        content = {"global": fields | changes, "captures": [], "annotations": []}
        (folder / f"{name}.sigmf-meta").write_text(json.dumps(content))
        if name not in ("alone", "link"):
            good.tofile(folder / f"{name}.sigmf-data")
    (folder / "link.sigmf-data").symlink_to("/etc/passwd")
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")


FILTER = ("--separator", "matched_filter", "--out", "out", *KNOWN)
RAW = ("--datatype", "cf32_le", "--sample-rate", "1e6")
TO_1E6 = ("--sample-rate", "1e6")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.iq", *FILTER, *RAW), ["nowhere.iq: no such file"]),
        (("good.iq", *FILTER), ["good.iq", "datatype", "ci16_le"]),
        (("good.iq", *FILTER, "--datatype", "cf32_le"), ["good.iq", "--sample-rate"]),
        (("good.iq", *FILTER, "--datatype", "cx99", *TO_1E6), ["'cx99'", "cf32_le"]),
        (("good.iq", *FILTER, *RAW, "--sample-rate", "-5"), ["--sample-rate", "-5"]),
        (("good.iq", *FILTER, *RAW, "--sample-rate", "nan"), ["--sample-rate", "nan"]),
        (("good.iq", *FILTER, *RAW, "--resample", "0"), ["--resample", "0"]),
        (("good.iq", *FILTER, *RAW, "--offset-hz", "inf"), ["offset", "inf"]),
        (("good.iq", *FILTER, *RAW, "--offset-hz", "6e5"), ["--offset-hz", "600000", "1e+06"]),
        (("good.iq", *FILTER, *RAW, "--soi-power-db", "1e9"), ["--soi-power-db", "300"]),
        (("good.iq", *FILTER, *RAW, "--soi-start", "5000"), ["--soi-start"]),
        (("good.iq", *FILTER, *RAW, "--soi", "cosines_gaussian"), ["cosines_gaussian", "no bits"]),
        (("good.iq", *FILTER, *RAW, "--soi", "qspk"), ["'qspk'", "qpsk"]),
        (("good.iq", *FILTER, *RAW, "--run", "zoo:nothing"), ["matched_filter", "--run"]),
        (("good.iq", *FILTER, *RAW, "--set", "method.remod=hard"), ["method.remod", "method.remodulation"]),
        (("good.iq", *FILTER, *RAW, "--set", "method._target_=os.system"), ["os.system", "refused"]),
        (("good.iq", *FILTER, *RAW, "--set", "method.remodulation=[1]"), ["method.remodulation", "'soft'"]),
        (("good.iq", *FILTER, *RAW, "--set", "blind"), ["'blind'", "KEY=VALUE"]),
        (("good.iq", *FILTER, *RAW, "--dataset", "x"), ["good.iq", "'x'"]),
        (("good.iq", *RAW, "--separator", "nobody", "--out", "out"), ["'nobody'", "matched_filter"]),
        (("good.iq", *RAW, "--separator", "neural", "--out", "out"), ["neural", "--run"]),
        (("good.iq", *RAW, "--run", "zoo:nothing", "--out", "out"), ["zoo:nothing"]),
        (("good.iq", *RAW, "--out", "out"), ["--separator", "--run"]),
        (("good.iq", *RAW, "--separator", "lmmse", "--out", "out"), ["lmmse", "--examples"]),
        (("good.iq", *RAW, "--separator", "lmmse", "--set", "method.sinr=known", "--out", "out"), ["sinr", "known"]),
        (("good.iq", *RAW, "--separator", "matched_filter", "--out", "out"), ["level", "--soi-power-db"]),
        (("good.iq", *FILTER, *RAW, "--out", "full"), ["full", "mine.txt"]),
        (("good.iq", *FILTER, *RAW, "--out", "good.iq"), ["good.iq"]),
        (("good.iq", *FILTER, *RAW, "--truth", "nowhere.npy"), ["nowhere.npy"]),
        (("good.iq", *FILTER, *RAW, "--truth", "real.npy"), ["real.npy", "float32"]),
        (("good.iq", *FILTER, *RAW, "--keep_dc"), ["--keep_dc"]),
        (("holes.iq", *FILTER, *RAW), ["holes.iq", "sample 700", "nan"]),
        (("holes.npy", *FILTER, *TO_1E6), ["holes.npy", "sample 700"]),
        (("huge.iq", *FILTER, "--datatype", "cf64_le", *TO_1E6), ["huge.iq", "sample 0", "inf"]),
        (("cut.iq", *FILTER, *RAW), ["cut.iq", "no samples", "5 bytes"]),
        (("empty.iq", *FILTER, *RAW), ["empty.iq", "no samples"]),
        (("vast.iq", *FILTER, *RAW), ["out", "room"]),
        (("rows.npy", *FILTER, *TO_1E6), ["rows.npy", "(2, 500)"]),
        (("objects.npy", *FILTER, *TO_1E6), ["objects.npy", "pickled"]),
        (("cut.npy", *FILTER, *TO_1E6), ["cut.npy", "truncated"]),
        (("real.npy", *FILTER, *RAW), ["real.npy", "cf32_le"]),
        (("text.h5", *FILTER, *TO_1E6), ["text.h5", "HDF5"]),
        (("other.h5", *FILTER, *TO_1E6), ["other.h5", "links are not followed"]),
        (("several.h5", *FILTER, *TO_1E6), ["several.h5", "2 datasets", "'a', 'b'"]),
        (("alone.sigmf-meta", *FILTER), ["alone.sigmf-data", "no such file"]),
        (("odd.sigmf-meta", *FILTER), ["odd.sigmf-meta", "'cf16_le'"]),
        (("hash.sigmf-meta", *FILTER), ["hash.sigmf-data", "core:sha512"]),
        (("hash.sigmf-data", *FILTER, "--datatype", "ci8"), ["hash.sigmf-meta", "cf32_le", "ci8"]),
        (("link.sigmf-meta", *FILTER), ["link.sigmf-data", "not followed"]),
        (("away.sigmf-meta", *FILTER), ["core:dataset"]),
        (("slow.sigmf-meta", *FILTER), ["core:sample_rate is -1"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_foreign_is_refused_in_one_line(
    rfsep: Rfsep, tmp_path: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    _broken(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    status, _, complaint = rfsep("separate", *arguments)
    assert status == 2, complaint
    assert complaint.startswith("error: ")
    assert len(complaint.strip().splitlines()) == 1
    assert not [word for word in words if word not in complaint], complaint
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_a_run_stopped_when_all_but_the_page_was_there(
    rfsep: Rfsep, tmp_path: Path, heard: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    command = ("separate", "heard.npy", *TO_1E6, *FILTER)
    with monkeypatch.context() as patched:
        patched.setattr("rfsep.app.captures.results.write_separation_page", stop)
        assert rfsep(*command)[0] == 130
    assert (tmp_path / "out" / "state.json").exists()
    before = contents(tmp_path / "out")
    assert rfsep(*command)[0] == 0
    assert contents(tmp_path / "out") == before
    assert not (tmp_path / "out" / "state.json").exists()


def test_two_processes_do_not_write_into_one_folder(rfsep: Rfsep, tmp_path: Path, heard: np.ndarray) -> None:
    import fcntl

    (tmp_path / "out").mkdir()
    taken = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(taken, fcntl.LOCK_EX)
    try:
        status, _, complaint = rfsep("separate", "heard.npy", *TO_1E6, *FILTER)
    finally:
        os.close(taken)
    assert status == 2
    assert "out: another process is writing into it" in complaint
    assert rfsep("separate", "heard.npy", *TO_1E6, *FILTER)[0] == 0
