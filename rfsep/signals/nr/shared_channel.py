"""The coding of a shared channel, bit for bit that of Sionna's transmitter: TS 38.212 clauses 5.1 to 5.5.

Sionna gathers and sums float32 numbers along the edges of the code's graph. Here they are bytes, and an edge is the
exclusive or of two rows of them, because every block of the parity-check matrix is a cyclic shift.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]
_CORE = 4  # block rows whose parities depend on one another


class Code(NamedTuple):
    """A low-density parity-check code of TS 38.212 clause 5.3.2 with its rate matching.

    Attributes:
        shifts: of the base graph's rows that are sent, by column; -1 where a block is zero.
        lifting: bits Z of a block.
        num_information: bits K before the fillers.
        num_sent: bits of a code word after rate matching.
    """

    shifts: list[list[int]]
    lifting: int
    num_information: int
    num_sent: int

    def encode(self, information: Bytes) -> Bytes:
        """Returns the sent bits uint8 [n, sent] of bits uint8 [n, K], before they are interleaved."""
        size, columns = self.lifting, len(self.shifts[0])
        known = columns - len(self.shifts)
        word = np.zeros((len(information), columns, 2 * size), np.uint8)  # blocks twice: a shift is a slice
        filled = np.zeros((len(information), known * size), np.uint8)
        filled[:, : self.num_information] = information
        word[:, :known] = np.tile(filled.reshape(len(filled), known, size), 2)

        edges = [[(column, shift) for column, shift in enumerate(row) if shift >= 0] for row in self.shifts]

        def keep(column: int, block: Bytes) -> None:
            word[:, column, :size] = word[:, column, size:] = block

        def parity(row: int, before: int) -> Bytes:
            total = np.zeros((len(word), size), np.uint8)
            for column, shift in edges[row]:
                if column < before:
                    total ^= word[:, column, shift : shift + size]
            return total

        core = [parity(row, known) for row in range(_CORE)]
        # The sum of the core's rows holds the first parity block alone, once: two of its three shifts are equal.
        first = [row[known] for row in self.shifts[:_CORE]]
        (single,) = (shift for shift in first if shift >= 0 and first.count(shift) == 1)
        keep(known, np.roll(np.bitwise_xor.reduce(core), single, 1))
        for column, row in ((1, 0), (3, 3)):
            shift = first[row]
            keep(known + column, core[row] ^ word[:, known, shift : shift + size])
        between = 1 if first[1] < 0 else 2  # the row of the third parity block and one of its neighbours
        keep(known + 2, core[between] ^ word[:, known + (1 if between == 1 else 3), :size])
        for row in range(_CORE, len(self.shifts)):
            keep(known + row, parity(row, known + _CORE))
        bits = word[:, :, :size].reshape(len(word), -1)
        sent = np.concatenate((bits[:, 2 * size : self.num_information], bits[:, known * size :]), 1)
        return sent[:, : self.num_sent]


class SharedChannel:
    """Maps transport blocks to coded and scrambled bits, as an encoder of Sionna does.

    ``num_bits`` is the size of a transport block.

    Args:
        encoder: Sionna's ``TBEncoder`` of one layer.
    """

    def __init__(self, encoder: Any) -> None:
        ldpc = encoder.ldpc_encoder
        matrix, size = ldpc.pcm.tocsr(), ldpc.z
        shifts = np.full((matrix.shape[0] // size, matrix.shape[1] // size), -1)
        for row in range(len(shifts)):
            places = matrix[row * size].indices
            shifts[row, places // size] = places % size
        known = ldpc.k_ldpc // size
        rows = max(_CORE, -(-(ldpc.n + 2 * size + ldpc.k_filler - ldpc.k_ldpc) // size))
        self._code = Code(shifts[:rows, : known + rows].tolist(), size, ldpc.k, ldpc.n)
        self.num_bits = int(encoder.tb_size)
        self._block_check, self._check = encoder.cb_crc_encoder, encoder.tb_crc_encoder
        self._num_blocks = encoder.num_cbs
        # Interleaving and concatenation in one, see the encoder's own use of it.
        self._order = encoder.output_perm_inv.cpu().argsort()[: encoder.n]
        self._scrambling: Tensor = encoder.scrambler(torch.zeros(1, 1, encoder.n))[0, 0].byte()

    def encode(self, bits: Tensor) -> Tensor:
        """Returns the coded bits uint8 [n, N] of transport blocks uint8 [n, transport block size]."""
        blocks = self._check(bits.float()).reshape(len(bits) * self._num_blocks, -1)
        if self._block_check is not None:
            blocks = self._block_check(blocks)
        coded = torch.from_numpy(self._code.encode(blocks.byte().numpy())).reshape(len(bits), -1)
        return coded[:, self._order] ^ self._scrambling
