"""Files that people bring through the commands: nothing is read across a gap, at another rate or with its header."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop

HALF = 40_000  # samples of a segment
LEVEL = 2.95  # amplitude of OFDM over QPSK at which a matched filter has 7 % of the bits wrong
FILTER = ("--separator", "matched_filter", "--soi-power-db", "0", "--keep-dc")
Rfsep = Callable[..., Any]


@pytest.fixture
def rfsep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rfsep_command: Rfsep) -> Rfsep:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return rfsep_command


def mixture(num_samples: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """QPSK in OFDM, complex64 [T], and its bits."""
    generator = batch_generator(Purpose.TEST, seed)
    soi = LinearModem().sample(1, num_samples, generator)
    interference = RandomCrop(OfdmModem(), power=56 / 64).sample(1, num_samples, generator).waveform
    return (soi.waveform + LEVEL * interference)[0].numpy(), soi.bits[0].numpy()


def write_sigmf(
    path: Path, samples: np.ndarray, captures: list[dict[str, Any]], rate: float = 1e6, **more: Any
) -> None:
    """cf32_le samples and their meta file."""
    samples.astype("<c8").tofile(path.with_suffix(".sigmf-data"))
    fields = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": rate}
    named = [{f"core:{key}": value for key, value in one.items()} for one in captures]
    content = {"global": fields | {f"core:{key}": value for key, value in more.items()}, "captures": named}
    path.with_suffix(".sigmf-meta").write_text(json.dumps(content | {"annotations": []}))


def ber(said: str) -> float:
    return float(said.split("BER ")[1].split()[0])


def test_a_retune_is_not_read_across(rfsep: Rfsep, tmp_path: Path) -> None:
    """The second half comes at another phase, as it does behind a retune: read as one stretch it is half wrong."""
    samples, bits = mixture(2 * HALF)
    turned = np.concatenate((samples[:HALF], samples[HALF:] * 1j)).astype(np.complex64)
    retune = [{"sample_start": 0, "frequency": 1e9}, {"sample_start": HALF, "frequency": 1.1e9}]
    write_sigmf(Path("heard"), turned, retune)
    write_sigmf(Path("blind"), turned, [{"sample_start": 0, "frequency": 1e9}])
    for number in range(2):
        np.save(f"bits{number}.npy", bits[number * HALF // 8 :][: HALF // 8])
    np.save("bits.npy", bits)
    known = (*FILTER, "--soi-start", "0")
    status, said, _ = rfsep("separate", "blind.sigmf-meta", *known, "--out", "blind", "--truth", "bits.npy")
    assert status == 0
    assert 0.27 < ber(said) < 0.32, "this is what reading across a seam costs"
    for number, phase in enumerate(("0", "90")):
        chosen = ("--segment", str(number), "--phase-deg", phase, "--truth", f"bits{number}.npy")
        status, said, told = rfsep("separate", "heard.sigmf-meta", *known, *chosen, "--out", f"one{number}")
        assert status == 0, told
        assert 0.055 < ber(said) < 0.085
    status, said, told = rfsep("separate", "heard.sigmf-meta", *known, "--out", "both")
    assert status == 0
    assert "2 segments: 0 (40000 samples at 1000000000 Hz), 1 (40000 samples at 1100000000 Hz)" in told
    assert sorted(path.name for path in Path("both").iterdir()) == ["segment-0", "segment-1"]
    parts = [np.load(f"both/segment-{number}/bits.npy") for number in range(2)]
    assert np.array_equal(parts[0], np.load("one0/bits.npy"))
    assert json.loads(Path("both/segment-1/soi.sigmf-meta").read_text())["captures"][0]["core:frequency"] == 1.1e9
    status, _, told = rfsep("separate", "heard.sigmf-meta", *known, "--out", "no", "--truth", "bits.npy")
    assert status == 2
    assert "--segment" in told
    status, _, told = rfsep("separate", "heard.sigmf-meta", *known, "--out", "no", "--segment", "2")
    assert status == 2
    assert "no segment 2: 2 segments" in told
    status, _, told = rfsep("embed", "heard.sigmf-meta", "--sinr-db", "0", "--out", "no")
    assert status == 2
    assert "choose one with --segment" in told


def test_a_segment_that_is_too_short_is_left_out_and_the_others_finish(rfsep: Rfsep) -> None:
    samples, _ = mixture(HALF)
    seams = [{"sample_start": place, "global_index": place * 2} for place in (0, 20_000, 20_010)]
    write_sigmf(Path("heard"), samples, seams)
    status, _, told = rfsep("separate", "heard.sigmf-meta", *FILTER, "--soi-start", "0", "--out", "out")
    assert status == 2
    assert "1 of 3 segments were left out" in told
    assert "segment 1 is left out" in told
    assert [len(np.fromfile(f"out/segment-{number}/soi.sigmf-data", "<c8")) for number in (0, 2)] == [20_000, 19_990]


def test_a_gap_is_not_read_across(rfsep: Rfsep) -> None:
    """1,000 samples are missing, half a symbol more than whole ones; the first 96 belong to no capture."""
    samples, bits = mixture(2 * HALF + 1000)
    heard = np.concatenate((samples[:HALF], samples[HALF + 1000 :]))
    gap = [{"sample_start": 96, "global_index": 96}, {"sample_start": HALF, "global_index": HALF + 1000}]
    write_sigmf(Path("heard"), heard, gap)
    np.save("bits1.npy", bits[2 * ((HALF + 1000 + 8) // 16) :])
    known = (*FILTER, "--segment", "1", "--truth", "bits1.npy", "--out", "one")
    status, said, told = rfsep("separate", "heard.sigmf-meta", *known)
    assert status == 0, told
    assert "first symbol at sample 8 (estimated)" in said
    assert 0.055 < ber(said) < 0.085
    status, said, told = rfsep("separate", "heard.sigmf-meta", *FILTER, "--segment", "0", "--out", "zero")
    assert "its first 96 samples belong to no capture" in told
    assert len(np.fromfile("zero/soi.sigmf-data", "<c8")) == HALF - 96


def test_the_file_tells_its_rate_and_the_yaml_is_not_believed_against_it(
    rfsep: Rfsep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples at 2 Msps that a YAML calls 1 Msps: refused; resampled, they help as examples at 1 Msps do."""
    generator = batch_generator(Purpose.EXAMPLES)
    interference = RandomCrop(OfdmModem(), power=56 / 64).sample(1, 160_000, generator).waveform[0].numpy()
    spectrum = np.zeros(320_000, np.complex128)
    transform = np.fft.fft(interference)
    spectrum[:80_000], spectrum[-80_000:] = transform[:80_000], transform[-80_000:]
    write_sigmf(Path("fast"), 2 * np.fft.ifft(spectrum), [{"sample_start": 0}], rate=2e6)
    write_sigmf(Path("right"), interference, [{"sample_start": 0}])
    samples, bits = mixture(HALF)
    write_sigmf(Path("heard"), samples, [{"sample_start": 0}])
    np.save("bits.npy", bits)
    options = tmp_path / "options" / "interference"
    options.mkdir(parents=True)
    for name, more in (("believed", ""), ("converted", "  resample: true\n")):
        (options / f"{name}.yaml").write_text(
            f"name: {name}\nsample_rate_hz: 1e6\nsplit: train\nsource:\n"
            "  _target_: rfsep.signals.recordings.SigmfRecordings\n"
            f"  folder: {tmp_path}/fast.sigmf-meta\n  split_list: time\n  split: ${{..split}}\n  guard: 100\n{more}"
        )
    common = ("--soi-power-db", "0", "--soi-start", "0", "--keep-dc", "--separator", "lmmse", "--truth", "bits.npy")

    def separated(examples: str) -> tuple[int, str, str]:
        own = ("--config-dir", str(tmp_path / "options"))
        return rfsep(*own, "separate", "heard.sigmf-meta", *common, "--examples", examples, "--out", f"out-{examples}")

    status, _, told = separated("believed")
    assert status == 2
    assert "fast.sigmf-meta: has 2000000 samples/s, and sample_rate_hz is 1000000" in told
    errors = {name: ber(separated(name)[1]) for name in ("converted", "right.sigmf-meta", "fast.sigmf-meta")}
    assert abs(errors["converted"] - errors["right.sigmf-meta"]) < 0.004, errors
    assert abs(errors["fast.sigmf-meta"] - errors["right.sigmf-meta"]) < 0.004, errors


