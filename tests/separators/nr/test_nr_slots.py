"""Slots of a downlink as sent: synchronisation blocks, pilots, tracking signals, users; and the SOI beneath them."""

import pytest
import torch

from rfsep.separators.inference.elements import EMPTY, KNOWN, NAMES, decided, log_likelihoods, tilted_kinds
from rfsep.separators.inference.expectation_propagation import Marginals, tilted
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.nr.nr_detection import NrDetection
from rfsep.separators.nr.nr_known import Synchronised, find_synchronisation
from rfsep.separators.nr.nr_slots import Layout, read_slots
from rfsep.separators.nr.nr_windows import find_slots
from rfsep.signals.constellations import constellation
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.nr.downlink import NrDownlink
from rfsep.signals.nr.numerology import nr_ofdm


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slots_of(source: NrDownlink, first: int, count: int, seed: int) -> torch.Tensor:
    """Grids complex64 [14 count, 612] of consecutive slots."""
    return source.grids(torch.arange(first, first + count), generator(seed)).flatten(0, 1)


def read(grids: torch.Tensor, offset: int, length: int, cell: int, sync: Synchronised | None) -> Layout:
    window = nr_ofdm(grids.view(-1, 14, 612)).flatten()[offset : offset + length].to(torch.complex128)
    layout = read_slots(
        window, window, find_slots(window).symbols, cell, sync, torch.full((612,), 1e-3, dtype=torch.float64), 1.0
    )
    assert layout is not None
    return layout


def test_every_element_of_two_slots_is_read() -> None:
    """Slots 0 and 1 hold four blocks and tracking signals; their users have all constellations in turn."""
    source = NrDownlink(cell_id=500, profiles=(), most_users=8)
    grids = slots_of(source, 0, 3, 4)
    layout = read(grids, 600, 32_000, 500, Synchronised(500, 180))
    starts = [slot * 15_360 + (symbol > 0) * 16 + symbol * 1096 for slot in range(3) for symbol in range(14)]
    seen = set()
    for place in layout.bodies:
        symbol = layout.symbols[place]
        sent = grids[starts.index(symbol.body - symbol.prefix + 600)].to(torch.complex128)
        kinds = layout.kinds[place]
        assert bool((kinds != EMPTY).all())
        torch.testing.assert_close(layout.known[place][kinds == KNOWN], sent[kinds == KNOWN], atol=1e-5, rtol=0)
        for kind in range(len(NAMES)):
            points = constellation(NAMES[kind]).to(torch.complex128)
            assert bool(((sent[kinds == kind][:, None] - points).abs().min(1).values < 1e-5).all())
        torch.testing.assert_close(layout.sent(place), sent, atol=1e-5, rtol=0)
        seen |= set(kinds.tolist())
    assert seen == {KNOWN, 0, 1, 2}
    assert len(layout.bodies) > 26


def test_slots_of_another_cell_are_not_read() -> None:
    grids = slots_of(NrDownlink(cell_id=500, profiles=()), 4, 3, 4)
    window = nr_ofdm(grids.view(-1, 14, 612)).flatten().to(torch.complex128)
    variance = torch.full((612,), 1e-3, dtype=torch.float64)
    symbols = find_slots(window).symbols
    assert read_slots(window, window, symbols, 501, None, variance, 1.0) is None
    assert read_slots(window, window, symbols, 500, None, variance, 1.0) is not None


@pytest.mark.parametrize(("cell", "block"), [(500, 3), (77, 15)])
def test_the_cell_is_searched_by_its_synchronisation_signals(cell: int, block: int) -> None:
    """Through three rays, at unknown times, in noise 10 dB below, and through a carrier offset."""
    sent = nr_ofdm(slots_of(NrDownlink(cell_id=cell, first_block=block), 0, 2, cell).view(-1, 14, 612)).flatten()
    heard = sent + 0.5j * sent.roll(9) - 0.3 * sent.roll(31)
    frames = (heard * torch.exp(2j * torch.pi * 3e-4 * torch.arange(30_720)))[400:25_400].view(2, 12_500)
    noise = torch.randn(frames.shape, dtype=torch.complex64, generator=generator(1))
    assert find_synchronisation(frames + 0.3 * noise) == Synchronised(cell, 12 * block)


def test_noise_holds_no_synchronisation_signals() -> None:
    assert find_synchronisation(torch.randn((8, 16_384), dtype=torch.complex64, generator=generator(0))) is None
    assert find_synchronisation(torch.zeros((0, 0), dtype=torch.complex64)) is None


def test_kinds_of_elements() -> None:
    """Points through a channel are decided, told apart by their likelihood, and given the right posteriors."""
    sent = constellation("qam16")[torch.randint(0, 16, (612,), generator=generator(2))].to(torch.complex128)
    response = torch.polar(torch.linspace(0.5, 2, 612).double(), torch.linspace(0, 9, 612).double())
    kinds = torch.full((612,), 1)
    torch.testing.assert_close(decided(1.02 * response * sent, response, kinds), sent, atol=1e-6, rtol=0)
    heard = response * sent + 0.05 * torch.randn(612, dtype=torch.complex128, generator=generator(3))
    found = log_likelihoods(heard, response, torch.full((612,), 0.05**2, dtype=torch.float64)).sum(0)
    assert int(found.argmax()) == 2
    cavity = Marginals(heard, torch.full((612,), 0.3, dtype=torch.float64))
    mixed = tilted_kinds(cavity, torch.arange(612) % 3)
    for kind, name in enumerate(NAMES):
        alone = tilted(cavity, constellation(name).to(torch.complex128))
        torch.testing.assert_close(mixed.mean[kind::3], alone.mean[kind::3])
        torch.testing.assert_close(mixed.variance[kind::3], alone.variance[kind::3])


def test_a_soi_beneath_synchronisation_blocks_and_users_of_qpsk() -> None:
    """A slot of a cell that nobody tells, with two blocks over the SOI."""
    source = NrDownlink(["qpsk"], cell_id=500, profiles=(), idle=0.2)
    modem = LinearModem()
    sent = nr_ofdm(slots_of(source, 0, 2, 5).view(-1, 14, 612)).flatten()
    separator = NrDetection(modem, nr_ofdm(slots_of(source, 0, 2, 6).view(-1, 14, 612)))
    assert separator.cell_id == 500
    assert separator.sync == Synchronised(500, 180)
    soi = modem.sample(1, 8192, generator(8))
    mixture = soi.waveform + 4 * sent[15_060:23_252]
    wrong = [
        (one.separate(mixture).bits != soi.bits)[0].view(-1, 2).any(1)
        for one in (MatchedFilter(modem, mixture), separator)
    ]
    inside = slice(1096 // 16, (8192 - 1096) // 16)  # Symbols that the mixture cuts off are harder.
    assert int(wrong[0][inside].sum()) > 20
    assert int(wrong[1][inside].sum()) == 0
