"""A SOI that somebody describes: the same modem as one made in Python, and one line for what cannot be meant."""

from pathlib import Path

import pytest
import torch

from rfsep.app.config import build_modem
from rfsep.app.settings import SoiOption
from rfsep.app.soi import described_soi, samples_per_symbol, takes
from rfsep.signals.linear_modem import LinearModem
from rfsep.types import InputError

BITS = torch.randint(2, (1, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
FULL = """
name: Mine
modem:
  _target_: rfsep.signals.linear_modem.LinearModem
  constellation_name: qam16
  samples_per_symbol: 8
  roll_off: 0.35
"""
SHORT = "modulation: qam16\nsamples_per_symbol: 8\nroll_off: .35\nspan: 8\n"


@pytest.mark.parametrize(("text", "name"), [(FULL, "Mine"), (SHORT, "my-signal")])
def test_a_file_describes_a_modem(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "my signal.yaml"
    path.write_text(text)
    soi = described_soi(str(path))
    assert soi.name == name
    right = LinearModem("qam16", 8, 0.35, 8)
    assert torch.equal(build_modem(soi).modulate(BITS), right.modulate(BITS))
    changed = described_soi(str(path), ["samples_per_symbol=5", "roll_off=1", "modulation=bpsk"])
    assert torch.equal(build_modem(changed).modulate(BITS), LinearModem("bpsk", 5, 1.0, 8).modulate(BITS))
    assert samples_per_symbol(changed) == 5
    assert changed.settings["modem"]["samples_per_symbol"] == 5


def test_an_option_is_changed_without_its_file() -> None:
    changed = described_soi("qpsk", ["samples_per_symbol=8", "roll_off=.35"])
    assert torch.equal(build_modem(changed).modulate(BITS), LinearModem("qpsk", 8, 0.35).modulate(BITS))
    assert "samples_per_symbol" not in described_soi("qpsk").modem
    assert samples_per_symbol(described_soi("qpsk2")) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FULL.replace("rfsep.signals.linear_modem.LinearModem", "os.system"), ["os.system", "refused"]),
        (FULL.replace("linear_modem.LinearModem", "linear_modem.torch"), ["refused"]),
        (FULL.replace("linear_modem.LinearModem", "recordings.SigmfRecordings"), ["SigmfRecordings is no modem"]),
        (FULL + "  roll_of: 0.3\n", ["roll_of is nothing", "samples_per_symbol, roll_off"]),
        (FULL + "  _args_: [1]\n", ["_args_", "refused"]),
        (FULL + "source: 3\n", ["unknown key 'source'", "name, modem"]),
        (FULL.replace("qam16", "${oc.env:HOME}"), ["refused"]),
        (FULL.replace("Mine", "../mine"), ["../mine"]),
        (SHORT.replace(".35", "2"), ["roll_off must lie in (0, 1]"]),
        (SHORT.replace(".35", "steep"), ["roll_off is 'steep'", "0.5"]),
        (SHORT.replace("span: 8", "span: 100000"), ["span is 100000", "256"]),
        (SHORT.replace("symbol: 8", "symbol: 8.5"), ["samples_per_symbol is 8.5"]),
        (SHORT.replace("qam16", "qam17"), ["qam17"]),
        ("name: Mine\n", ["describes no modem", "samples_per_symbol"]),
        ("modem: 3\n", ["_target_"]),
        ("- 1\n", ["not a YAML mapping"]),
    ],
)
def test_a_faulty_file_is_refused_in_a_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        described_soi(str(path))
    line = str(caught.value)
    assert "\n" not in line
    assert "mine.yaml" in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("samples_per_symbols=8", ["samples_per_symbols=8", "samples_per_symbol, roll_off"]),
        ("roll_off", ["KEY=VALUE"]),
        ("roll_off=true", ["roll_off is True", "0.5"]),
        ("samples_per_symbol=0", ["samples_per_symbol is 0", "1 to 1024"]),
        ("roll_off=[", ["roll_off=["]),
        ("num_taps=128", ["num_taps must be odd"]),
        ("_target_=os.system", ["_target_=os.system", "KEY=VALUE"]),
    ],
)
def test_a_faulty_setting_is_refused_in_a_line(setting: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        described_soi("qpsk", [setting])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_modem_within_another_tells_its_arguments() -> None:
    inner = {"_target_": "rfsep.signals.linear_modem.LinearModem", "samples_per_symbol": 8}
    soi = SoiOption("Mine", {"_target_": "rfsep.signals.random_crop.RandomCrop", "modem": inner}, None, {})
    assert samples_per_symbol(soi) == 8
    assert [takes(soi, key) for key in ("roll_off", "random_phase", "fft_size")] == [True, True, False]


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        described_soi("nowhere.yaml")
