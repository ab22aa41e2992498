"""Detection beneath a 5G NR uplink: exact channels and timing without a SOI, and bit errors beside the genie's."""

import importlib.util
import itertools
import os

import numpy as np
import pytest
import torch

from rfsep.bounds.nr_genie import NrGenie
from rfsep.mixtures.mix import Mixer
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.nr.nr_bodies import Body, cut, cut_off_pilots, find_bodies, first_channel, sliced
from rfsep.separators.nr.nr_cell import find_cell
from rfsep.separators.nr.nr_channel import Channel, carrier_numbers, delays, quarter_turns
from rfsep.separators.nr.nr_detection import NrDetection
from rfsep.separators.nr.nr_timing import Symbol, find_symbols, otherwise
from rfsep.separators.nr.nr_waves import carrier_waves, sent_waveform
from rfsep.separators.nr.nr_windows import pieces, slot_symbols
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.nr import uplink
from rfsep.signals.nr.numerology import nr_ofdm
from rfsep.signals.nr.pilots import PILOT_SYMBOLS, pilot_grids
from rfsep.signals.nr.uplink import NrUplink
from rfsep.types import InputError

NONE = torch.zeros((0, 0), dtype=torch.complex64)
sionna = pytest.mark.skipif(importlib.util.find_spec("sionna") is None, reason="needs pip install rfsep[nr]")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def qpsk_slots(count: int, seed: int) -> torch.Tensor:
    """Grids complex64 [count, 14, 612] of QPSK without pilots."""
    signs = torch.randint(0, 2, (2, count, 14, 612), generator=generator(seed)) * 2.0 - 1
    return torch.complex(signs[0], signs[1]) / 2**0.5


@sionna
@pytest.mark.parametrize("cell", [1, 1007])
def test_pilots_are_those_of_sionna(cell: int) -> None:
    symbols, pilots = uplink._pilots(cell)
    assert tuple(symbols) == PILOT_SYMBOLS
    torch.testing.assert_close(pilot_grids(cell), pilots)


def test_quarter_turns_of_a_smooth_curve_are_found() -> None:
    """A curve that turns and passes close by zero, turned by random quarters: one turn is left, the same everywhere."""
    place = torch.linspace(0, 12, 254, dtype=torch.float64)
    curve = torch.polar(torch.ones_like(place), place) + torch.polar(torch.full_like(place, 0.95), -0.7 * place)
    turns = torch.tensor([1, 1j, -1, -1j])[torch.randint(0, 4, (254,), generator=generator(0))]
    found = quarter_turns((curve * turns)[None])[0] / curve
    torch.testing.assert_close(found, found[:1].expand(254))
    assert abs(found[0] ** 4 - 1) < 1e-9


@pytest.mark.parametrize("offset", [0, 500, 900, 15_000])
def test_one_tap_without_a_soi_is_recovered_exactly(offset: int) -> None:
    """Timing to the sample, and every symbol of every whole body, up to the quarter turn that nothing can tell."""
    grids = qpsk_slots(2, offset)
    sent = nr_ofdm(grids).flatten()[offset : offset + 2560]
    gain = torch.polar(torch.tensor(3.0), torch.tensor(0.4))
    window = (gain * sent).to(torch.complex128)
    symbols = find_symbols(window).symbols
    truth = slot_symbols(offset, 2560)
    bodies = find_bodies(window, symbols, pilot_grids(1).flatten(0, 1).to(torch.complex128))
    assert bodies
    faint = torch.full((612,), 1e-6, dtype=torch.float64)
    response = first_channel(window, window, symbols, bodies, faint, faint).response()
    for body in bodies:
        near = min(truth, key=lambda one: abs(one.body - symbols[body.place].body))
        assert abs(near.body - symbols[body.place].body) <= 3
        number = next(index for index, one in enumerate(all_symbols(offset)) if one == near)
        found = sliced(cut(window, symbols[body.place]) * response.conj())
        turned = found / grids.flatten(0, 1)[number]
        torch.testing.assert_close(turned, turned[:1].expand(612))
    late = (
        symbols[bodies[0].place].body - min(truth, key=lambda one: abs(one.body - symbols[bodies[0].place].body)).body
    )
    ramp = torch.polar(torch.ones(612, dtype=torch.float64), 2 * torch.pi / 1024 * late * carrier_numbers().double())
    flat = response * ramp.conj() / gain
    torch.testing.assert_close(flat, flat.mean().expand(612), atol=0.02, rtol=0)
    assert abs(flat.mean() ** 4 - 1) < 0.02


def all_symbols(offset: int) -> list[Symbol]:
    """The symbols of two slots, in a window that begins ``offset`` samples into the first."""
    slots = slot_symbols(0, 2 * 15_360)
    return [Symbol(one.body - offset, one.prefix) for one in slots]


