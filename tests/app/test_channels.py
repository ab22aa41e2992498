"""``channel:`` in training and test-set configs: what it makes, and what a truth file tells of it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from rfsep.app.build import frames_to_learn_from, interference_in
from rfsep.app.channels import read_channel
from rfsep.app.compete import entries
from rfsep.app.config import (
    build_channel,
    build_soi,
    build_source,
    example_frames,
    interference_of,
    options,
    plain,
)
from rfsep.app.doors import composed, prepare_settings, train_identity
from rfsep.app.prepare import main, write_type
from rfsep.app.settings import Frames
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.constellations import map_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.storage.test_set import list_mixtures, read_mixtures, read_truth
from rfsep.types import InputError

_SET = ("num_samples=1280", "num_per_sinr=3", "sinr_db=[-6,0]", "seed=0")
_FILE = "truth/QPSK_OFDMQPSK.h5"
_BEFORE = 16  # symbols without power, in which the first pulses begin


def _settings(*words: str) -> dict[str, object]:
    config = composed("prepare", ["out=nowhere", *words])
    return {key: plain(config[key], resolve=False) for key in ("soi", "interference")}


def _made(folder: Path, *words: str) -> Path:
    write_type(prepare_settings(composed("prepare", [*_SET, *words, f"out={folder}"])))
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.h5"))}


@pytest.mark.parametrize("name", [name for name in options("channel") if name != "none"])
def test_every_channel_keeps_power_bits_and_timing(name: str) -> None:
    channel = plain(options("channel")[name])
    soi = build_soi(prepare_settings(composed("prepare", ["out=x", f"channel@soi.channel={name}"])).mixing.soi)
    assert build_channel({"channel": channel}) is not None
    sampled = soi.sample(200, 640, batch_generator(Purpose.TEST))
    power = sampled.waveform.abs().square().mean(1).double()
    assert power.mean().item() == pytest.approx(1, abs=0.03 + 4 * power.std().item() / 200**0.5)
    assert sampled.offset.unique().tolist() == [0]
    assert sampled.num_bits.unique().tolist() == [sampled.bits.shape[1]] == [80]


def test_the_truth_tells_what_the_soi_came_through(tmp_path: Path) -> None:
    """The SOI in the truth is the one on the air: its bits, through what was drawn, by a Fourier series."""
    _made(tmp_path / "set", "channel@soi.channel=rays", "soi.channel.delay=[0,40]", "soi.channel.carrier=[-1e-3,1e-3]")
    truth = read_truth(tmp_path / "set", "QPSK", "OFDMQPSK")
    assert truth is not None
    with h5py.File(tmp_path / "set" / _FILE) as file:
        table, columns = file["soi_channel"][:], file.attrs["soi_channel_columns"].split(",")
        assert "interference_channel" not in file
    assert table.shape == (6, len(columns)) == (6, 11)
    modem, time = LinearModem(), np.arange(1280)
    length = 1280 + 2 * _BEFORE * 16
    for row, numbers in enumerate(table):
        drawn = dict(zip(columns, numbers, strict=True))
        symbols = map_bits(torch.tensor(truth.bits[row, : truth.num_bits[row]])[None], modem.constellation)
        padded = torch.cat((torch.zeros((1, _BEFORE), dtype=symbols.dtype), symbols), 1)
        series = np.fft.fft(modem.synthesise(padded, length)[0].numpy().astype(complex)) / length
        total = np.zeros(1280, complex)
        for ray in ("ray_0", "ray_1"):
            gain = drawn[f"{ray}_gain_real"] + 1j * drawn[f"{ray}_gain_imag"]
            place = (time - drawn[f"{ray}_delay"]) * (1 + 1e-6 * drawn["clock_ppm"]) - drawn["delay"] + _BEFORE * 16
            total += gain * np.exp(2j * np.pi * place[:, None] * np.fft.fftfreq(length)) @ series
        total *= np.exp(1j * (2 * np.pi * drawn["carrier"] * time + drawn["phase_rad"]))
        assert 10 * np.log10(np.mean(np.abs(truth.soi[row] - total) ** 2)) < -75
        assert truth.soi_offset[row] == round(-drawn["delay"]) % 16
    assert len(set(table[:, 0])) == 6
    assert (truth.num_bits < 160).any()


def test_no_channel_changes_no_byte(tmp_path: Path) -> None:
    plain_set = _made(tmp_path / "one" / "set")
    none = _made(tmp_path / "two" / "set", "channel@soi.channel=none", "channel@interference.channel=none")
    assert _contents(plain_set) == _contents(none)
    with h5py.File(plain_set / _FILE) as file:
        assert sorted(file) == [
            "bits", "interference", "interference_offset", "interference_origin", "num_bits", "soi", "soi_offset",
        ]  # fmt: skip
    words = ["channel@soi.channel=none"]
    assert train_identity(composed("train", words)) == train_identity(composed("train", []))
    assert "channel" not in _settings()["soi"]  # type: ignore[operator]


def test_the_same_seed_gives_the_same_set_and_types_keep_the_channel(tmp_path: Path) -> None:
    words = ("channel@soi.channel=real", "channel@interference.channel=tdl_a")
    first = _made(tmp_path / "one" / "set", *words)
    types = "types={soi:[qpsk],interference:[ofdm_qpsk]}"
    main(composed("prepare", [*_SET, *words, types, f"out={tmp_path / 'two' / 'set'}"]))
    assert _contents(first) == _contents(tmp_path / "two" / "set")
    with h5py.File(first / _FILE) as file:
        assert file["interference_channel"].shape == (6, 5 + 3 * 23)
    with h5py.File(first / "mixture" / "QPSK_OFDMQPSK.h5") as file:
        assert sorted(file) == ["mixture", "sinr_db"]


def test_a_channel_without_a_class_is_ours() -> None:
    words = ["+soi.channel.carrier=[-1e-4,1e-4]", "+interference.channel.delay=3"]
    mixing = prepare_settings(composed("prepare", ["out=x", *words])).mixing
    soi = build_channel(mixing.soi.settings)
    assert soi is not None
    assert soi.carrier == (-1e-4, 1e-4)
    received = build_source(mixing.interference, "test").sample(8, 800, batch_generator(Purpose.TEST))
    assert len(set(received.offset.tolist())) > 4
    for waveform, offset in zip(received.waveform, received.offset.tolist(), strict=True):
        # A cyclic prefix tells the timing: 16 samples come again 64 later.
        symbols = waveform[-offset % 80 :].unfold(0, 80, 80)
        torch.testing.assert_close(symbols[:, :16], symbols[:, 64:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("+soi.channel=3", "channel is 3, expected a mapping"),
        ("+soi.channel.dela=3", "channel has no key 'dela'; choose out of carrier, phase"),
        ("+soi.channel.delay=far", "channel.delay is 'far', expected a number or a range"),
        ("+soi.channel={rays: [0:0]}", "channel.rays is .*, expected text"),
        ("+soi.channel={_target_: os.getcwd}", "channel._target_ is os.getcwd, expected rfsep"),
        ("+soi.channel.delay=[1,0]", "channel.delay"),
        ("+soi.channel.phase=odd", "channel.phase is 'odd'; choose one of zero, random"),
    ],
)
def test_channels_that_are_none_are_named(word: str, words: str) -> None:
    mixing = prepare_settings(composed("prepare", ["out=x", word])).mixing
    with pytest.raises(InputError, match=words):
        build_soi(mixing.soi)


def test_a_test_set_names_its_channels_and_examples_come_through_them(tmp_path: Path) -> None:
    """The channel of the command line reaches the examples that `evaluate.py` gives to separators."""
    words = ("channel@soi.channel=phase", "channel@interference.channel=rays", "interference.channel.delay=[3,3]")
    mixtures = read_mixtures(_made(tmp_path / "set", *words), "QPSK", "OFDMQPSK")
    assert read_channel(mixtures.soi_channel, mixtures.path) == {"phase": "random"}
    told = read_channel(mixtures.interference_channel, mixtures.path)
    assert (told["delay"], told["rays"]) == ([3, 3], "0:0,2:-6")
    frames, length = 300, 2000
    examples = frames_to_learn_from(mixtures, Frames(frames, length), needed=True)
    flat = example_frames(interference_of("ofdm_qpsk"), Frames(frames, length))
    # The product with the signal two samples later is the second ray's: its size tells the ray, its phase is random.
    for waveform, expected in ((examples, 0.5 / (1 + 0.25)), (flat, 0.0)):
        lagged = (waveform[:, 2:] * waveform[:, :-2].conj()).mean(1) / waveform.abs().square().mean(1)
        own = (flat[:, 2:] * flat[:, :-2].conj()).mean() / flat.abs().square().mean()
        assert (lagged - own).abs().square().mean().sqrt().item() == pytest.approx(expected, abs=0.07)


def test_a_name_with_a_channel_is_that_option_through_it(tmp_path: Path) -> None:
    types = "types={soi:[qpsk,qpsk@phase],interference:[ofdm_qpsk@tdl_a]}"
    main(composed("prepare", [*_SET, types, f"out={tmp_path / 'set'}"]))
    assert list_mixtures(tmp_path / "set") == [("QPSK", "OFDMQPSK-tdla"), ("QPSK-phase", "OFDMQPSK-tdla")]
    mixtures = read_mixtures(tmp_path / "set", "QPSK-phase", "OFDMQPSK-tdla")
    assert json.loads(mixtures.soi_channel) == {"phase": "random"}
    option = interference_in(mixtures)
    assert option.name == "OFDMQPSK"
    assert option.settings["channel"]["profile"] == "tdl_a"
    assert read_mixtures(tmp_path / "set", "QPSK", "OFDMQPSK-tdla").soi_channel == ""
    with pytest.raises(InputError, match="types names ofdm_qpsk@tdl_a with a channel"):
        main(composed("prepare", [*_SET, types, "channel@interference.channel=rays", f"out={tmp_path / 'set'}"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "its channel is \\[\\], expected a mapping"),
        ("{" * 5000, "its channel is no short JSON text"),
        ('{"_target_": "os.getcwd"}', "channel has no key '_target_'"),
        ('{"phase": "${oc.env:HOME}"}', "channel.phase is '\\${oc.env:HOME}'; choose one"),
        ('{"delay": [NaN, 1]}', "channel.delay is"),
        ('{"carrier": 1' + "0" * 400 + "}", "channel.carrier is"),
        ('{"delay": true}', "channel.delay is True"),
    ],
)
def test_a_strangers_channel_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=f"set.h5: {words}"):
        read_channel(text, Path("set.h5"))


def test_the_board_robust_has_channels_noise_and_networks(tmp_path: Path) -> None:
    """The types of `conf/challenge/robust.yaml` have what their names tell; who learned a source enters for it."""
    config = composed("prepare", ["challenge=robust", "out=x"])
    assert all(interference_of(name).settings["channel"] for name in config.types.interference)
    few = ("types.interference=[ofdm_qpsk@fraction,ofdm_qpsk@rays]", "num_per_sinr=2", "sinr_db=[0]", "seed=0")
    main(composed("prepare", ["challenge=robust", *few, f"out={tmp_path / 'robust'}"]))
    pairs = list_mixtures(tmp_path / "robust")
    assert len(pairs) == 4
    for soi, interference in pairs:
        mixtures, truth = (read(tmp_path / "robust", soi, interference) for read in (read_mixtures, read_truth))
        assert truth is not None
        assert bool(mixtures.soi_channel) == (soi == "QPSK-residual")
        channel = read_channel(mixtures.interference_channel, mixtures.path)
        assert ("rays" in channel) == interference.endswith("-rays")
        assert channel["delay"] == [-0.5, 0.5]
        noise = mixtures.mixture - truth.soi - truth.interference
        assert np.mean(np.abs(noise) ** 2) == pytest.approx(0.01, rel=0.1)
    types = {entry.id: entry.types for entry in entries(tmp_path / "robust")}
    every = ["_".join(pair) for pair in pairs]
    assert types["joint_detection"] == types["ofdm_qpsk"] == types["foundation"] == every
    assert types["alpha_rgs-prior_qpsk"] == []
