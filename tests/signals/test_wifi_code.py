"""The code of 802.11 against an encoder written out and the standard's own example."""

import numpy as np
import pytest

from rfsep.signals.wifi_code import RATES, Coding, Heard, axis, decode, interleaver, map_bits, points

PUNCTURED = {"1/2": "11", "2/3": "1110", "3/4": "111001", "5/6": "1110011001"}


def encoded(data: np.ndarray, rate: str) -> np.ndarray:
    """IEEE 802.11-2020, 17.3.5.6: g0 = 133, g1 = 171 octal; outputs alternate, and some are left out."""
    register = np.concatenate((np.zeros(6, dtype=int), data))
    delays = (0, 2, 3, 5, 6), (0, 1, 2, 3, 6)
    pairs = [sum(register[6 - delay : len(register) - delay] for delay in taps) % 2 for taps in delays]
    sent = np.stack(pairs, 1).ravel()
    pattern = np.array([mark == "1" for mark in PUNCTURED[rate]])
    return sent[np.tile(pattern, len(sent) // len(pattern))]


@pytest.mark.parametrize("ht", [False, True])
@pytest.mark.parametrize(("bits", "rate"), [(bits, rate) for bits, rates in RATES.items() for rate in rates])
def test_erased_carriers_come_back_and_other_rates_do_not_fit(bits: int, rate: str, ht: bool) -> None:
    """Four symbols, two or three carriers nothing but noise."""
    rng, carriers = np.random.default_rng(0), 52 if ht else 48
    pattern = PUNCTURED[rate]
    data = rng.integers(0, 2, 4 * carriers * bits * len(pattern) // (2 * pattern.count("1")))
    coded = encoded(data, rate).reshape(4, -1)
    sent = np.empty_like(coded)
    sent[:, interleaver(bits, ht)] = coded
    values, variance = map_bits(sent, bits), np.full((4, carriers), 1e-3)
    received = values + 0.02 * (rng.normal(size=values.shape) + 1j * rng.normal(size=values.shape))
    received[:, 3::20], variance[:, 3::20] = rng.normal(size=received[:, 3::20].shape), 10.0
    trusted = np.ones(carriers, dtype=bool)
    heard = [Heard(received, variance, Coding(bits, other, ht, True)) for other in RATES[bits]]
    for other, found in zip(RATES[bits], decode(heard, trusted), strict=True):
        if other == rate:
            assert found.contradicted == 0
            assert np.isclose(found.values, values).mean() > 0.98  # the end of a word is less sure
        else:
            assert found.contradicted > 0.01


def test_words_do_not_see_each_other() -> None:
    """Of several lengths, alphabets, rates and starts: each is what it is alone."""
    rng = np.random.default_rng(1)
    heard = []
    for bits, rate, count, known in [
        (1, "1/2", 5, True),
        (6, "5/6", 3, False),
        (2, "3/4", 9, True),
        (1, "1/2", 5, False),
    ]:
        values = rng.normal(size=(count, 52)) + 1j * rng.normal(size=(count, 52))
        heard.append(Heard(values, rng.uniform(0.1, 1.0, size=(count, 52)), Coding(bits, rate, True, known)))
    trusted = np.ones(52, dtype=bool)
    together = decode(heard, trusted)
    for one, found in zip(heard, together, strict=True):
        (alone,) = decode([one], trusted)
        assert np.array_equal(found.values, alone.values)
        assert found.contradicted == alone.contradicted
    assert not np.array_equal(together[0].values, together[3].values)


def test_every_bit_has_its_place() -> None:
    for bits in RATES:
        for ht in (False, True):
            assert sorted(interleaver(bits, ht)) == list(range(len(interleaver(bits, ht))))


def test_mapping_is_the_standards() -> None:
    """Table 17-18: 16-QAM, I = -3 for 00, -1 for 01, 1 for 11, 3 for 10; unit power throughout."""
    assert (axis(4).amplitudes * np.sqrt(10)).round(9).tolist() == [-3, -1, 1, 3]
    assert axis(4).bits.tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]
    assert map_bits(np.array([[1, 1, 0, 0]]), 4)[0] * np.sqrt(10) == pytest.approx([1 - 3j])
    for bits in RATES:
        assert (np.abs(points(bits)) ** 2).mean() == pytest.approx(1.0)
