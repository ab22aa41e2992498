"""5G NR uplink (PUSCH) through a fading channel; transport blocks and pilots by Sionna."""

import importlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rfsep.signals.bursts import Range, check_range
from rfsep.signals.channels.profiles import PROFILES
from rfsep.signals.constellations import constellation, map_bits
from rfsep.signals.nr.fading import faded
from rfsep.signals.nr.numerology import NUM_SUBCARRIERS
from rfsep.signals.nr.shared_channel import SharedChannel
from rfsep.types import InputError, Sampled

_SLOTS_PER_FRAME = 20
# Sionna's LDPC encoder refuses code rates below 1/5 (0, 1, 2) and base graph 1 below 1/3 (4); 28 exceeds rate 0.95
_MCS_INDICES = (3, *range(5, 28))


class _Transmitter(NamedTuple):
    channel: SharedChannel
    points: Tensor  # complex64 [P], the constellation


def _sionna(package: str) -> Any:
    """Imports a package of Sionna without its side effect of reseeding torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        return importlib.import_module(f"sionna.phy.{package}")


def _pusch_config(cell_id: int, mcs_index: int, slot: int) -> Any:
    """Full-band, full-slot PUSCH of one layer with pilots in symbols 2 and 11."""
    nr = _sionna("nr")
    carrier = nr.CarrierConfig(n_size_grid=51, subcarrier_spacing=30, n_cell_id=cell_id, slot_number=slot)
    config = nr.PUSCHConfig(carrier_config=carrier)
    config.tb.mcs_index = mcs_index
    config.dmrs.additional_position = 1
    return config


@lru_cache(maxsize=64)
def _transmitter(cell_id: int, mcs_index: int) -> _Transmitter:
    """Maps of bits to a slot's symbols, built once per process (0.2 s) so that sources stay small."""
    config = _pusch_config(cell_id, mcs_index, slot=0)
    order = int(config.tb.num_bits_per_symbol)
    encoder = _sionna("nr").TBEncoder(
        target_tb_size=int(config.tb_size),
        num_coded_bits=int(config.num_coded_bits),
        target_coderate=float(config.tb.target_coderate),
        num_bits_per_symbol=order,
        n_rnti=config.n_rnti,
        n_id=cell_id if config.tb.n_id is None else config.tb.n_id,
        device="cpu",
    )
    return _Transmitter(SharedChannel(encoder), constellation({2: "qpsk", 4: "qam16", 6: "qam64"}[order]))


@lru_cache(maxsize=8)
def _pilots(cell_id: int) -> tuple[list[int], Tensor]:
    """Returns the numbers of pilot symbols, and their carriers complex64 [20 slots, symbols, NUM_SUBCARRIERS].

    A Sionna transmitter repeats the pilots of one slot; TS 38.211 clause 6.4.1.1.1.1 changes them with the slot.
    """
    configs = [_pusch_config(cell_id, _MCS_INDICES[0], slot) for slot in range(_SLOTS_PER_FRAME)]
    symbols = [int(index) for index in configs[0].dmrs_symbol_indices]
    grids = np.stack([config.dmrs_grid[0].T[symbols] for config in configs])
    return symbols, torch.from_numpy(grids).to(torch.complex64)


class NrUplink:
    """Consecutive PUSCH slots of one user on the whole band, at a random time and through block fading.

    A window has one modulation and coding scheme and one Rayleigh channel with the delay profile of a tapped delay
    line of 3GPP TR 38.901; every slot carries a new transport block. Expected power 1.

    Args:
        mcs_indices: rows of TS 38.214 table 5.1.3.1-1 (3..9 QPSK, 10..16 16-QAM, 17..27 64-QAM), drawn per window.
        profiles: TDL profiles out of A, B, C, drawn per window; none means no channel.
        delay_spread_s: (low, high) of the uniform delay spread.
        cell_id: 0..1007, determines pilots and scrambling.

    Raises:
        InputError: Sionna is not installed, or an argument is none of the choices.
    """

    def __init__(
        self,
        mcs_indices: Sequence[int] = (3, 5, 6, 7, 8, 9),
        profiles: Sequence[str] = PROFILES,
        delay_spread_s: Range = (30e-9, 300e-9),
        cell_id: int = 1,
    ) -> None:
        if importlib.util.find_spec("sionna") is None:
            raise InputError("NrUplink needs Sionna: pip install rfsep[nr]")
        if not mcs_indices or not set(mcs_indices) <= set(_MCS_INDICES):
            choices = ", ".join(map(str, _MCS_INDICES))
            raise InputError(f"mcs_indices: {list(mcs_indices)} must be one or more of {choices}")
        if not set(profiles) <= set(PROFILES):
            raise InputError(f"profiles: {list(profiles)} must be out of {', '.join(PROFILES)}")
        if not 0 <= cell_id <= 1007:
            raise InputError(f"cell_id: {cell_id} must lie in 0..1007")
        self.mcs_indices = tuple(mcs_indices)
        self.profiles = tuple(profiles)
        self.delay_spread_s = check_range("delay_spread_s", delay_spread_s, 0.0, 1e-5)
        self.cell_id = cell_id

    def slots(self, batch_size: int, num_slots: int, generator: torch.Generator, heard: Tensor | None = None) -> Tensor:
        """Draws resource grids of consecutive slots from a random place of the frame: complex64 [B, slots, 14, 612].

        Where ``heard`` bool [B, slots] is False, bits are drawn as elsewhere and not coded, and the grid has no data.
        """
        symbols, pilots = _pilots(self.cell_id)
        data = [symbol for symbol in range(14) if symbol not in symbols]
        grids = torch.zeros((batch_size, num_slots, 14, NUM_SUBCARRIERS), dtype=torch.complex64)
        choice = torch.randint(0, len(self.mcs_indices), (batch_size,), generator=generator)
        for place, mcs_index in enumerate(self.mcs_indices):
            rows = (choice == place).nonzero()[:, 0]
            if len(rows) == 0:
                continue
            channel, points = _transmitter(self.cell_id, mcs_index)
            shape = (len(rows), num_slots, channel.num_bits)
            bits = torch.randint(0, 2, shape, dtype=torch.uint8, generator=generator)
            wanted = torch.ones(shape[:2], dtype=torch.bool) if heard is None else heard[rows]
            row, slot = wanted.nonzero().T
            values = map_bits(channel.encode(bits[row, slot]), points)
            grids[rows[row, None], slot[:, None], torch.tensor(data)] = values.view(len(row), len(data), -1)
        first = torch.randint(0, _SLOTS_PER_FRAME, (batch_size, 1), generator=generator)
        grids[:, :, symbols] = pilots[(first + torch.arange(num_slots)) % _SLOTS_PER_FRAME]
        return grids

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]; ``offset`` counts from the start of a slot on a path without delay."""
        return faded(self.slots, self.profiles, self.delay_spread_s, batch_size, num_samples, generator)
