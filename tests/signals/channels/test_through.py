"""Sources through channels: waveforms, bits and timing against the modem's own, and against plain numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.channels.drawn import RandomImpairments, as_table, table_columns
from rfsep.signals.channels.impairments import Impairments
from rfsep.signals.channels.rays import parse_rays
from rfsep.signals.channels.through import ModemThroughChannel, Noted, RecordedThroughChannel, ThroughChannel
from rfsep.signals.constellations import map_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, Modem, Sampled, synthetic

_QPSK, _OFDM = LinearModem(), OfdmModem()
_REAL = RandomImpairments((-1e-3, 1e-3), "random", (-50, 50), (-0.5, 0.5), phase_noise=1e-3)


def _generator(seed: int = 0) -> torch.Generator:
    return batch_generator(Purpose.TEST, seed)


def _aligned(modem: Modem, waveform: Tensor, offset: int) -> Tensor:
    """Bits of the whole symbols that begin in a window, by the modem's own decisions."""
    start = -offset % modem.symbol_period
    count = (waveform.shape[1] - start) // modem.symbol_period * modem.symbol_period
    return modem.decide(waveform[:, start : start + count])


class _Ramp:
    """Recordings whose samples are their own numbers over 10,000, as tones are not needed to see where a cut begins."""

    def __init__(self, length: int = 10_000) -> None:
        self.recordings = [np.arange(length).astype(np.complex64) / 10_000]

    def names(self) -> list[str]:
        return ["ramp"]

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        rows = self.examples(batch_size, num_samples, generator)
        return synthetic(rows)._replace(origin=torch.arange(batch_size))

    def examples(self, num_frames: int, num_samples: int, generator: torch.Generator) -> Tensor:
        assert num_samples <= self.longest()
        return torch.from_numpy(np.stack([self.recordings[0][100 * row :][:num_samples] for row in range(num_frames)]))

    def longest(self) -> int:
        return len(self.recordings[0])