def test_a_wav_is_no_raw_file(rfsep: Rfsep) -> None:
    """Its header is not read as samples, and it needs neither datatype nor rate."""
    samples, bits = mixture(HALF)
    parts = np.round(np.stack((samples.real, samples.imag), -1) * 2000).astype("<i2")
    scipy.io.wavfile.write("heard.wav", 1_000_000, parts)
    np.save("bits.npy", bits)
    known = ("--separator", "matched_filter", "--soi-start", "0", "--truth", "bits.npy")
    status, said, told = rfsep("separate", "heard.wav", *known, "--out", "out")
    assert status == 0, told
    assert 0.055 < ber(said) < 0.085
    status, _, told = rfsep("separate", "heard.wav", *known, "--datatype", "ci16_le", "--out", "no")
    assert status == 2
    assert "is a WAV file" in told


def test_foreign_numbers_do_not_become_nan(rfsep: Rfsep) -> None:
    """Samples whose power leaves single precision: one line, nothing written."""
    np.save("huge.npy", (1e30 * mixture(HALF)[0]).astype(np.complex64))
    status, _, told = rfsep(
        "separate", "huge.npy", "--sample-rate", "1e6", "--separator", "matched_filter", "--out", "out"
    )
    assert status == 2
    assert told.startswith("error: huge.npy: ") or "error: " in told
    assert not Path("out").exists()


