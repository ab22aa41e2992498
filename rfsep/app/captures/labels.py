"""The bits of constellation points in the label maps of other transmitters."""

from itertools import product

import numpy as np
import numpy.typing as npt
import torch

from rfsep.types import InputError, Modem

Labels = npt.NDArray[np.uint8]
_CLOSE = 1e-3  # Points closer than this are the same.
SWAPPED = "swapped"
# Points in the order of their labels, first bit most significant, as tests/reference/make_label_maps.py measured them.
_REFLECTED_4 = (1 + 1j, -1 + 1j, 1 - 1j, -1 - 1j)
_REFLECTED_8 = (2**0.5, 1 + 1j, -1 + 1j, 2**0.5 * 1j, 1 - 1j, -(2**0.5) * 1j, -(2**0.5), -1 - 1j)
_REFLECTED_16 = tuple(complex(i, q) for i in (-3, -1, 3, 1) for q in (-3, -1, 3, 1))
_GNURADIO_16 = (
    1 - 1j, -1 - 1j, 3 - 3j, -3 - 3j, -3 - 1j, 3 - 1j, -1 - 3j, 1 - 3j,
    -3 + 3j, 3 + 3j, -1 + 1j, 1 + 1j, 1 + 3j, -1 + 3j, 3 + 1j, -3 + 1j,
)  # fmt: skip
MAPS: dict[str, dict[int, tuple[complex, ...]]] = {
    "gnuradio": {4: (-1 - 1j, 1 - 1j, -1 + 1j, 1 + 1j), 16: _GNURADIO_16},
    "liquid": {4: _REFLECTED_4, 8: _REFLECTED_8, 16: _REFLECTED_16},
    "commpy": {4: (-1 - 1j, -1 + 1j, 1 - 1j, 1 + 1j), 8: _REFLECTED_8, 16: _REFLECTED_16},
    "komm": {4: _REFLECTED_4, 8: _REFLECTED_8, 16: _REFLECTED_16},
    "octave": {
        4: _REFLECTED_4,
        8: _REFLECTED_8,
        16: tuple(complex(i, q) for i in (-3, -1, 1, 3) for q in (3, 1, -1, -3)),
    },
}


def own_labels(width: int) -> Labels:
    """Returns bits uint8 [2**width, width] of every point's number, first bit most significant."""
    return np.array(list(product((0, 1), repeat=width)), np.uint8)


def relabelling(name: str, modem: Modem) -> Labels:
    """Returns bits uint8 [points, bits] that a sender's label map gives to each point of a modem's constellation.

    Args:
        name: a program whose map is known; ``swapped``, with the two bits of a point exchanged; or our bits in the
            sender's order, a for the first, in upper case where it is inverted: ``bA``.
        modem: modem of the labelled points.

    Raises:
        InputError: no such map, or none for that constellation.

    >>> from rfsep.signals.linear_modem import LinearModem
    >>> relabelling("bA", LinearModem()).tolist()  # labels of the points 00, 01, 10, 11
    [[0, 1], [1, 1], [0, 0], [1, 0]]
    """
    width = (len(modem.constellation) - 1).bit_length()
    if name in MAPS:
        return _of_map(name, modem.constellation.numpy())
    spelled = "ba" if name == SWAPPED and width == 2 else name
    own, letters = own_labels(width), "abcdefgh"[:width]
    if sorted(spelled.lower()) != list(letters):
        raise InputError(
            f"unknown label map '{name}'; choose one of {', '.join([*MAPS, SWAPPED])}, or order the letters {letters},"
            " in upper case where a bit is inverted"
        )
    columns = [own[:, letters.index(letter.lower())] ^ letter.isupper() for letter in spelled]
    return np.stack(columns, -1).astype(np.uint8)


def _of_map(name: str, points: npt.NDArray[np.complex64]) -> Labels:
    """Returns a program's labels of points, where its constellation has the same points."""
    theirs = np.array(MAPS[name].get(len(points), ()))
    if len(theirs) != len(points):
        raise InputError(f"label map '{name}' is known for {', '.join(map(str, MAPS[name]))} points, not {len(points)}")
    theirs = theirs / np.sqrt(np.mean(np.abs(theirs) ** 2)) * np.sqrt(np.mean(np.abs(points) ** 2))
    distances = np.abs(points[:, None] - theirs)
    if distances.min(1).max() > _CLOSE:
        raise InputError(f"label map '{name}' has its points elsewhere: turn the carrier with --phase-deg, or the SOI")
    labels: Labels = own_labels((len(points) - 1).bit_length())[distances.argmin(1)]
    return labels


def turned_labels(points: torch.Tensor, degrees: float) -> Labels | None:
    """Returns our bits of every point after a turn by ``--phase-deg``; None where the turned points match no points.

    >>> from rfsep.signals.constellations import constellation
    >>> turned_labels(constellation("qpsk"), 90).tolist()
    [[0, 1], [1, 1], [0, 0], [1, 0]]
    """
    own = points.numpy()
    distances = np.abs(own[:, None] * np.exp(-1j * np.deg2rad(degrees)) - own)
    if distances.min(1).max() > _CLOSE:
        return None
    labels: Labels = own_labels((len(own) - 1).bit_length())[distances.argmin(1)]
    return labels