@pytest.mark.parametrize("modem", [_QPSK, _OFDM], ids=["qpsk", "ofdm"])
@pytest.mark.parametrize("length", [1280, 1313])
def test_no_channel_leaves_the_modem_alone(modem: Modem, length: int) -> None:
    sampled = ModemThroughChannel(modem, RandomImpairments()).sample(3, length, _generator())
    assert sampled.bits.shape == (3, modem.num_bits(length))
    expected = modem.synthesise(map_bits(sampled.bits, modem.constellation), length)
    torch.testing.assert_close(sampled.waveform, expected, atol=2e-6, rtol=0)
    assert sampled.num_bits.tolist() == [modem.num_bits(length)] * 3
    assert sampled.offset.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("modem", "length"), [(_QPSK, 1280), (_QPSK, 1291), (_OFDM, 1280)], ids=["qpsk", "odd", "ofdm"]
)
@pytest.mark.parametrize("delay", [3, 9, 16, 75, 163, -3, -9, -163])
def test_bits_and_offset_follow_the_delay(modem: Modem, length: int, delay: int) -> None:
    sampled = ModemThroughChannel(modem, RandomImpairments(delay=float(delay))).sample(2, length, _generator())
    period, half = modem.symbol_period, modem.symbol_period // 2
    assert sampled.offset.tolist() == [-delay % period] * 2
    arrived = [k for k in range(-3, length // period + 20) if 0 <= k * period + half + delay < length and k >= 0]
    each = modem.num_bits(period)
    assert sampled.num_bits.tolist() == [min(len(arrived) * each, modem.num_bits(length))] * 2
    begun = arrived[0] * period + delay
    skip = int(begun < 0)  # a symbol that began before the window
    received = modem.decide(sampled.waveform[:, begun + skip * period :])
    sent = sampled.bits[:, skip * each :]
    whole = (length - begun) // period - skip  # symbols that end in the window too
    clear = 4 if modem is _QPSK else 0  # symbols whose pulses the window's ends cut
    assert whole > 0.6 * length / period
    inside = slice(clear * each, min(whole - clear, sent.shape[1] // each) * each)
    assert torch.equal(received[:, inside], sent[:, inside])
    assert not sampled.bits[:, int(sampled.num_bits[0]) :].any()


def test_a_crop_through_a_channel_keeps_its_bits() -> None:
    impairments = RandomImpairments(delay=21.0, rays="0:0:0,40:-20:0")
    source = ThroughChannel(RandomCrop(_QPSK, random_phase=False), impairments, _QPSK)
    sampled = source.sample(24, 1280, _generator())
    assert len(set(sampled.offset.tolist())) > 8
    for waveform, bits, offset, count in zip(
        sampled.waveform, sampled.bits, sampled.offset, sampled.num_bits, strict=True
    ):
        early = 0 < int(offset) <= 8  # The centre of the symbol that began before the window lies in it.
        received = _aligned(_QPSK, waveform[None], int(offset))[0]
        sent = bits[2 * early : int(count)]
        assert len(sent) - 2 <= len(received) <= len(sent) + 2
        assert torch.equal(received[8:140], sent[8:140])


def test_impairments_are_drawn_anew_and_reproducibly() -> None:
    source = ThroughChannel(RandomCrop(_OFDM, power=56 / 64), _REAL)
    once, again = (source.receive(4, 2000, _generator(3)) for _ in range(2))
    assert torch.equal(once.sampled.waveform, again.sampled.waveform)
    assert once.drawn == again.drawn
    assert len({one.carrier for one in once.drawn}) == 4
    assert once.sampled.offset.tolist() == [-1] * 4
    assert once.sampled.bits.shape == (4, 0)
    drawn = _REAL.draw(4000, _generator())
    columns = np.array([[one.carrier, one.phase_rad, one.clock_ppm, one.delay] for one in drawn])
    low, high = np.array([-1e-3, 0, -50, -0.5]), np.array([1e-3, 2 * np.pi, 50, 0.5])
    assert (columns >= low).all()
    assert (columns <= high).all()
    np.testing.assert_allclose((columns.mean(0) - low) / (high - low), 0.5, atol=0.02)  # 4.4 standard errors
    np.testing.assert_allclose(columns.std(0) / (high - low), 12**-0.5, atol=0.01)


@pytest.mark.parametrize(
    "more", [{"profile": ["tdl_a", "tdl_b", "tdl_c"], "delay_spread": (1.0, 4.0)}, {"rays": "0:3,5.5:0"}]
)
def test_rays_keep_the_power_on_average(more: dict[str, object]) -> None:
    impairments = RandomImpairments(**more)  # type: ignore[arg-type]
    source = ThroughChannel(RandomCrop(_OFDM, power=56 / 64), impairments)
    power = source.sample(600, 640, _generator()).waveform.abs().square().mean(1).double()
    error = power.std().item() / 600**0.5
    assert error < 0.05
    assert abs(power.mean().item() - 1) < 4 * error


def test_fading_gains_are_complex_normal_with_the_profile_as_their_power() -> None:
    drawn = RandomImpairments(profile="tdl_b", delay_spread=2.0).draw(4000, _generator())
    gains = np.array([[gain for _, gain in one.rays] for one in drawn])
    power = np.mean(np.abs(gains) ** 2, 0)
    assert power.sum() == pytest.approx(1, abs=0.03)
    assert power[1] / power[0] == pytest.approx(10**-0.22, rel=0.12)
    assert np.mean(np.abs(gains[:, 0]) ** 4) / power[0] ** 2 == pytest.approx(2, rel=0.1)
    assert abs(np.mean(gains[:, 0] ** 2)) < 0.05 * power[0]
    assert drawn[0].rays[-1][0] == pytest.approx(2 * 4.7834, rel=1e-6)


def test_recordings_keep_their_protocol() -> None:
    ramp = _Ramp()
    source = RecordedThroughChannel(ramp, RandomImpairments(delay=7.0, clock_ppm=(-100, 100)))
    assert source.recordings is ramp.recordings
    longest = source.longest()
    assert 9800 < longest < 10_000
    assert source.examples(1, longest, _generator()).shape == (1, longest)
    plain = RecordedThroughChannel(ramp, RandomImpairments(delay=7.0))
    window = plain.sample(3, 100, _generator())
    assert window.origin.tolist() == [0, 1, 2]
    # Every sample exists, as the windows are cut from longer ones.
    steps = window.waveform.real.diff(dim=1)
    torch.testing.assert_close(steps, torch.full_like(steps, 1e-4), atol=1e-6, rtol=0)


def test_what_was_drawn_is_noted() -> None:
    noted = Noted(ModemThroughChannel(_QPSK, RandomImpairments((0.01, 0.02), rays="0:0:0,2:-6:90")))
    for count in (3, 2):
        noted.sample(count, 320, _generator(count))
    table = noted.table()
    assert noted.columns() == table_columns(2)
    assert table.shape == (5, len(noted.columns())) == (5, 11)
    first = ModemThroughChannel(_QPSK, RandomImpairments((0.01, 0.02), rays="0:0:0,2:-6:90")).receive(
        3, 320, _generator(3)
    )
    assert table[:3, 0].tolist() == [one.carrier for one in first.drawn]
    total = 1 + 10**-0.6
    np.testing.assert_allclose(table[0, 5:], [0, total**-0.5, 0, 2, 0, (10**-0.6 / total) ** 0.5], atol=1e-12)


def test_the_table_is_padded_where_a_window_has_fewer_rays() -> None:
    drawn = [Impairments(1, 2, 3, 4, (), 6), Impairments(rays=((1.5, 2 + 3j),))]
    assert as_table(drawn, 1).tolist() == [[1, 2, 3, 4, 6, 0, 0, 0], [0, 0, 0, 0, 0, 1.5, 2, 3]]


@pytest.mark.parametrize("text", ["0", "0:1:2:3", "a:0", "nan:0", "0:0,,1:1", "0:1e9"])
def test_rays_that_are_none_are_named(text: str) -> None:
    with pytest.raises(InputError, match="DELAY:DB"):
        parse_rays(text)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"carrier": (0.1, -0.1)}, "channel.carrier"),
        ({"clock_ppm": 2e4}, "channel.clock_ppm"),
        ({"phase": "odd"}, "choose one of zero, random"),
        ({"profile": "tdl_d", "delay_spread": 1}, "choose out of tdl_a, tdl_b, tdl_c"),
        ({"profile": "tdl_a"}, "one without the other"),
        ({"rays": "0:0", "profile": "tdl_a", "delay_spread": 1}, "choose one"),
        ({"rays": "1e9:0"}, "a delay of"),
    ],
)
def test_ranges_that_no_link_has_are_named(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RandomImpairments(**wrong)  # type: ignore[arg-type]
