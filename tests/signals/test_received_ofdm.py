"""OFDM behind a carrier, taps and a delay, against plain numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.app.identify import as_yaml
from rfsep.app.trust import read_interference
from rfsep.identification.identify import identify
from rfsep.signals.constellations import map_bits, random_bits
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError

TAPS = (0.2j, 1.0, 0.0, -0.3 + 0.4j)


def test_waveform_is_convolved_then_turned() -> None:
    bits = random_bits(2, OfdmModem().num_bits(800), torch.Generator().manual_seed(0))
    sent = OfdmModem().modulate(bits).numpy()
    heard = OfdmModem(carrier=0.013, channel=TAPS, channel_lead=1).modulate(bits).numpy()
    turn = np.exp(2j * np.pi * 0.013 * np.arange(800))
    for plain, one in zip(sent, heard, strict=True):
        assert np.allclose(one, np.convolve(plain, TAPS)[1:801] * turn, atol=2e-6)


def test_a_delay_moves_every_frequency_alike() -> None:
    """Four delays of a quarter are one sample, away from the ends where tails are cut."""
    bits = random_bits(1, OfdmModem().num_bits(4000), torch.Generator().manual_seed(1))
    sent = OfdmModem().modulate(bits)[0]
    once = OfdmModem(delay=1.0).modulate(bits)[0]
    assert torch.allclose(once[1:], sent[:-1], atol=2e-6)
    frequency = torch.tensor([0.1, -0.3], dtype=torch.float64)
    late = OfdmModem(delay=0.25).response(frequency).numpy()
    assert np.allclose(late, np.exp(-2j * np.pi * frequency.numpy() * 0.25))


@pytest.mark.parametrize("channel", [TAPS, [[0.0, 0.2], [1.0, 0.0], [0.0, 0.0], [-0.3, 0.4]]], ids=["complex", "pairs"])
def test_bits_come_back_through_carrier_and_channel(channel: list[complex]) -> None:
    modem = OfdmModem("qam16", carrier=-0.21, channel=channel, channel_lead=1)
    bits = random_bits(2, modem.num_bits(1600), torch.Generator().manual_seed(2))
    assert torch.equal(modem.decide(modem.modulate(bits)), bits)
    points = map_bits(bits, modem.constellation)
    seen = modem.analyse(modem.modulate(bits))
    # The tap ahead brings one sample of the next symbol, of a fifth of the amplitude, into each of 64.
    assert float((seen - points).abs().square().mean()) < 2e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"carrier": 0.6}, "carrier 0.6"),
        ({"carrier": float("nan")}, "carrier nan"),
        ({"delay": float("inf")}, "delay inf"),
        ({"channel": (), "channel_lead": 0}, "channel_lead 0 is not among the 0 taps"),
        ({"channel_lead": 1}, "channel_lead 1 is not among the 1 taps"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OfdmModem(**arguments)


def test_identify_writes_carrier_and_channel_and_reads_them_back(tmp_path: Path) -> None:
    true = OfdmModem(carrier=0.01, channel=(1.0, 0.0, 0.4j), delay=0.3)
    frames = RandomCrop(true, true.power).sample(12, 4096, torch.Generator().manual_seed(3)).waveform
    path = tmp_path / "interference.yaml"
    path.write_text(as_yaml("test", frames, identify(frames), None))
    found = read_interference(path)
    assert isinstance(found, OfdmModem)
    assert found.carrier == pytest.approx(0.01, abs=1e-7)
    assert found.delay == pytest.approx(0.3, abs=5e-3)
    main = found.channel.abs().topk(2)
    assert float(main.values[1] / main.values[0]) == pytest.approx(0.4, abs=2e-3)
    assert int(main.indices[1] - main.indices[0]) == 2
    plain = OfdmModem()
    clean = RandomCrop(plain, plain.power).sample(12, 4096, torch.Generator().manual_seed(3)).waveform
    assert "channel_lead" not in as_yaml("test", clean, identify(clean), None)
