"""The NR uplink against TS 38.211: slot structure, band, pilots, and transport blocks that pass their CRC."""

import importlib.util
import math
import pickle
import sys

import pytest
import torch

from rfsep.signals.constellations import map_bits
from rfsep.signals.nr import uplink
from rfsep.signals.nr.fading import impulse_responses
from rfsep.signals.nr.numerology import nr_ofdm
from rfsep.signals.nr.uplink import NrUplink
from rfsep.types import InputError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("sionna") is None, reason="needs pip install rfsep[nr]")
QPSK, QAM16 = (3, 5, 6, 7, 8, 9), (10, 11, 12, 13, 14, 15, 16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prefix_starts() -> list[int]:
    """First sample of every cyclic prefix in a slot, from the clause's own numbers in units of T_s = 1/30.72 MHz."""
    lengths = [144 // 2 + (16 if symbol == 0 else 0) for symbol in range(14)]  # 144 kappa 2^-mu + 16 kappa, mu = 1
    return [symbol * 1024 + sum(lengths[:symbol]) for symbol in range(14)]


def demodulate(waveform: torch.Tensor, offset: int) -> torch.Tensor:
    """Grids complex64 [slots, 14, 612] of the whole slots in one window, by a direct DFT at each carrier."""
    first = -offset % 15360
    k = torch.arange(612) - 306
    n = torch.arange(1024)
    dft = torch.exp(-2j * math.pi * (k[:, None] * n % 1024) / 1024).to(torch.complex64) / 1024
    slots = []
    while first + 15360 <= len(waveform):
        starts = [first + start + (88 if symbol == 0 else 72) for symbol, start in enumerate(prefix_starts())]
        slots.append(torch.stack([dft @ waveform[start : start + 1024] for start in starts]))
        first += 15360
    return torch.stack(slots) * math.sqrt(612)


def test_a_slot_is_half_a_millisecond_with_one_longer_prefix() -> None:
    """Exactly the prefix samples recur 1,024 samples later: 88 in the first symbol, 72 in the others."""
    slot = nr_ofdm(torch.randn((14, 612), dtype=torch.complex64, generator=generator()))
    assert slot.shape == (15360,)
    expected = torch.zeros(15360 - 1024, dtype=torch.bool)
    for symbol, start in enumerate(prefix_starts()):
        expected[start : start + (88 if symbol == 0 else 72)] = True
    assert torch.equal((slot[1024:] - slot[:-1024]).abs() < 1e-4, expected)


def test_power_and_frequency_of_one_carrier() -> None:
    """Carrier k of TS 38.211 5.3.1 turns (k - 306) / 1024 times a sample, in phase at the start of the useful part."""
    grid = torch.zeros((14, 612), dtype=torch.complex64)
    grid[:, 400] = 1j
    slot = nr_ofdm(grid)
    expected = 1j * torch.exp(2j * math.pi * (400 - 306) / 1024 * torch.arange(-88, 1024).double()) / math.sqrt(612)
    torch.testing.assert_close(slot[:1112], expected.to(torch.complex64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("mcs_indices", "order"), [((5,), 2), ((14,), 4)])
def test_transport_blocks_pass_their_crc(mcs_indices: tuple[int, ...], order: int) -> None:
    """A window without channel: demodulated by its offset, decoded by Sionna's receiver, and sent again."""
    from sionna.phy.nr import PUSCHReceiver, PUSCHTransmitter

    sampled = NrUplink(mcs_indices, profiles=()).sample(2, 40_960, generator())
    transmit = PUSCHTransmitter(uplink._pusch_config(1, mcs_indices[0], 0), return_bits=False, device="cpu")
    receiver = PUSCHReceiver(transmit, channel_estimator="perfect", return_tb_crc_status=True, device="cpu")
    data = [symbol for symbol in range(14) if symbol not in (2, 11)]
    for waveform, offset in zip(sampled.waveform, sampled.offset.tolist(), strict=True):
        grids = demodulate(waveform, offset)
        levels = grids[:, data].real.abs() * math.sqrt(2 if order == 2 else 10)
        nearest = torch.ones_like(levels) if order == 2 else torch.where(levels < 2, 1.0, 3.0)
        torch.testing.assert_close(levels, nearest, atol=1e-4, rtol=0)
        with torch.no_grad():
            bits, crc = receiver(grids[:, None, None], 1e-3, torch.ones(len(grids), 1, 1, 1, 1, 14, 612) + 0j)
            again = transmit(bits)[:, 0, 0]
        assert crc.all()
        torch.testing.assert_close(grids[:, data], again[:, data], atol=1e-4, rtol=0)


@pytest.mark.parametrize("mcs_index", [3, 9, 10, 16, 20, 27])
def test_symbols_are_those_of_sionna_for_the_same_bits(mcs_index: int) -> None:
    """Both base graphs, one code block and several: to the bit, for any other would be another point."""
    from sionna.phy.nr import PUSCHTransmitter

    channel, points = uplink._transmitter(7, mcs_index)
    bits = torch.randint(0, 2, (3, channel.num_bits), dtype=torch.uint8, generator=generator())
    transmit = PUSCHTransmitter(uplink._pusch_config(7, mcs_index, 0), return_bits=False, device="cpu")
    with torch.no_grad():
        expected = transmit(bits[:, None].float())[:, 0, 0]
    data = [symbol for symbol in range(14) if symbol not in (2, 11)]
    found = map_bits(channel.encode(bits), points).view(3, 12, 612)
    torch.testing.assert_close(found, expected[:, data], atol=1e-6, rtol=0)


def test_slots_that_nobody_hears_change_no_others() -> None:
    heard = torch.tensor([[True, False, True], [False, True, True], [True, True, False], [False, False, True]])
    some, every = (NrUplink().slots(4, 3, generator(3), wanted) for wanted in (heard, None))
    assert torch.equal(some[heard], every[heard])
    assert (some[~heard][:, [0, 5, 13]] == 0).all()


def test_pilots_change_with_the_slot() -> None:
    """Pilots sit on the even carriers of symbols 2 and 11 and follow the slot number through the frame."""
    grids = NrUplink((9,)).slots(4, 25, generator())[:, :, [2, 11]]
    assert (grids[..., 1::2] == 0).all()
    torch.testing.assert_close(grids[..., 0::2].abs(), torch.full((4, 25, 2, 306), math.sqrt(2)))
    torch.testing.assert_close(grids[:, 20:], grids[:, :5])  # one frame later
    similar = (grids[:, 1:20] * grids[:, :1].conj()).mean((-2, -1)).abs()
    assert similar.max() < 5 / math.sqrt(2 * 306)
    symbols, pilots = uplink._pilots(1)
    assert symbols == [2, 11]
    assert any(torch.equal(grids[0, 0], pilots[slot]) for slot in range(20))


def test_unit_power_over_the_ensemble() -> None:
    for profiles, limit in (((), 2e-3), (("A", "B", "C"), 0.03)):
        power = NrUplink(profiles=profiles).sample(400, 1024, generator()).waveform.abs().square().mean(1).double()
        error = power.std().item() / math.sqrt(len(power))
        assert error < limit
        assert abs(power.mean().item() - 1) < 4 * error


@pytest.mark.parametrize("profile", ["A", "B", "C"])
def test_channel_has_unit_gain_on_every_carrier(profile: str) -> None:
    channel = impulse_responses((profile,), (30e-9, 300e-9), 2000, generator())
    carriers = (torch.arange(612) - 306) % 1024
    gain = torch.fft.fft(channel, 1024)[:, carriers].abs().square().double()
    assert abs(gain.mean().item() - 1) < 4 * gain.mean(1).std().item() / math.sqrt(2000)
    assert (gain.mean(0) - 1).abs().max() < 5 / math.sqrt(2000)  # Rayleigh: the gain's deviation is 1


def test_channel_delays_have_the_spread_that_was_asked_for() -> None:
    """Root-mean-square width of the mean power delay profile, against TR 38.901's normalised tap delays."""
    profile = impulse_responses(("C",), (300e-9, 300e-9), 2000, generator()).abs().square().mean(0).double()
    lag = torch.arange(len(profile)).double() - 8
    mean = (profile * lag).sum() / profile.sum()
    spread = ((profile * (lag - mean).square()).sum() / profile.sum()).sqrt() / 30.72e6
    assert spread.item() == pytest.approx(300e-9, rel=0.05)


def test_occupied_bandwidth() -> None:
    """51 * 12 * 30 kHz = 18.36 MHz from -9.195 to 9.165 MHz; beyond it only the sidelobes of unwindowed OFDM."""
    waveform = NrUplink().sample(64, 15_360, generator()).waveform * torch.signal.windows.blackman(15_360)
    spectrum = torch.fft.fft(waveform).abs().square().mean(0).double()
    frequency = torch.fft.fftfreq(15_360).double() * 30.72e6
    inside = (frequency > -9.195e6) & (frequency < 9.165e6)
    assert spectrum[inside].sum() / spectrum.sum() > 0.995
    level = spectrum[inside].mean()
    far = frequency.abs() > 12e6
    assert spectrum[far].mean() / level < 10**-3


def test_prefix_correlation_through_the_channel() -> None:
    """Correlation at lag 1,024 falls on the prefixes, where ``offset`` says they are, less what the channel smears."""
    sampled = NrUplink().sample(100, 15_360 + 1024, generator())
    product = sampled.waveform[:, 1024:] * sampled.waveform[:, :-1024].conj()
    place = (torch.arange(15_360) + sampled.offset[:, None]) % 15_360
    folded = torch.zeros(15_360, dtype=torch.complex64).index_add_(0, place.flatten(), product.flatten()) / 100
    late = [folded[start + 40 : start + (88 if start == 0 else 72)].real.mean() for start in prefix_starts()]
    body = [folded[start + 250 : start + 900].real.mean() for start in prefix_starts()]
    assert min(late) > 0.6
    assert max(map(abs, body)) < 0.1
    assert folded[72:88].real.mean() > 0.6  # the longer prefix of the first symbol


@pytest.mark.parametrize("mcs_indices", [QPSK, QAM16], ids=["qpsk", "16qam"])
def test_every_scheme_of_the_configurations_can_be_built(mcs_indices: tuple[int, ...]) -> None:
    for mcs_index in mcs_indices:
        grid = NrUplink((mcs_index,)).slots(1, 1, generator())[0, 0, 0]
        levels = grid.real.abs().mul(100).round().unique()
        assert len(levels) == (1 if mcs_index < 10 else 2)


@pytest.mark.parametrize("mcs_index", [0, 1, 2, 4, 28])
def test_schemes_that_sionna_cannot_build_are_refused(mcs_index: int) -> None:
    with pytest.raises(InputError, match=r"mcs_indices.*3, 5, 6.*27"):
        NrUplink((5, mcs_index))
    with pytest.raises((ValueError, UserWarning), match="coderate"):
        uplink._transmitter(1, mcs_index)


def test_arguments_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="profiles"):
        NrUplink(profiles=("E",))
    with pytest.raises(InputError, match="cell_id"):
        NrUplink(cell_id=1008)
    monkeypatch.setitem(sys.modules, "sionna", None)
    with pytest.raises(InputError, match=r"pip install rfsep\[nr\]"):
        NrUplink()


def test_the_generator_is_the_only_randomness() -> None:
    source = NrUplink()
    before = torch.get_rng_state()
    first, other = source.sample(3, 4000, generator(1)), source.sample(3, 4000, generator(2))
    again = pickle.loads(pickle.dumps(source)).sample(3, 4000, generator(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.waveform, again.waveform)
    assert torch.equal(first.offset, again.offset)
    assert (first.waveform - other.waveform).abs().square().mean() > 0.1
    assert (first.waveform[0] - first.waveform[1]).abs().square().mean() > 0.1
    assert first.waveform.shape == (3, 4000)
    assert first.waveform.dtype == torch.complex64
    assert first.bits.shape == (3, 0)
    assert ((first.offset >= 0) & (first.offset < 15_360)).all()
