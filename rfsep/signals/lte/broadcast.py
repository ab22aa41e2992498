"""Where the physical broadcast channel of LTE lies, and how its QPSK values are spread over ports.

3GPP TS 36.211 clauses 6.6 and 6.3.4. The channel takes the 72 carriers in the middle of symbols 0 to 3 of slot 1 of
every frame, without the places of reference signals of four ports, however many ports there are.
"""

from itertools import product

import torch
from torch import Tensor

SLOT, NUM_SYMBOLS = 1, 4
NUM_CARRIERS = 72

_SPACING = 3  # carriers from a reference signal of any port to the next
_WITH_PILOTS = (0, 1)  # symbols with reference signals of ports 0 and 1, or 2 and 3


def broadcast_carriers(cell: int, symbol: int) -> Tensor:
    """Returns the carriers of the channel from low to high in a symbol, int64 [48] or [72]: within -36 .. 36, not 0."""
    place = torch.arange(NUM_CARRIERS)
    if symbol in _WITH_PILOTS:
        place = place[place % _SPACING != cell % _SPACING]
    number = place - NUM_CARRIERS // 2
    return number + (number >= 0).long()


def received_points(gains: Tensor) -> Tensor:
    """Returns what groups of neighbouring carriers may carry: complex64 [n / P, 4^P, P].

    One port sends each value as it is. Two ports send pairs x, y as x, y and -y*, x* with half the power each.

    Args:
        gains: of one or two ports on the channel's n carriers, complex64 [P, n].
    """
    qpsk = torch.tensor([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j]) / 2**0.5
    if len(gains) == 1:
        return (gains[0][:, None] * qpsk)[..., None]
    pairs = torch.tensor(list(product(qpsk.tolist(), repeat=2)))  # [16, 2]
    other = torch.stack((-pairs[:, 1].conj(), pairs[:, 0].conj()), 1)
    first, second = gains.view(2, -1, 1, 2)
    received: Tensor = (first * pairs + second * other) / 2**0.5
    return received
