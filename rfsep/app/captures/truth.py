"""Finds the shift, label map or turn of the carrier that explains why half of the received bits are wrong."""

from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.app.captures.labels import SWAPPED, Labels, own_labels, relabelling, turned_labels
from rfsep.types import Modem

Bits = npt.NDArray[np.uint8]
NEAR_HALF = 0.3  # bit error rate above which a search is worth its time
_MOST_SYMBOLS = 1 << 17  # most symbols that are searched
_FEWEST_SYMBOLS = 64  # fewest symbols that have to overlap
_SURE = 0.2  # highest bit error rate of a find; that of a chance hit is far higher


class Find(NamedTuple):
    """A correction of received bits.

    Attributes:
        shift: number of our symbols before the first one of the truth; negative if the truth begins earlier.
        spelled: our bits in the truth's order, in the notation of `rfsep.app.captures.labels.relabelling`.
        errors: number of remaining bit errors.
        compared: number of compared bits.
    """

    shift: int
    spelled: str
    errors: int
    compared: int


def search(received: Bits, sent: Bits, width: int, step: int) -> Find | None:
    """Returns the shift, bit order and inversion under which most bits are right; None where there is none.

    It correlates every bit of a symbol with every bit of the truth's symbols, at all shifts at once.

    Args:
        received: uint8 [N].
        sent: uint8 [M].
        width: bits per symbol.
        step: shifts are multiples of this many symbols.
    """
    ours, truth = (1 - 2.0 * bits[: len(bits) // width * width].reshape(-1, width) for bits in (received, sent))
    ours, truth = ours[:_MOST_SYMBOLS], truth[:_MOST_SYMBOLS]
    if min(len(ours), len(truth)) < _FEWEST_SYMBOLS:
        return None
    size = 1 << (len(ours) + len(truth) - 1).bit_length()
    spectra = [np.fft.rfft(one.T, size) for one in (ours, truth)]
    products = spectra[0][:, None] * spectra[1][None].conj()
    agreement = np.fft.irfft(products, size)  # [ours, truth, shift]
    shifts = np.arange(-(len(truth) - _FEWEST_SYMBOLS) // step, (len(ours) - _FEWEST_SYMBOLS) // step + 1) * step
    overlap = np.minimum(len(ours), shifts + len(truth)) - np.maximum(0, shifts)
    strength = np.abs(agreement[:, :, shifts % size]).max(0).sum(0) / np.sqrt(np.maximum(overlap, 1))
    strength[overlap < _FEWEST_SYMBOLS] = 0
    shift = int(shifts[int(strength.argmax())])
    signs = agreement[:, :, shift % size]
    order = max(permutations(range(width)), key=lambda one: sum(abs(signs[bit, to]) for to, bit in enumerate(one)))
    letters = [chr(ord("a") + bit) for bit in order]
    spelled = "".join(
        letter.upper() if signs[bit, to] < 0 else letter
        for to, (letter, bit) in enumerate(zip(letters, order, strict=True))
    )
    return _counted(received, sent, width, shift, spelled)


def _counted(received: Bits, sent: Bits, width: int, shift: int, spelled: str) -> Find | None:
    """Returns a find with its errors over the whole overlap."""
    columns = [ord(letter.lower()) - ord("a") for letter in spelled]
    inverted = np.array([letter.isupper() for letter in spelled])
    ours, truth = (bits[: len(bits) // width * width].reshape(-1, width) for bits in (received, sent))
    ours, truth = ours[max(0, shift) :], truth[max(0, -shift) :]
    count = min(len(ours), len(truth))
    errors = int(np.count_nonzero((ours[:count, columns] ^ inverted) != truth[:count]))
    found = Find(shift, spelled, errors, count * width)
    return found if errors < _SURE * found.compared else None


def told(find: Find, modem: Modem, start: int, labels: str | None) -> str:
    """Returns a find as command-line options.

    Args:
        find: the correction.
        modem: modem of the SOI.
        start: sample at which the run assumed the first symbol to begin.
        labels: label map of the received bits; None for ours.
    """
    width = len(find.spelled)
    symbols = modem.num_bits(100 * modem.symbol_period) // 100 // width  # symbols per period
    place = start + find.shift // symbols * modem.symbol_period
    options, wanted = [], relabelling(find.spelled, modem)
    if find.shift and place >= 0:
        options.append(f"--soi-start {place}")
    elif find.shift:
        options.append(f"--truth without its first {-find.shift * width} bits")
    if not np.array_equal(wanted, own_labels(width)) and labels is not None:
        options.append(f"another map than --labels {labels}")
    elif not np.array_equal(wanted, own_labels(width)):
        turns = [turn for turn in (90, 180, 270) if _same(wanted, turned_labels(modem.constellation, turn))]
        name = SWAPPED if find.spelled == "ba" else find.spelled
        options.append(f"--phase-deg {turns[0]} (or --labels {name})" if turns else f"--labels {name}")
    right = "all bits right" if find.errors == 0 else f"BER {find.errors / find.compared:.4g}"
    return f"{right} with {' and '.join(options) or 'these options'} ({find.errors} of {find.compared} bits wrong)"


def _same(labels: Labels, turned: Labels | None) -> bool:
    return turned is not None and np.array_equal(labels, turned)
