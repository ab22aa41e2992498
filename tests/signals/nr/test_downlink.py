"""The NR downlink against py3gpp and the clauses of TS 38.211: synchronisation blocks, pilots, users, power."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rfsep.signals.constellations import constellation
from rfsep.signals.nr.downlink import NrDownlink
from rfsep.signals.nr.numerology import nr_ofdm
from rfsep.signals.nr.pilots import PILOT_SYMBOLS, pilot_values
from rfsep.signals.nr.ssb import block, block_starts, pbch_pilots, pss_values, sss_values
from rfsep.signals.nr.tracking import tracking_values
from rfsep.types import InputError

ORACLE = np.load(Path(__file__).parents[2] / "reference" / "nr_py3gpp.npz", allow_pickle=False)
CELLS = ORACLE["cells"].tolist()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected).to(found.dtype), atol=1e-5, rtol=0)


def test_synchronisation_signals_are_those_of_py3gpp() -> None:
    close(pss_values(), ORACLE["pss"])
    close(sss_values()[CELLS], ORACLE["sss"])
    close(
        torch.stack([torch.stack([pbch_pilots(cell, index) for index in range(8)]) for cell in CELLS]), ORACLE["pbch"]
    )


def test_pilots_of_the_shared_channel_are_those_of_py3gpp() -> None:
    """Ours have power 2, for no data lie beside them."""
    values = pilot_values(torch.tensor(CELLS))
    for place, (slot, symbol) in enumerate(ORACLE["dmrs_places"].tolist()):
        close(values[:, slot, PILOT_SYMBOLS.index(symbol)] / 2**0.5, ORACLE["dmrs"][:, place])


@pytest.mark.parametrize(("ours", "theirs"), [("qpsk", "qpsk"), ("qam16", "16qam"), ("qam64", "64qam")])
def test_constellations_are_those_of_py3gpp(ours: str, theirs: str) -> None:
    close(constellation(ours), ORACLE[theirs])


@pytest.mark.parametrize("cell", [0, 1, 2, 1007])
def test_data_of_the_broadcast_channel_lie_where_py3gpp_has_them(cell: int) -> None:
    places = block(cell, 0).data.flatten().nonzero()[:, 0]
    assert places.tolist() == ORACLE["pbch_data"][cell % 4].tolist()


def test_a_slot_with_a_block_is_the_waveform_of_py3gpp() -> None:
    """Mapping, carriers, prefixes: nothing but the scale of its transform differs."""
    grid = torch.zeros((14, 612), dtype=torch.complex64)
    grid[2:6, 180:420] = block(500, 2).values
    ours = nr_ofdm(grid)[::16] * 612**0.5 / 1024
    close(ours, ORACLE["slot"])


def test_starts_of_blocks_are_those_of_case_c() -> None:
    assert block_starts(4) == [2, 8, 16, 22]
    assert block_starts(8)[4:] == [30, 36, 44, 50]


def test_tracking_signals_by_a_gold_sequence_written_out() -> None:
    """Registers of clause 5.2.1 as plain lists, for one cell, slot and symbol."""
    cell, slot, symbol = 77, 1, 8
    seed = (2**10 * (14 * slot + symbol + 1) * (2 * cell + 1) + cell) % 2**31
    first, second = [1] + [0] * 30, [seed >> bit & 1 for bit in range(31)]
    for place in range(1600 + 306 - 31):
        first.append(first[place + 3] ^ first[place])
        second.append(second[place + 3] ^ second[place + 2] ^ second[place + 1] ^ second[place])
    bits = np.array(first[1600:]) ^ np.array(second[1600:])
    close(tracking_values(cell, slot)[1], ((1 - 2 * bits[::2]) + 1j * (1 - 2 * bits[1::2])) / 2**0.5)


def test_power_is_one_on_average_over_a_period() -> None:
    """Users are drawn at random, so 50 periods have about the mean; it is less before normalisation."""
    source = NrDownlink(idle=0.3, profiles=())
    grids = source.grids(torch.arange(40).repeat(50), generator())
    mean = float(grids.abs().square().mean())
    assert mean < 0.8
    assert mean * source._gain**2 == pytest.approx(1, abs=0.02)


def test_elements_of_a_period_are_as_allocated() -> None:
    """The first block, its neighbours, pilots without data beside them, and every constellation somewhere."""
    source = NrDownlink(cell_id=500, idle=0.0, profiles=())
    grids = source.grids(torch.arange(40), generator(1))
    known, data = block(500, 0)
    sent = grids[0, 2:6, 180:420]
    torch.testing.assert_close(sent[~data], known[~data])
    torch.testing.assert_close(sent[data].abs(), torch.ones(int(data.sum())))
    assert not bool(grids[0, [0, 1, 6, 7, 12], 180:420].any())
    assert bool((grids[0, [0, 1, 6, 7, 12], :180] != 0).all())
    pilots = grids[5, 2]
    torch.testing.assert_close(pilots[::2], pilot_values(torch.tensor([500]))[0, 5, 0])
    assert not bool(pilots[1::2].any())
    levels = torch.unique((grids[5:].real.abs() * 42**0.5).round(decimals=2))
    for level in (1, 3, 5, 7, round((42 / 10) ** 0.5, 2), round(3 * (42 / 10) ** 0.5, 2), round(21**0.5, 2)):
        assert bool(torch.isclose(levels, torch.tensor(float(level)), atol=0.02).any()), level


def test_a_window_is_a_part_of_the_slots_at_its_offset() -> None:
    sampled = NrDownlink(profiles=(), modulations=["qpsk"]).sample(3, 5000, generator(2))
    for waveform, offset in zip(sampled.waveform, sampled.offset.tolist(), strict=True):
        assert waveform.shape == (5000,)
        assert 0 <= offset < 15360
        start = next(begin - offset for begin in (0, *range(1112, 15360, 1096), 15360, 16472, 17568) if begin >= offset)
        length = 88 if (start + offset) % 15360 == 0 else 72
        torch.testing.assert_close(
            waveform[start : start + length], waveform[start + 1024 : start + 1024 + length], atol=1e-4, rtol=0
        )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"modulations": ["qam256"]}, "modulations: .*qam256"),
        ({"num_blocks": 9}, r"num_blocks: 9 must lie in 1\.\.8"),
        ({"first_block": 32}, r"first_block: 32 must lie in 0\.\.31"),
        ({"tracking": 4}, r"tracking: 4 must lie in 0\.\.3"),
        ({"cell_id": 1008}, r"cell_id: 1008 must lie in 0\.\.1007"),
        ({"idle": 1.0}, "idle: 1.0 must be at least 0 and below 1"),
        ({"most_users": 0}, "most_users: 0 must lie in"),
        ({"profiles": ["Z"]}, "profiles: .*Z"),
    ],
)
def test_wrong_arguments_are_named(argument: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NrDownlink(**argument)  # type: ignore[arg-type]
