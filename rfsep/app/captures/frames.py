"""Writes what follows the last chunk of a separation: bits at their turn, frames, symbols and soft bits."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from rfsep.app.captures.labels import Labels, own_labels
from rfsep.receiver.beliefs import are_means, llr_of_means
from rfsep.receiver.differential import Ring, differential_bits
from rfsep.receiver.preamble import (
    Bits,
    Piece,
    Preambles,
    Turn,
    find_preamble,
    frame_starts,
    one_turn_pieces,
    sent_bits,
    symmetries,
    with_expected,
)
from rfsep.receiver.soft import soft_bits
from rfsep.storage.atomic import staged, write_json
from rfsep.storage.growing import Grown
from rfsep.types import Modem

FRAMES, FINDS, SYMBOLS, LLR = "frames.npy", "frames.json", "symbols.npy", "llr.npy"
_SCHEMA = 1
_BLOCK = 1 << 18  # symbols that are turned at once
_LOOKED_AT = 1 << 16  # symbols that tell whether they are linear
Symbols = npt.NDArray[np.complex64]
Floats = npt.NDArray[np.float32]


class Sender(NamedTuple):
    """What is known about the sender.

    Attributes:
        labels: bits uint8 [P, width] that it gives to each point of the modem, in the modem's order.
        preamble: bits uint8 [n] that its frames begin with; None if it is not known.
        ring: labels of its phase steps where it encodes differentially; None where it does not.
        mirrored: the spectrum may be inverted.
    """

    labels: Labels
    preamble: Bits | None = None
    ring: Ring | None = None
    mirrored: bool = False


class Turned(NamedTuple):
    """Bits as they were sent.

    Attributes:
        bits: uint8 [N], a memory map of the file that was written.
        found: finds of the preamble in them; None without a preamble.
        pieces: of the received bits, each under one turn.
        turns: the turns that pieces number.
    """

    bits: Bits
    found: Preambles | None
    pieces: tuple[Piece, ...]
    turns: tuple[Turn, ...]


def write_bits(path: Path, received: Bits, symbols: Symbols | None, modem: Modem, sender: Sender) -> Turned:
    """Writes the bits that were sent: turned as the preamble says, differentially decoded, in the sender's labels.

    Without a preamble, or where none is found, no bit is turned.

    Args:
        path: .npy to write, uint8 [N]; differential decoding yields one symbol's bits fewer.
        received: hard bits uint8 [N] in the modem's own labels; may be a memory map, even of ``path``.
        symbols: matched-filter outputs complex64 [S] behind those bits, which tell where a phase slips; may be None.
        modem: modem of the bits.
        sender: what is known about the sender.

    Raises:
        InputError: a preamble of fewer than 32 bits; the file cannot be written.
    """
    points, width = modem.constellation.numpy(), sender.labels.shape[1]
    received = received[: len(received) // width * width]
    if sender.ring is not None:
        _write(path, "u1", (max(len(received) - width, 0),), _stepped(received, sender.ring))
        bits = np.load(path, mmap_mode="r")
        turns, labels = symmetries(points)[:1], own_labels(width)
        found = _found(bits, sender.preamble, turns, labels)
        return Turned(bits, found, (Piece(0, len(bits), 0),), turns)
    turns = symmetries(points, sender.mirrored)
    found = _found(received, sender.preamble, turns, sender.labels)
    pieces = () if found is None else one_turn_pieces(found, received, symbols, points)
    pieces = pieces or (Piece(0, len(received), 0),)
    _write(path, "u1", (len(received),), sent_bits(received, pieces, turns, sender.labels))
    return Turned(np.load(path, mmap_mode="r"), found, pieces, turns)


def _found(received: Bits, preamble: Bits | None, turns: tuple[Turn, ...], labels: Labels) -> Preambles | None:
    if preamble is None:
        return None
    return with_expected(find_preamble(received, preamble, turns, labels), received, preamble, labels)


def write_frames(out: Path, turned: Turned) -> dict[str, Any]:
    """Writes frames.npy, uint8 [F, bits], one row per frame, and frames.json; returns a summary of the finds.

    Frames are cut from one preamble to the next; those of the most common length are written.

    Raises:
        InputError: a file cannot be written.
    """
    found = turned.found
    if found is None:
        return {}
    length, starts = frame_starts(found, len(turned.bits))
    rows = (turned.bits[start : start + length] for start in starts)
    _write(out / FRAMES, "u1", (len(starts), length), rows)
    summary = {
        "preambles": len(found.finds),
        "preamble_bits": found.num_bits,
        "preamble_errors": sum(find.errors for find in found.finds),
        "most_errors": found.most_errors,
        "false_alarm": found.false_alarm,
        "frames": len(starts),
        "frame_bits": length,
        "cycle_slips": len(turned.pieces) - 1,
    }
    finds = [
        {"start": find.start, "turn_deg": found.turns[find.turn].degrees, "errors": find.errors}
        | ({"conjugate": True} if found.turns[find.turn].conjugate else {})
        for find in found.finds
    ]
    pieces = [{"begin": one.begin, "end": one.end, "turn_deg": turned.turns[one.turn].degrees} for one in turned.pieces]
    write_json(out / FINDS, {"schema": _SCHEMA, **summary, "starts": list(starts), "finds": finds, "pieces": pieces})
    return summary


def write_soft(out: Path, symbols: Symbols, modem: Modem, sender: Sender, turned: Turned) -> dict[str, Any]:
    """Writes symbols.npy, complex64 [S], turned back, and llr.npy, float32 [N]; returns means over the capture.

    Soft bits are those of the symbols: calibrated where these are linear in the capture, and as sure as the detector
    where they are its posterior means, which is found out. With differential encoding only symbols are written.

    Args:
        out: folder to write into.
        symbols: matched-filter outputs complex64 [S].
        modem: modem of the bits.
        sender: what is known about the sender.
        turned: the bits behind the symbols, see `write_bits`.

    Raises:
        InputError: a file cannot be written.
    """
    width = sender.labels.shape[1]
    _write(out / SYMBOLS, "<c8", (len(symbols),), _turned_back(symbols, turned, width))
    if sender.ring is not None:
        return {}
    turned_back, points = np.load(out / SYMBOLS, mmap_mode="r"), modem.constellation.numpy()
    if are_means(turned_back[:_LOOKED_AT], points):
        return _write_beliefs(out / LLR, turned_back, points, sender.labels)
    levels: list[npt.NDArray[np.float64]] = []

    def ratios() -> Iterator[Floats]:
        for part in soft_bits(turned_back, points, sender.labels):
            held = np.diff(part.ends, prepend=0)
            power = np.abs(part.gain.astype(np.complex128)) ** 2
            levels.append(np.array([held.sum(), held @ power, held @ part.noise_variance, held @ part.ber]))
            yield part.llr

    _write(out / LLR, "<f4", (len(symbols) * width,), ratios())
    count, signal, noise, errors = np.sum(levels, 0)
    ratio = signal * float(modem.constellation.abs().square().mean()) / noise
    return {"esn0_db": 10 * math.log10(ratio), "evm": ratio**-0.5, "predicted_ber": float(errors / count)}


def _write_beliefs(path: Path, means: Symbols, points: Symbols, labels: Labels) -> dict[str, Any]:
    """Writes the soft bits of posterior means, float32 [N], and returns the error rate that they predict."""
    doubts: list[float] = []

    def ratios() -> Iterator[Floats]:
        for begin in range(0, len(means), _BLOCK):
            llr = llr_of_means(means[begin : begin + _BLOCK], points, labels)
            doubts.append(float(np.sum(np.exp(-np.logaddexp(0, np.abs(llr.astype(np.float64)))))))
            yield llr

    _write(path, "<f4", (len(means) * labels.shape[1],), ratios())
    return {"predicted_ber": sum(doubts) / max(len(means) * labels.shape[1], 1)}


def _stepped(received: Bits, ring: Ring) -> Iterator[Bits]:
    """Yields the bits of phase steps block by block; a block begins with the last symbol of the one before it."""
    width = ring.labels.shape[1]
    for begin in range(0, len(received) - width, _BLOCK * width):
        yield differential_bits(received[begin : begin + (_BLOCK + 1) * width], ring)


def _turned_back(symbols: Symbols, turned: Turned, width: int) -> Iterator[Symbols]:
    """Yields symbols as they were sent; one that no piece covers stays as it is."""
    end = 0
    for piece in turned.pieces:
        turn = turned.turns[piece.turn]
        factor = np.complex64(np.exp(-1j * np.deg2rad(turn.degrees)))
        last = len(symbols) if piece is turned.pieces[-1] else piece.end // width
        for begin in range(end, last, _BLOCK):
            part = factor * symbols[begin : min(begin + _BLOCK, last)]
            yield part.conj() if turn.conjugate else part
        end = last


def _write(path: Path, dtype: str, shape: tuple[int, ...], parts: Iterator[npt.NDArray[Any]]) -> None:
    """Writes a .npy part by part; it appears only when complete."""
    with staged(path) as (temporary,), temporary.open("xb") as file:
        file.write(Grown(path.name, np.dtype(dtype), shape, header=True).beginning())
        for part in parts:
            _put(file, part)


def _put(file: BinaryIO, part: npt.NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(part).data)