def test_carriers_add_up_to_the_waveform_that_is_sent() -> None:
    """Against a convolution of the transmitted samples, for a symbol that begins before the window."""
    taps = torch.zeros(120, dtype=torch.complex128)
    taps[[25, 28, 60]] = torch.tensor([0.3, 1j, -0.5], dtype=torch.complex128)
    grid = qpsk_slots(1, 3)[0, 0].to(torch.complex128)
    symbol, decimator = Symbol(-200, 72), torch.eye(1300, dtype=torch.float64)
    waveform = sent_waveform(symbol, grid, taps, 1300)
    time = torch.arange(-400, 1300)
    turn = 2 * torch.pi / 1024 * (carrier_numbers()[:, None] * (time + 200)).double()
    sent = (grid[:, None] * torch.polar(torch.ones_like(turn), turn)).sum(0) / 612**0.5
    sent = sent * ((time >= -272) & (time < 824))
    expected = 0.3 * sent.roll(-3) + 1j * sent - 0.5 * sent.roll(32)
    torch.testing.assert_close(waveform, expected[400:], atol=1e-9, rtol=0)
    waves = carrier_waves(decimator, symbol, taps, carrier_numbers())
    torch.testing.assert_close(waves.values @ grid, waveform[waves.rows], atol=1e-9, rtol=0)


def test_pilots_that_are_cut_off_are_recognised() -> None:
    """A quarter of a symbol of pilots is enough; data are not taken for pilots."""
    pilots = pilot_grids(1).flatten(0, 1).to(torch.complex128)
    taps = torch.zeros(120, dtype=torch.complex128)
    taps[[28, 40]] = torch.tensor([1.0, 0.4j], dtype=torch.complex128)
    channel = Channel(taps, torch.zeros((120, 120), dtype=torch.complex128), taps.abs(), 0.0)
    symbols = [Symbol(-768, 72), Symbol(328, 72), Symbol(1424, 72)]
    data = qpsk_slots(1, 5)[0].to(torch.complex128)
    for first, expected in ((1j * pilots[17], {0: 1j * pilots[17]}), (data[0], {})):
        window = sum(
            sent_waveform(symbol, grid, taps, 1424)
            for symbol, grid in zip(symbols, (first, data[1], data[2]), strict=True)
        )
        found = cut_off_pilots(window, symbols, [Body(1, None)], channel, pilots)
        assert found.keys() == expected.keys()
        for place, grid in expected.items():
            torch.testing.assert_close(found[place], grid)


def test_taps_are_delays() -> None:
    number = carrier_numbers().double()
    torch.testing.assert_close(delays()[:, 29], torch.polar(torch.ones(612).double(), -2 * torch.pi / 1024 * number))


def heard(cell: int, number: int = 12, num_samples: int = 4096) -> torch.Tensor:
    return NrUplink(cell_id=cell).sample(number, num_samples, generator(cell)).waveform


@sionna
@pytest.mark.parametrize(("cell", "number", "num_samples"), [(0, 12, 4096), (77, 30, 2560), (500, 1, 40_000)])
def test_the_cell_is_found_in_frames_of_sionna(cell: int, number: int, num_samples: int) -> None:
    """Through fading, at unknown times, in noise 10 dB below."""
    frames = heard(cell, number, num_samples)
    noise = torch.randn(frames.shape, dtype=torch.complex64, generator=generator(1))
    assert find_cell(frames) == cell
    assert find_cell(frames + 0.3 * noise) == cell


@sionna
def test_the_cell_of_an_uplink_of_another_modulation() -> None:
    assert find_cell(NrUplink(mcs_indices=[12], cell_id=1007).sample(12, 4096, generator(3)).waveform) == 1007


def test_no_cell_in_what_is_no_uplink() -> None:
    """Noise, silence, frames that are too short, none; and pilots of no cell: a comb of random points."""
    random = generator(4)
    for shape in ((8, 4096), (40, 500), (0, 0)):
        assert find_cell(torch.randn(shape, dtype=torch.complex64, generator=random)) is None
    assert find_cell(torch.zeros((2, 4096), dtype=torch.complex64)) is None
    grids = qpsk_slots(4, 4)
    grids[:, list(PILOT_SYMBOLS), 1::2] = 0
    assert find_cell(nr_ofdm(grids)) is None


@sionna
def test_a_cell_that_is_told_and_does_not_fit_is_warned_of_and_the_right_one_taken() -> None:
    modem, frames = LinearModem(), heard(500)
    found = NrDetection(modem, frames)
    assert found.cell_id == 500
    with pytest.warns(UserWarning, match="cell_id is 1, but the example frames carry the pilots of cell 500"):
        told = NrDetection(modem, frames, cell_id=1)
    assert torch.equal(told.pilots, found.pilots)
    assert torch.equal(found.pilots, pilot_grids(500).flatten(0, 1).to(torch.complex128))
    assert NrDetection(modem, frames, cell_id=500).cell_id == 500
    with pytest.raises(InputError, match=r"cell_id is 1008, expected 0\.\.1007"):
        NrDetection(modem, NONE, cell_id=1008)