def test_any_rate_is_converted_to_within_a_tenth_of_a_part_per_million(rfsep: Rfsep) -> None:
    """A SOI at 20 Msps heard by a receiver at 50e6/3, and by one that tells its clock to the microhertz."""
    soi = LinearModem().sample(1, 96_000, batch_generator(Purpose.TEST, 3))
    spectrum = np.fft.fft(soi.waveform[0].numpy())
    slow = np.fft.ifft(np.concatenate((spectrum[:40_000], spectrum[-40_000:]))) * 5 / 6
    np.save("slow.npy", slow.astype(np.complex64))
    np.save("exact.npy", soi.waveform[0].numpy())
    np.save("bits.npy", soi.bits[0].numpy())
    common = ("--resample", "20e6", *FILTER, "--soi-start", "0", "--truth", "bits.npy")
    for name, rate in (("slow", "50e6/3"), ("slow", "16666666.666666666"), ("exact", "20000000.1")):
        status, said, warned = rfsep(
            "separate", f"{name}.npy", "--sample-rate", rate, *common, "--out", f"{name}{rate[:5]}".replace("/", "-")
        )
        assert status == 0, warned
        assert ber(said) < 1e-3
        assert warned == ""
    status, _, warned = rfsep("separate", "slow.npy", "--sample-rate", "fast", *common, "--out", "no")
    assert status == 2
    assert "50e6/3" in warned


def test_what_a_recorder_told_travels(rfsep: Rfsep) -> None:
    """Author, hardware, licence, place and time stand in the result's meta file."""
    samples, _ = mixture(HALF)
    told = {"author": "A. Person", "hw": "a receiver", "license": "CC0-1.0"}
    place = {"type": "Point", "coordinates": [8.0, 50.0]}
    start = {"sample_start": 0, "frequency": 1e9, "datetime": "2024-05-06T07:08:09Z"}
    write_sigmf(Path("heard"), samples, [start], **told, geolocation=place)
    status, _, warned = rfsep("separate", "heard.sigmf-meta", *FILTER, "--soi-start", "500000", "--out", "no")
    assert status == 2
    status, _, warned = rfsep("separate", "heard.sigmf-meta", *FILTER, "--soi-start", "16", "--out", "out")
    assert status == 0, warned
    meta = json.loads(Path("out/soi.sigmf-meta").read_text())
    assert {key: meta["global"][f"core:{key}"] for key in told} == told
    assert meta["global"]["core:geolocation"] == place
    assert meta["captures"][0]["core:datetime"] == "2024-05-06T07:08:09.000016Z"


def test_identify_takes_a_folder_of_recordings_of_one_rate(rfsep: Rfsep, tmp_path: Path) -> None:
    """A gap in one of them is not read across; another rate is refused, naming both."""
    (tmp_path / "day").mkdir()
    source = RandomCrop(OfdmModem(), power=56 / 64)
    for number in range(3):
        samples = source.sample(1, 60_000, torch.Generator().manual_seed(number)).waveform[0].numpy()
        gap = [{"sample_start": 0, "global_index": 0}, {"sample_start": 30_000, "global_index": 10**6}]
        write_sigmf(tmp_path / "day" / f"{number}", samples, gap)
    status, said, told = rfsep("identify", "day", "--num-samples", "4096", "--out", "found")
    assert status == 0, told
    assert "fft_size: 64" in said
    status, said, told = rfsep("identify", "day/*.sigmf-meta", "--out", "found2")
    assert "fft_size: 64" in said
    samples.tofile("raw.bin")
    status, said, told = rfsep("identify", "raw.bin", "--datatype", "cf32_le", "--num-samples", "4096", "--out", "raw")
    assert "fft_size: 64" in said, told
    write_sigmf(tmp_path / "day" / "x", samples, [{"sample_start": 0}], rate=20e6)
    status, _, told = rfsep("identify", "day", "--out", "no")
    assert status == 2
    assert "0.sigmf-meta has 1000000 samples/s, x.sigmf-meta has 20000000 samples/s" in told
