"""The command rfsep identify: what it prints and writes, what it refuses, and that its YAML is read with care."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from shell import command

from rfsep.app.trust import read_interference
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError

COMMAND = [sys.executable, "-c", "from rfsep.app.commands import main; main()", "identify"]
SMALL = ["--num-frames", "8", "--num-samples", "4096"]


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return command("rfsep", "identify", *arguments, cwd=cwd, **variables)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    source = RandomCrop(OfdmModem("qam16", 128, 16, (10, 9)))
    np.save(tmp_path / "heard.npy", source.sample(12, 6000, batch_generator(Purpose.TEST, 0)).waveform.numpy())
    return tmp_path / "heard.npy"


def test_an_option_is_identified_and_its_modem_read_back(tmp_path: Path) -> None:
    done = run("ofdm_qpsk", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("kind: ofdm  (confidence ")
    assert any(line.startswith("fft_size: 64  (confidence ") for line in lines)
    assert any(line.startswith("cyclic_prefix_length: 16  (confidence ") for line in lines)
    folder = tmp_path / "runs" / "identify" / "ofdm_qpsk"
    assert sorted(path.name for path in folder.iterdir()) == ["interference.yaml", "picture.png"]
    written = yaml.safe_load((folder / "interference.yaml").read_text())
    assert written["findings"]["num_guard_carriers"]["value"] == [4, 3]
    assert 0.5 < written["findings"]["constellation"]["confidence"] <= 1.0
    assert abs(written["carrier_offset"]) < 1e-4
    assert written["sample_rate_hz"] == 25e6
    with Image.open(folder / "picture.png") as picture:
        assert picture.size == (1320, 880)
    modem, true = read_interference(folder / "interference.yaml"), OfdmModem()
    bits = torch.randint(0, 2, (1, 1120), dtype=torch.uint8)
    assert torch.equal(modem.modulate(bits), true.modulate(bits))


def test_frames_of_a_file_into_a_folder_of_choice(frames: Path) -> None:
    done = run("heard.npy", "--sample-rate-hz", "1e6", "--out", "there", cwd=frames.parent)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((frames.parent / "there" / "interference.yaml").read_text())
    assert written["modem"] == {
        "_target_": "rfsep.signals.ofdm_modem.OfdmModem",
        "constellation_name": "qam16",
        "fft_size": 128,
        "cyclic_prefix_length": 16,
        "num_guard_carriers": [10, 9],
        "dc_null": True,
    }


def test_noise_has_no_modem(tmp_path: Path) -> None:
    done = run("white_noise", "--num-frames", "40", "--num-samples", "4096", "--out", ".", cwd=tmp_path)
    assert done.stdout.startswith("kind: noise")
    with pytest.raises(InputError, match=r"interference\.yaml: names no modem"):
        read_interference(tmp_path / "interference.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ofdm_qspk"], ["ofdm_qspk", "ofdm_qpsk", "recording"]),
        (["nowhere.npy"], ["nowhere.npy"]),
        (["nowhere.sigmf-meta"], ["nowhere.sigmf-meta"]),
        (["broken.npy"], ["broken.npy", "row 1, sample 7 is NaN"]),
        (["real.npy"], ["real.npy", "(3, 1000)", "[T, 2] of real I and Q"]),
        (["ofdm_qpsk", "--num-samples", "100"], ["100 samples", "512"]),
        (["ofdm_qpsk", "--num-frames", "0"], ["--num-frames"]),
        (["ofdm_qpsk", "--split", "all"], ["'all'", "train, val, test"]),
        (["ofdm_qpsk", "--frames", "3"], ["--frames"]),
        (["ofdm_qpsk", *SMALL, "--out", "broken.npy"], ["broken.npy"]),
        (["wifi20"], ["RFSEP_RECORDINGS is not set"]),
        ([], ["interference"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_words_and_files_are_refused_in_one_line(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    values = np.ones((2, 1000), np.complex64)
    np.save(tmp_path / "real.npy", np.ones((3, 1000), np.float32))
    values[1, 7] = np.nan
    np.save(tmp_path / "broken.npy", values)
    before = sorted(tmp_path.rglob("*"))
    done = command("rfsep", "identify", *arguments, cwd=tmp_path, without="RFSEP_RECORDINGS")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert sorted(tmp_path.rglob("*")) == before


AT_WORK = """
from rfsep.signals.random_crop import RandomCrop

sample = RandomCrop.sample


def told(*arguments):
    print("drawing frames", flush=True)
    return sample(*arguments)


RandomCrop.sample = told
from rfsep.app.commands import main

main()
"""  # the command, which says when its work has begun


def test_an_interrupt_ends_with_130_and_writes_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, "identify", "ofdm_qpsk", "--num-frames", "20000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"drawing frames\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130, stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modem: {_target_: os.system, command: touch x}", "os.system"),
        ("modem: {_target_: rfsep.signals.ofdm_modem.torch.load, f: x}", "torch.load"),
        ("modem: {_target_: rfsep.signals.ofdm_modem.Tensor}", "Tensor"),
        ("modem: {_target_: rfsep.models.unet.UNet}", "rfsep.models.unet.UNet"),
        ("modem: {_target_: rfsep.signals.ofdm_modem.OfdmModem, fft_size: {_target_: os.getcwd}}", "os.getcwd"),
        ("modem: {_target_: rfsep.signals.ofdm_modem.OfdmModem, _partial_: true}", "_partial_"),
        ("modem: {_target_: rfsep.signals.ofdm_modem.OfdmModem, size: 64}", "size"),
        ("modem: {_target_: rfsep.signals.ofdm_modem.OfdmModem, num_guard_carriers: [40, 40]}", "cannot be made"),
        ("modem: {fft_size: 64}", "names no modem"),
        ("modem: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("[1, 2]", "not a YAML mapping"),
    ],
)
def test_a_strange_yaml_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "interference.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refusal:
        read_interference(path)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_interference(tmp_path / "nothing.yaml")
