"""A preamble is found at its place and turn, with a stated probability of false alarms."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from rfsep.receiver import preamble as preambles
from rfsep.receiver.preamble import (
    Find,
    Preambles,
    find_preamble,
    frame_starts,
    one_turn_pieces,
    preamble_bits,
    sent_bits,
    symmetries,
    with_expected,
)
from rfsep.signals.constellations import constellation, hard_bits, map_bits
from rfsep.types import InputError

CODE = preamble_bits("0x1ACFFC1D_34D815CA")


def labels_of(points: np.ndarray) -> np.ndarray:
    width = (len(points) - 1).bit_length()
    return ((np.arange(len(points))[:, None] >> np.arange(width)[::-1]) & 1).astype(np.uint8)


def framed(generator: np.random.Generator, frames: int, payload: int, before: int) -> np.ndarray:
    rows = [np.concatenate((CODE, generator.integers(0, 2, payload, np.uint8))) for _ in range(frames)]
    return np.concatenate((generator.integers(0, 2, before, np.uint8), *rows))


def symbols_of(bits: np.ndarray, points: np.ndarray) -> np.ndarray:
    return map_bits(torch.from_numpy(bits), torch.from_numpy(points)).numpy()


def decided(symbols: np.ndarray, points: np.ndarray) -> np.ndarray:
    return hard_bits(torch.from_numpy(symbols.astype(np.complex64)), torch.from_numpy(points)).numpy()


@pytest.mark.parametrize(
    ("name", "turns"), [("bpsk", 2), ("qpsk", 4), ("psk8", 8), ("qam16", 4), ("qam64", 4), ("pam4", 2)]
)
def test_every_turn_of_every_constellation_is_told(name: str, turns: int) -> None:
    points, generator = constellation(name).numpy(), np.random.default_rng(1)
    found = symmetries(points)
    assert len(found) == turns
    labels = labels_of(points)
    bits = framed(generator, 5, 116, 3 * labels.shape[1] + 1)  # 180 bits per frame fill whole symbols
    bits = bits[: len(bits) // labels.shape[1] * labels.shape[1]]
    for number, turn in enumerate(found):
        received = decided(symbols_of(bits, points) * np.exp(1j * np.deg2rad(turn.degrees)), points)
        told = find_preamble(received, CODE, found, labels)
        first = 3 * labels.shape[1] + 1
        assert told.finds[:4] == tuple(Find(first + 180 * k, number, 0) for k in range(4))
        pieces = one_turn_pieces(told, received, None, points)
        assert np.array_equal(np.concatenate(list(sent_bits(received, pieces, found, labels))), bits)


def test_errors_in_the_preamble_are_counted_in_noise() -> None:
    points, generator = constellation("qpsk").numpy(), np.random.default_rng(2)
    bits = framed(generator, 40, 436, 7 * 2)
    symbols = symbols_of(bits, points) * 1j
    noise = generator.standard_normal((len(symbols), 2)) @ [1, 1j]
    received = decided(symbols + 0.4 * noise, points)  # Q(0.707 / 0.4) = .0385
    told = find_preamble(received, CODE, symmetries(points), labels_of(points))
    assert [find.start for find in told.finds] == [14 + 500 * k for k in range(40)]
    assert {told.turns[find.turn].degrees for find in told.finds} == {90.0}
    plain = decided((symbols + 0.4 * noise) / 1j, points)
    own = [int((plain[14 + 500 * k :][:64] != CODE).sum()) for k in range(40)]
    assert [find.errors for find in told.finds] == own
    assert sum(own) / (40 * 64) == pytest.approx(0.0385, abs=0.012)


def test_the_probability_of_a_false_alarm_is_as_stated() -> None:
    generator, points = np.random.default_rng(3), constellation("qpsk").numpy()
    turns, labels = symmetries(points), labels_of(points)
    noise, code = generator.integers(0, 2, 60_000, np.uint8), CODE[:32]
    told = find_preamble(noise, code, turns, labels, false_alarm=1.0)
    assert told.false_alarm == pytest.approx(4 * (60_000 - 31) * binom.cdf(told.most_errors, 32, 0.5))
    assert told.false_alarm <= 1 < 4 * (60_000 - 31) * binom.cdf(told.most_errors + 1, 32, 0.5)
    # One find is expected per run at most: 64 runs have a Poisson number of finds.
    found = [
        len(find_preamble(generator.integers(0, 2, 60_000, np.uint8), code, turns, labels, 1.0).finds)
        for _ in range(64)
    ]
    assert abs(sum(found) - 64 * told.false_alarm) < 4 * (64 * told.false_alarm) ** 0.5
    assert find_preamble(noise, code, turns, labels).finds == ()


def test_preambles_are_told_by_their_place_where_they_have_many_errors() -> None:
    points, generator = constellation("qpsk").numpy(), np.random.default_rng(8)
    bits = framed(generator, 60, 236, 620)
    symbols = symbols_of(bits, points) * np.where(np.arange(len(bits) // 2) < 4600, 1j, -1)
    noise = generator.standard_normal((len(symbols), 2)) @ [1, 1j]
    received = decided(symbols + 0.72 * noise, points)  # Q(.707 / .72) = .163
    turns, labels = symmetries(points), labels_of(points)
    few = find_preamble(received, CODE, turns, labels)
    assert 10 <= len(few.finds) <= 45
    all_of_them = with_expected(few, received, CODE, labels)
    told = {find.start: turns[find.turn].degrees for find in all_of_them.finds}
    assert set(told) <= {620 + 300 * k for k in range(60)}
    assert len(told) >= 55
    assert max(find.errors for find in all_of_them.finds) > few.most_errors
    assert all(degrees == (90.0 if start < 9200 else 180.0) for start, degrees in told.items())
    assert set(few.finds) <= set(all_of_them.finds)
    # Nothing is due where nothing repeats, and nothing is added where nothing is sent.
    one = few._replace(finds=few.finds[:2])
    assert with_expected(one, received, CODE, labels) == one
    silent = generator.integers(0, 2, 300_000, np.uint8)
    silent[:900] = bits[620:1520]
    told_once = find_preamble(silent, CODE, turns, labels)
    assert [find.start for find in with_expected(told_once, silent, CODE, labels).finds] == [0, 300, 600]


def test_a_block_boundary_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = constellation("psk8").numpy()
    bits = framed(np.random.default_rng(4), 30, 146, 2)
    bits = bits[: len(bits) // 3 * 3]
    turns, labels = symmetries(points), labels_of(points)
    whole = find_preamble(bits, CODE, turns, labels)
    assert len(whole.finds) == 30
    monkeypatch.setattr(preambles, "_BLOCK", 37)
    assert find_preamble(bits, CODE, turns, labels) == whole
    pieces = one_turn_pieces(whole, bits, None, points)
    assert np.array_equal(np.concatenate(list(sent_bits(bits, pieces, turns, labels))), bits)


def test_bits_are_right_on_both_sides_of_a_cycle_slip() -> None:
    points, generator = constellation("qpsk").numpy(), np.random.default_rng(5)
    bits = framed(generator, 10, 336, 0)
    symbols = symbols_of(bits, points)
    phase = np.zeros(len(symbols))
    phase[930:] = np.pi / 2
    phase[910:930] = np.linspace(0, np.pi / 2, 20)  # in the fifth frame, of 200 symbols each
    turned = 0.3 * symbols * np.exp(1j * phase)
    received = decided(turned, points)
    turns, labels = symmetries(points), labels_of(points)
    told = find_preamble(received, CODE, turns, labels)
    pieces = one_turn_pieces(told, received, turned, points)
    assert [turns[piece.turn].degrees for piece in pieces] == [0.0, 90.0]
    assert abs(pieces[0].end - 2 * 920) <= 12
    wrong = np.flatnonzero(np.concatenate(list(sent_bits(received, pieces, turns, labels))) != bits)
    assert len(wrong) <= 12
    assert ((wrong >= 2 * 910) & (wrong < 2 * 930)).all()


def test_a_mirrored_spectrum_is_found_only_on_request() -> None:
    points = constellation("qam16").numpy()
    bits = framed(np.random.default_rng(6), 3, 136, 0)
    received = decided(symbols_of(bits, points).conj() * -1j, points)
    labels = labels_of(points)
    assert find_preamble(received, CODE, symmetries(points), labels).finds == ()
    told = find_preamble(received, CODE, symmetries(points, conjugate=True), labels)
    turn = told.turns[told.finds[0].turn]
    assert [find.start for find in told.finds] == [0, 200, 400]
    assert (turn.conjugate, turn.degrees) == (True, 270.0)
    pieces = one_turn_pieces(told, received, None, points)
    assert np.array_equal(np.concatenate(list(sent_bits(received, pieces, told.turns, labels))), bits)


def test_foreign_labels_are_followed() -> None:
    points = constellation("qpsk").numpy()
    bits = framed(np.random.default_rng(7), 4, 136, 0)
    labels = np.array([[1, 1], [0, 1], [1, 0], [0, 0]], np.uint8)  # GNU Radio's
    numbers = [labels.tolist().index(pair.tolist()) for pair in bits.reshape(-1, 2)]
    received = decided(points[numbers] * -1, points)
    told = find_preamble(received, CODE, symmetries(points), labels)
    pieces = one_turn_pieces(told, received, None, points)
    assert np.array_equal(np.concatenate(list(sent_bits(received, pieces, told.turns, labels))), bits)


def test_frames_without_a_second_find_have_no_length() -> None:
    one = Preambles((Find(3, 0, 0),), (), 32, 0, 0.0)
    assert frame_starts(one, 1000) == (0, ())
    assert one_turn_pieces(one._replace(finds=()), np.zeros(8, np.uint8), None, constellation("qpsk").numpy()) == ()


@pytest.mark.parametrize("text", ["0101", "0x1ACFFC1", "", "0x", "01a1", "0xzz" * 8])
def test_bad_preambles_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="preamble"):
        preamble_bits(text)