@sionna
def test_an_uplink_whose_cell_nothing_tells_is_detected_without_its_pilots() -> None:
    """Symbols of pilots are left out, not taken for data."""
    modem = LinearModem()
    batch = Mixer(modem, NrUplink(cell_id=500)).draw(torch.full((3,), -12.0), 2560, generator(3))
    separator = NrDetection(modem, NONE)
    assert separator.cell_id is None
    assert float((separator.separate(batch.mixture).bits != batch.bits).double().mean()) < 0.05


@sionna
def test_bit_errors_stay_near_those_of_the_genie() -> None:
    """At -18 dB a third of the matched filter's bits are wrong; what is left are symbols at the window's ends."""
    modem, source = LinearModem(), NrUplink()
    batch = Mixer(modem, source).draw(torch.full((6,), -18.0), 2560, generator(11))
    rates = [
        float((estimate.bits != batch.bits).double().mean())
        for estimate in (
            MatchedFilter(modem, NONE).separate(batch.mixture),
            NrDetection(modem, NONE, cell_id=1).separate(batch.mixture),
            NrGenie(modem, source, 0.0).estimate(batch),
        )
    ]
    assert rates[0] > 0.2
    assert rates[2] < 0.025
    assert rates[1] < rates[2] + 0.005


@sionna
def test_windows_that_do_not_fit_are_looked_at_again() -> None:
    """One of whose symbols quick propagation is wrongly sure, and one that ends in a symbol of a long prefix."""
    modem = LinearModem()
    batch = Mixer(modem, NrUplink()).draw(torch.full((100,), -24.0), 2560, generator(5))
    found = NrDetection(modem, NONE, cell_id=1).separate(batch.mixture[[45, 36]])
    assert int((found.bits != batch.bits[[45, 36]]).sum()) == 0


def test_only_a_last_symbol_that_is_cut_off_may_have_another_prefix() -> None:
    symbols = [Symbol(-100, 72), Symbol(996, 72), Symbol(2092, 72)]
    assert otherwise(symbols, 3116) == [symbols]
    assert otherwise(symbols, 3115) == [symbols, [*symbols[:2], Symbol(2108, 88)]]
    long = [*symbols[:2], Symbol(2108, 88)]
    assert otherwise(long, 2560) == [long, symbols]


def test_what_is_no_uplink_is_estimated_linearly() -> None:
    """Noise, silence, a tone: windows whose channel cannot be fitted, beside one that can."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((2, 2560), dtype=torch.complex64, generator=generator)
    modem = LinearModem()
    clean = modem.sample(2, 2560, generator)
    separator = NrDetection(modem, noise)
    found = separator.separate(clean.waveform + noise)
    wrong = modem.decide(clean.waveform + noise) != clean.bits
    assert int((found.bits != clean.bits).sum()) <= int(wrong.sum()) + 2
    tone = 3 * torch.exp(2j * torch.pi * 0.21 * torch.arange(2560)).to(torch.complex64)
    assert torch.equal(separator.separate(clean.waveform + tone).bits, clean.bits)
    assert not bool(separator.separate(torch.zeros((1, 2560), dtype=torch.complex64)).soi.any())


def recorded(name: str) -> torch.Tensor:
    """A waveform complex64 [T] of unit power by a transmitter that is not ours."""
    folder = os.environ.get("RFSEP_RECORDINGS")
    if not folder:
        pytest.skip("needs the recordings at RFSEP_RECORDINGS")
    samples = np.fromfile(f"{folder}/independent/{name}.sigmf-data", "<i2").astype(np.float32)
    waveform = torch.from_numpy(samples[::2] + 1j * samples[1::2])
    return waveform / waveform.abs().square().mean().sqrt()


def impaired(window: torch.Tensor, carrier: float) -> torch.Tensor:
    """Delays a window by .37 sample, adds a ray of half its size at three samples, turns it, adds 20 dB of noise."""
    heard = window + 0.5j * window.roll(3)
    frequency = torch.fft.fftfreq(len(heard))
    heard = torch.fft.ifft(torch.fft.fft(heard) * torch.exp(-2j * torch.pi * 0.37 * frequency))
    noise = torch.randn(len(heard), dtype=torch.complex64, generator=generator(1))
    return heard * torch.exp(2j * torch.pi * carrier * torch.arange(len(heard))) + 0.1 * noise


def beneath(interference: torch.Tensor, sinr_db: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A mixture complex64 [1, T] and the bits of its SOI."""
    soi = LinearModem().sample(1, len(interference), generator(seed))
    return soi.waveform + 10 ** (-sinr_db / 20) * interference, soi.bits


