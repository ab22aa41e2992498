"""What rfsep learn learns from: two parts that share nothing, and one line for what cannot be learned from."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import wavfile

from rfsep.app.learn.material import Material, material_of
from rfsep.app.learn.request import LEVELS_DB, LearnRequest, plan_of
from rfsep.types import InputError

LONG = 120_000


def noise(number: int, seed: int = 0) -> NDArray[np.complex64]:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(number) + 1j * rng.standard_normal(number)).astype(np.complex64)


def saved(path: Path, samples: NDArray[np.complex64]) -> str:
    np.save(path, samples)
    return str(path)


def material(examples: str, **more: object) -> Material:
    return material_of(LearnRequest(examples, **more))  # type: ignore[arg-type]


def test_one_recording_is_split_in_time(tmp_path: Path) -> None:
    ramp = np.exp(2j * np.pi * np.linspace(0, 0.5, LONG) ** 2) * np.linspace(0.5, 2, LONG)
    found = material(saved(tmp_path / "a.npy", ramp.astype(np.complex64)))
    train, val = (mixer.interference.recordings[0] for mixer in found.mixers)  # type: ignore[attr-defined]
    assert len(train) == round(0.8 * LONG)
    assert len(val) == LONG - round(0.8 * LONG) - 2560
    assert float(found.known.abs().square().mean()) == pytest.approx(1, rel=1e-5)


def test_three_recordings_are_split_by_file(tmp_path: Path) -> None:
    for place in range(5):
        saved(tmp_path / f"{place}.npy", (place + 1) * noise(30_000, place))
    found = material(str(tmp_path))
    assert [len(mixer.interference.recordings) for mixer in found.mixers] == [4, 1]  # type: ignore[attr-defined]
    own = noise(30_000, 4)
    own = own - own.mean()
    window = found.mixers[1].interference.sample(1, 2560, torch.Generator().manual_seed(0)).waveform[0].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(own / np.sqrt(np.mean(np.abs(own) ** 2)), 2560)
    assert np.abs(windows - window).mean(1).min() < 1e-6, "cut from the last file"


def test_a_file_of_frames_is_split_by_frame(tmp_path: Path) -> None:
    found = material(saved(tmp_path / "frames.npy", noise(40 * 3000).reshape(40, 3000)))
    assert [len(mixer.interference.recordings) for mixer in found.mixers] == [32, 8]  # type: ignore[attr-defined]


def test_fewer_mixtures_are_the_first_of_more() -> None:
    found = material("white_noise")
    many, few = found.trials(3, seed=1), found.trials(2, seed=1)
    assert torch.equal(many.part(0, 2).mixture, few.mixture)
    assert not torch.equal(found.trials(2, seed=2).mixture, few.mixture)
    power = (few.mixture - few.soi).abs().square().mean((1, 2))
    assert (10 * power.log10()).tolist() == pytest.approx([-level for level in LEVELS_DB], abs=0.3)


def test_short_recordings_give_shorter_mixtures(tmp_path: Path) -> None:
    found = material(saved(tmp_path / "a.npy", noise(16_000)))
    assert found.num_samples == (16_000 - 12_800 - 2560) // 16 * 16


BAD = {
    "shorter than a window": (noise(300), "too short for a part of split 'val'"),
    "a short part": (noise(13_800), "held-back stretches have 200 samples, and a mixture takes at least 320"),
    "silent": (np.zeros(LONG, np.complex64), "silent"),
    "one long pause": (np.full(LONG, 0.1 + 0.1j, np.complex64), "silent"),
    "NaN": (np.where(np.arange(LONG) == 7, np.nan, noise(LONG)).astype(np.complex64), r"sample 7 is \(nan"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_learned_from_is_one_line(name: str, tmp_path: Path) -> None:
    samples, words = BAD[name]
    with pytest.raises(InputError, match=words) as error:
        material(saved(tmp_path / "a.npy", samples))
    assert "\n" not in str(error.value)


def test_a_single_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few for a part of split 'val'"):
        material(saved(tmp_path / "a.npy", noise(2 * 5000).reshape(2, 5000)))


def test_two_rates_are_refused(tmp_path: Path) -> None:
    for place, rate in enumerate((48_000, 48_000, 96_000, 48_000)):
        stereo = noise(40_000, place).view(np.float32).reshape(-1, 2) / 8
        wavfile.write(tmp_path / f"{place}.wav", rate, stereo)
    with pytest.raises(InputError, match=r"2\.wav: has 96000 samples/s, a file before it 48000"):
        material(str(tmp_path))


def test_a_soi_that_is_wider_than_the_examples_is_refused(tmp_path: Path) -> None:
    """QPSK of 16 samples a symbol and roll-off .5 is 1.5 / 16 of its sample rate wide."""
    wavfile.write(tmp_path / "a.wav", 8_000, noise(LONG).view(np.float32).reshape(-1, 2) / 8)
    with pytest.raises(InputError, match=r"soi qpsk is then .* Hz wide, and .* has 8000 samples/s"):
        material(str(tmp_path / "a.wav"), resample=96_000.0)
    assert material(str(tmp_path / "a.wav"), resample=64_000.0).option.sample_rate_hz == 64_000


def test_a_soi_of_ones_own_is_learned_for(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("modulation: qam16\nsamples_per_symbol: 8\nroll_off: 0.35\n")
    found = material(saved(tmp_path / "a.npy", noise(LONG)), soi=str(tmp_path / "mine.yaml"))
    assert (found.modem.symbol_period, len(found.modem.constellation)) == (8, 16)


def test_numbers_and_names_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    for minutes in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--minutes is"):
            LearnRequest("white_noise", minutes=minutes).check()
    with pytest.raises(InputError, match="--resample is -1"):
        LearnRequest("white_noise", resample=-1.0).check()
    with pytest.raises(InputError, match="unknown interference 'nothing'"):
        material("nothing")
    with pytest.raises(InputError, match="unknown soi 'nothing'"):
        material("white_noise", soi="nothing")
    with pytest.raises(InputError, match="is a folder without a recording"):
        material(str(tmp_path))


def test_a_longer_plan_trains_longer_and_measures_no_less() -> None:
    plans = [plan_of(minutes) for minutes in (1.0, 5.0, 20.0)]
    assert [plan.core_minutes for plan in plans] == pytest.approx([1.4, 7.0, 28.0])
    assert all(one.all <= other.all and one.first < one.all for one, other in pairwise(plans))
