"""Synchronisation signals of LTE, which every base station sends twice in a frame on the 62 carriers in the middle.

3GPP TS 36.211 clauses 6.11.1 and 6.11.2. A cell's number is three times its group, which the secondary signal tells,
plus its identity in the group, which the primary signal tells. With frequency division duplex they stand in the last
two symbols of slots 0 and 10; with time division duplex the primary one is in symbol 2 of slots 2 and 12, and the
secondary one at the end of the slot before.
"""

from functools import cache

import torch
from torch import Tensor

NUM_CARRIERS = 62
NUM_GROUPS, NUM_IDENTITIES = 168, 3
HALF_FRAME = 10  # slots

_LENGTH = 31  # elements per maximal sequence
_ROOTS = (25, 29, 34)  # table 6.11.1.1-1
_S_TAPS, _C_TAPS, _Z_TAPS = (2, 0), (3, 0), (4, 2, 1, 0)  # recursions of clause 6.11.2.1


def synchronisation_carriers() -> Tensor:
    """Returns the carriers of either signal, int64 [62]: -31 .. 31 without 0."""
    number = torch.arange(NUM_CARRIERS) - NUM_CARRIERS // 2
    return number + (number >= 0).long()


@cache
def primary_values() -> Tensor:
    """Returns the primary signal of each identity, of carriers from low to high: complex64 [3, 62]."""
    n = torch.arange(NUM_CARRIERS, dtype=torch.float64)
    place = torch.where(n < _LENGTH, n * (n + 1), (n + 1) * (n + 2))
    phase = -torch.pi * torch.tensor(_ROOTS, dtype=torch.float64)[:, None] * place / 63
    return torch.polar(torch.ones_like(phase), phase).to(torch.complex64)


def _maximal_sequence(taps: tuple[int, ...]) -> Tensor:
    """Returns 1 - 2 x(n), float32 [31]: x(n + 5) is the sum of the x(n + tap) modulo 2, and x(4) is the first 1."""
    bits = [0, 0, 0, 0, 1]
    for n in range(_LENGTH - len(bits)):
        bits.append(sum(bits[n + tap] for tap in taps) % 2)
    return 1 - 2 * torch.tensor(bits, dtype=torch.float32)


@cache
def secondary_values() -> Tensor:
    """Returns the secondary signal of each cell, in slots 0 and 10, or 1 and 11: float32 [504, 2, 62]."""
    cell, n = torch.arange(NUM_GROUPS * NUM_IDENTITIES)[:, None], torch.arange(_LENGTH)
    group, identity = cell // NUM_IDENTITIES, cell % NUM_IDENTITIES
    rough = group // 30
    q = (group + rough * (rough + 1) // 2) // 30
    sum_of_both = group + q * (q + 1) // 2
    m0 = sum_of_both % _LENGTH
    m1 = (m0 + sum_of_both // _LENGTH + 1) % _LENGTH
    s, c, z = (_maximal_sequence(taps) for taps in (_S_TAPS, _C_TAPS, _Z_TAPS))
    s0, s1 = s[(n + m0) % _LENGTH], s[(n + m1) % _LENGTH]
    c0, c1 = c[(n + identity) % _LENGTH], c[(n + identity + NUM_IDENTITIES) % _LENGTH]
    z0, z1 = z[(n + m0 % 8) % _LENGTH], z[(n + m1 % 8) % _LENGTH]
    even, odd = torch.stack((s0, s1), 1) * c0[:, None], torch.stack((s1 * z0, s0 * z1), 1) * c1[:, None]
    return torch.stack((even, odd), -1).flatten(-2)
