"""Windows in which the interference is on, and the test sets made of them."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rfsep.app.doors import composed, prepare_settings
from rfsep.app.prepare import main, mixture_types
from rfsep.mixtures.duty import LinkedOnAir, OnAir, on_share
from rfsep.signals.channels.drawn import RandomImpairments
from rfsep.signals.channels.through import Noted, ThroughChannel
from rfsep.types import InputError, Sampled, synthetic

LENGTH = 640


class Numbered:
    """Window number n, the first being 0, is on in its first n mod 11 tenths; its bit and offset tell n."""

    def __init__(self) -> None:
        self.drawn = 0

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        numbers = self.drawn + torch.arange(batch_size)
        self.drawn += batch_size
        on = torch.arange(num_samples) < (numbers % 11 * num_samples // 10)[:, None]
        return synthetic(2.0 * on + 0j, (numbers % 2).to(torch.uint8)[:, None], numbers)


def tenths(waveform: np.ndarray) -> np.ndarray:
    """Share of tenths of windows of 640 samples that are on, by numpy."""
    return np.asarray((np.abs(waveform.reshape(len(waveform), 10, 64)) ** 2).mean(-1) > 0.1).mean(-1)


def test_windows_are_on_for_the_share_and_keep_what_belongs_to_them() -> None:
    sampled = OnAir(Numbered(), 0.7, "Numbered").sample(40, LENGTH, torch.Generator())
    kept = [number for number in range(120) if number % 11 >= 7][:40]
    assert sampled.offset.tolist() == kept
    assert sampled.bits[:, 0].tolist() == [number % 2 for number in kept]
    assert tenths(sampled.waveform.numpy()).tolist() == pytest.approx([number % 11 / 10 for number in kept])
    assert sampled.waveform.shape == (40, LENGTH)


def test_the_share_counts_blocks_10_db_below_the_mean_power() -> None:
    amplitudes = torch.tensor([1.0, 0.32, 0.31, 0.0])  # -9.9 and -10.2 dB
    assert on_share(amplitudes.repeat_interleave(64)[None].cfloat()).tolist() == [0.5]
    assert on_share(torch.ones(1, 70).cfloat()).tolist() == [1.0]


def test_out_of_reach_is_refused_with_what_there_is() -> None:
    class Half:
        def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
            return synthetic((torch.arange(num_samples) < num_samples // 2).expand(batch_size, -1) + 0j)

    with pytest.raises(InputError, match=r"duty is 0\.6, and Half is on .* 0 in 1\d\d\d windows of 640 .* is 0\.5:"):
        OnAir(Half(), 0.6, "Half").sample(1, LENGTH, torch.Generator())
    assert OnAir(Half(), 0.5, "Half").sample(1, LENGTH, torch.Generator()).waveform.shape == (1, LENGTH)


def test_the_channel_of_a_window_stays_with_it() -> None:
    """The carrier that the truth tells is the one that a window turns by."""

    class Tones(Numbered):
        def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
            sampled = super().sample(batch_size, num_samples, generator)
            return sampled._replace(waveform=sampled.waveform / 2)

    linked = LinkedOnAir(ThroughChannel(Tones(), RandomImpairments(carrier=(-0.01, 0.01))), 1.0, "Tones")
    noted = Noted(linked)
    waveform = noted.sample(5, LENGTH, torch.Generator().manual_seed(1)).waveform.numpy()
    table = noted.table()
    assert table.shape[0] == 5
    inside = waveform[:, 100:500]
    turning = np.angle(np.mean(inside[:, 1:] * inside[:, :-1].conj(), 1)) / (2 * np.pi)
    assert turning == pytest.approx(table[:, noted.columns().index("carrier")], abs=1e-5)
    assert len(set(turning.round(6))) == 5


def made(out: Path, *words: str) -> Path:
    """A test set of EMI bursts."""
    numbers = ["num_samples=640", "num_per_sinr=8", "sinr_db=[-12,0]", "seed=3", f"out={out}"]
    main(composed("prepare", ["interference=emi_bursts", *numbers, *words]))
    return out


def test_a_set_holds_to_its_duty_and_says_so(tmp_path: Path) -> None:
    folder = made(tmp_path / "set", "duty=0.5")
    with h5py.File(folder / "mixture" / "QPSK_EMIBursts.h5") as file:
        assert file.attrs["duty"] == 0.5
    with h5py.File(folder / "truth" / "QPSK_EMIBursts.h5") as file:
        level = 10 ** (np.repeat([-12.0, 0.0], 8) / 20)[:, None]
        shares = tenths(file["interference"][:] * level)
    assert shares.min() >= 0.5
    plain = made(tmp_path / "plain")
    with h5py.File(plain / "mixture" / "QPSK_EMIBursts.h5") as file:
        assert "duty" not in file.attrs
    with h5py.File(plain / "truth" / "QPSK_EMIBursts.h5") as file:
        assert tenths(file["interference"][:] * level).min() < 0.5


def test_a_set_without_duty_is_what_it_was(tmp_path: Path) -> None:
    assert "duty" not in prepare_settings(composed("prepare", ["out=x"])).identity
    one, two = made(tmp_path / "one" / "set"), made(tmp_path / "two" / "set", "duty=0")
    for name in ("mixture/QPSK_EMIBursts.h5", "truth/QPSK_EMIBursts.h5"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize("value", ["-0.1", "1.01", "half", "true", "nan"])
def test_other_shares_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputError, match=r"duty is .*expected a number between 0 and 1"):
        made(tmp_path / "set", f"duty={value}")
    assert list(tmp_path.iterdir()) == []


def test_types_of_a_challenge_have_shares_of_their_own(tmp_path: Path) -> None:
    types = "types={soi:[qpsk],interference:[ofdm_qpsk,[{name:emi_bursts,duty:0.4}]]}"
    found = list(mixture_types(composed("prepare", [types, "duty=0.9", f"out={tmp_path}"])))
    assert [(one.mixing.interference.name, one.duty) for one in found] == [("OFDMQPSK", 0.9), ("EMIBursts", 0.4)]
    for wrong, message in (
        ("{name:emi_bursts}", "types names"),
        ("{name:emi_bursts,duty:2}", "duty of emi_bursts is 2"),
    ):
        words = [f"types={{soi:[qpsk],interference:[{wrong}]}}", f"out={tmp_path}"]
        with pytest.raises(InputError, match=message):
            list(mixture_types(composed("prepare", words)))
