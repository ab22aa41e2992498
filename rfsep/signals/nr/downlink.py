"""5G NR downlink: synchronisation blocks, shared channel (PDSCH) with pilots, tracking signals; by TS 38.211 alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rfsep.iq import one_thread
from rfsep.signals.bursts import Range, check_range
from rfsep.signals.channels.profiles import PROFILES
from rfsep.signals.constellations import constellation
from rfsep.signals.nr.fading import faded
from rfsep.signals.nr.numerology import NUM_CELLS, NUM_SUBCARRIERS
from rfsep.signals.nr.pilots import NUM_SLOTS, PILOT_SYMBOLS, pilot_grids
from rfsep.signals.nr.ssb import BLOCK_CARRIERS, BLOCK_SYMBOLS, block, block_starts
from rfsep.signals.nr.tracking import SPACING, SYMBOLS, tracking_values
from rfsep.types import InputError, Sampled

RESOURCE_BLOCKS = NUM_SUBCARRIERS // 12
PERIOD_SLOTS = 2 * NUM_SLOTS  # Synchronisation blocks come every 20 ms, the period that TS 38.213 clause 4.1 assumes.
MODULATIONS = ("qpsk", "qam16", "qam64")
_EMPTY = -1
_QPSK = 0  # index of the broadcast channel's constellation in MODULATIONS


class NrDownlink:
    """Consecutive slots of a cell with several users, at a random time and through block fading.

    A slot's resource blocks are divided at random among users, each with one constellation. Some are left empty. The
    shared channel takes the whole slot (mapping type A), with pilots of configuration type 1 in symbols 2 and 11 and no
    data beside them; in slots with synchronisation blocks it leaves out their resource blocks. Data are random points,
    for scrambled codewords look like these. Expected power 1.

    Args:
        modulations: constellations out of qpsk, qam16, qam64, drawn per user and slot.
        most_users: largest number of parts that a slot is divided into.
        idle: probability that a part is empty.
        num_blocks: synchronisation blocks per 20 ms, at most eight.
        first_block: lowest resource block of the synchronisation blocks.
        tracking: first carrier, 0..3, of the tracking signals, which two slots of a frame in a row carry; None: none.
        profiles: TDL profiles out of A, B, C, drawn per window; none means no channel.
        delay_spread_s: (low, high) of the uniform delay spread.
        cell_id: 0..1007, determines every known element.

    Raises:
        InputError: an argument is none of the choices.
    """

    def __init__(
        self,
        modulations: Sequence[str] = MODULATIONS,
        most_users: int = 3,
        idle: float = 0.1,
        num_blocks: int = 4,
        first_block: int = 15,
        tracking: int | None = 1,
        profiles: Sequence[str] = PROFILES,
        delay_spread_s: Range = (30e-9, 300e-9),
        cell_id: int = 1,
    ) -> None:
        if not modulations or not set(modulations) <= set(MODULATIONS):
            raise InputError(f"modulations: {list(modulations)} must be out of {', '.join(MODULATIONS)}")
        if not 1 <= most_users <= RESOURCE_BLOCKS:
            raise InputError(f"most_users: {most_users} must lie in 1..{RESOURCE_BLOCKS}")
        if not 0 <= idle < 1:
            raise InputError(f"idle: {idle} must be at least 0 and below 1")
        if not 0 <= first_block <= RESOURCE_BLOCKS - BLOCK_CARRIERS // 12:
            raise InputError(f"first_block: {first_block} must lie in 0..{RESOURCE_BLOCKS - BLOCK_CARRIERS // 12}")
        if tracking is not None and not 0 <= tracking < SPACING:
            raise InputError(f"tracking: {tracking} must lie in 0..{SPACING - 1}")
        if not set(profiles) <= set(PROFILES):
            raise InputError(f"profiles: {list(profiles)} must be out of {', '.join(PROFILES)}")
        if not 0 <= cell_id < NUM_CELLS:
            raise InputError(f"cell_id: {cell_id} must lie in 0..{NUM_CELLS - 1}")
        self.kinds = torch.tensor([MODULATIONS.index(name) for name in modulations])
        self.most_users = most_users
        self.idle = idle
        self.starts = block_starts(num_blocks)
        self.first_block = first_block
        self.tracking = tracking
        self.profiles = tuple(profiles)
        self.delay_spread_s = check_range("delay_spread_s", delay_spread_s, 0.0, 1e-5)
        self.cell_id = cell_id
        with one_thread():
            self._gain = self._expected_power() ** -0.5

    def _expected_power(self) -> float:
        """Returns the mean power of a resource element over a period."""
        shared = torch.full((PERIOD_SLOTS, 14, NUM_SUBCARRIERS), 1 - self.idle)
        if self.tracking is not None:
            shared[::NUM_SLOTS, SYMBOLS, self.tracking :: SPACING] = 1.0
            shared[1::NUM_SLOTS, SYMBOLS, self.tracking :: SPACING] = 1.0
        for slot in {start // 14 for start in self.starts}:
            shared[slot, :, self._block_carriers()] = 0.0
        for start in self.starts:
            values, data = block(self.cell_id, 0)
            symbols = slice(start % 14, start % 14 + BLOCK_SYMBOLS)
            shared[start // 14, symbols, self._block_carriers()] = values.abs() ** 2 + data
        return float(shared.mean())

    def _block_carriers(self) -> slice:
        return slice(12 * self.first_block, 12 * self.first_block + BLOCK_CARRIERS)

    def _allocations(self, slots: Tensor, generator: torch.Generator) -> Tensor:
        """Draws the constellation of every resource block of slots int64 [n] of the period: int64 [n, 51]."""
        shape = (len(slots), self.most_users)
        edges = torch.randint(0, RESOURCE_BLOCKS, shape, generator=generator)
        users = torch.randint(1, self.most_users + 1, (len(slots), 1), generator=generator)
        edges[:, 0] = 0
        edges[torch.arange(self.most_users) >= users] = RESOURCE_BLOCKS  # parts beyond the last user
        kinds = self.kinds[torch.randint(0, len(self.kinds), shape, generator=generator)]
        kinds[torch.rand(shape, generator=generator) < self.idle] = _EMPTY
        edges, order = edges.sort(1)
        part = torch.searchsorted(edges, torch.arange(RESOURCE_BLOCKS).expand(len(slots), -1).contiguous(), right=True)
        allocated = kinds.gather(1, order).gather(1, part - 1)
        synchronising = torch.isin(slots, torch.tensor([start // 14 for start in self.starts]))
        first, last = self.first_block, self.first_block + BLOCK_CARRIERS // 12
        allocated[synchronising, first:last] = _EMPTY
        return allocated

    def grids(self, slots: Tensor, generator: torch.Generator) -> Tensor:
        """Draws resource grids of slots int64 [n] of the 20 ms period: complex64 [n, 14, 612], before normalisation."""
        kinds = self._allocations(slots, generator).repeat_interleave(12, 1)[:, None].expand(-1, 14, -1)
        pilots = pilot_grids(self.cell_id)[slots % NUM_SLOTS]
        grids = _points(kinds, generator)
        grids[:, PILOT_SYMBOLS] = torch.where(kinds[:, :2] == _EMPTY, 0, pilots)
        for place, slot in enumerate(slots.tolist()):
            if self.tracking is not None and slot % NUM_SLOTS < 2:
                values = tracking_values(self.cell_id, slot % NUM_SLOTS)
                grids[place, SYMBOLS, self.tracking :: SPACING] = values
            for index, start in enumerate(self.starts):
                if start // 14 == slot:
                    values, data = block(self.cell_id, index)
                    sent = torch.where(data, _points(torch.where(data, _QPSK, _EMPTY), generator), values)
                    grids[place, start % 14 : start % 14 + BLOCK_SYMBOLS, self._block_carriers()] = sent
        return grids

    def slots(self, batch_size: int, num_slots: int, generator: torch.Generator, heard: Tensor | None = None) -> Tensor:
        """Draws consecutive slots from a random place of the period, heard or not: complex64 [B, slots, 14, 612]."""
        first = torch.randint(0, PERIOD_SLOTS, (batch_size, 1), generator=generator)
        slots = (first + torch.arange(num_slots)) % PERIOD_SLOTS
        grids: Tensor = self._gain * self.grids(slots.flatten(), generator)
        return grids.view(batch_size, num_slots, *grids.shape[1:])

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws windows complex64 [B, T]; ``offset`` counts from the start of a slot on a path without delay."""
        return faded(self.slots, self.profiles, self.delay_spread_s, batch_size, num_samples, generator)


def _points(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """Draws points complex64 [...] of constellations int64 [...], 0 where there is none."""
    drawn = torch.randint(0, 64, kinds.shape, generator=generator)
    points = torch.zeros(kinds.shape, dtype=torch.complex64)
    for kind, name in enumerate(MODULATIONS):
        table = constellation(name)
        points = torch.where(kinds == kind, table[drawn % len(table)], points)
    return points