@pytest.mark.parametrize("carrier", [0.0, 1e-4, 1e-3])
def test_a_downlink_of_py3gpp_is_detected_through_everything_at_once(carrier: float) -> None:
    """No cell is told; 1e-3 cycles per sample is more than a carrier. The window begins with a symbol of slot 9."""
    stream = recorded("nr-py3gpp-cell77")
    examples = torch.stack([impaired(stream[start : start + 8192], carrier) for start in (0, 20_000, 40_000)])
    separator = NrDetection(LinearModem(), examples)
    assert separator.cell_id == 77
    start = 9 * 15_360 - 32
    window = impaired(stream[start : start + 2624], carrier)[32:2592]
    mixture, bits = beneath(window, -12.0, 5)
    assert float((separator.separate(mixture).bits != bits).double().mean()) < 0.03
    assert float((MatchedFilter(LinearModem(), NONE).separate(mixture).bits != bits).double().mean()) > 0.15


def test_long_mixtures_are_cut_where_symbols_begin() -> None:
    """Few bits are lost, and those at the ends: symbols that the mixture cuts off."""
    stream = recorded("nr-py3gpp-cell77")
    separator = NrDetection(LinearModem(), stream[:24_576].view(3, 8192))
    mixture, bits = beneath(stream[200_000:208_192], -18.0, 6)
    wrong = (separator.separate(mixture).bits != bits)[0].view(-1, 2).any(1).nonzero()[:, 0] * 16
    assert len(wrong) < 15
    assert not bool(((wrong > 1096) & (wrong < 8192 - 1096)).any())


def test_pieces_meet_within_whole_symbols() -> None:
    symbols = slot_symbols(7000, 40_000)
    cut = pieces(symbols, 40_000, 16)
    assert (cut[0].first, cut[-1].last) == (0, 40_000)
    assert all(one.last == other.first for one, other in itertools.pairwise(cut))
    for one, other in itertools.pairwise(cut):
        begin, end = next(
            (symbol.body - symbol.prefix, symbol.body + 1024)
            for symbol in symbols
            if symbol.body - symbol.prefix <= one.last < symbol.body + 1024
        )
        assert other.start % 16 == 0
        assert other.start <= begin
        assert end <= one.stop


@pytest.mark.parametrize("name", ["lte-srsran-loaded", "ofdm-gnuradio"])
def test_another_standard_is_left_to_lmmse(name: str) -> None:
    """Told a cell, which it has not."""
    stream = recorded(name)
    examples = stream[:24_576].view(3, 8192)
    mixture, _ = beneath(stream[100_000:102_560], -6.0, 7)
    modem = LinearModem()
    found = NrDetection(modem, examples, cell_id=5).separate(mixture)
    assert torch.equal(found.bits, Lmmse(modem, examples).separate(mixture).bits)


@pytest.mark.parametrize("symbol", [1, 4])
def test_a_wrong_cell_that_no_example_contradicts_does_no_harm(symbol: int) -> None:
    """One window whose only whole symbols are pilots and one of data, in a downlink of cell 77; cell 5 is told."""
    stream = recorded("nr-py3gpp-cell77")
    modem, examples = LinearModem(), torch.randn((4, 4096), dtype=torch.complex64, generator=generator(9))
    start = 15_360 + 16 + symbol * 1096 + 60
    mixture, bits = beneath(stream[start : start + 2560], -6.0, 8)
    separator = NrDetection(modem, examples, cell_id=5)
    assert separator.cell_id == 5
    wrong = [int((one.separate(mixture).bits != bits).sum()) for one in (separator, Lmmse(modem, examples))]
    assert wrong[0] <= wrong[1]


def test_windows_whose_bits_contradict_sure_linear_ones_are_left_to_linear_estimators() -> None:
    """Echoes beyond the prefix: detection explains the windows, and two thirds of its errors are its own."""
    modem, examples = LinearModem(), nr_ofdm(qpsk_slots(8, 99))
    found, linear = 0, 0
    for seed in (0, 1):
        soi = modem.sample(1, 2560, generator(seed))
        sent = nr_ofdm(qpsk_slots(1, seed + 10)).flatten()[None, :4096]
        heard = sent + 0.6j * sent.roll(40, 1) - 0.5 * sent.roll(90, 1)
        heard = (heard / heard.abs().square().mean().sqrt())[:, 700:3260]
        noise = torch.randn((1, 2560), dtype=torch.complex64, generator=generator(seed + 5))
        mixture = soi.waveform + 3 * heard + 0.2 * noise
        found += int((NrDetection(modem, examples).separate(mixture).bits != soi.bits).sum())
        linear += int((Lmmse(modem, examples).separate(mixture).bits != soi.bits).sum())
    assert found <= linear
