"""The inverse of a covariance along a cut is the dense inverse wherever symbols ask for it."""

import pytest
import torch

from rfsep.separators.inference.dissection import cut_between, fits_cut, inverted, log_likelihood

ROWS = [slice(0, 20), slice(15, 60), slice(52, 90), slice(86, 100)]
WIDTH = 9


def covariance(seed: int) -> torch.Tensor:
    """Of 100 samples that symbols of ROWS and narrow ones of WIDTH samples couple."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.eye(100, dtype=torch.complex128)
    for rows in [*ROWS, *(slice(first, first + WIDTH) for first in range(0, 92, 2))]:
        waves = torch.randn((rows.stop - rows.start, 3), dtype=torch.complex128, generator=generator)
        found[rows, rows] += waves @ waves.mH
    return found


def test_entries_that_symbols_ask_for_are_those_of_the_dense_inverse() -> None:
    given, vector = covariance(1), covariance(2)[0]
    cut = cut_between(ROWS, 100, WIDTH)
    assert cut is not None
    assert [(block.start, block.stop) for block in cut.inner] == [(0, 15), (24, 52), (61, 86), (95, 100)]
    assert fits_cut(cut, given != 0)
    inverse, weighed = inverted(given, vector, cut)
    dense = torch.linalg.inv(given)
    torch.testing.assert_close(weighed, dense @ vector)
    for rows in [*ROWS, *(slice(first, first + WIDTH) for first in range(92))]:
        torch.testing.assert_close(inverse[rows, rows], dense[rows, rows])
    torch.testing.assert_close(inverted(given, vector, None).inverse, dense)


def test_likelihood_along_a_cut_is_that_of_the_whole() -> None:
    given, vector = covariance(1), covariance(2)[0]
    cut = cut_between(ROWS, 100, WIDTH)
    assert cut is not None
    expected = -float((vector.conj() @ torch.linalg.inv(given) @ vector).real) - float(torch.linalg.slogdet(given)[1])
    for one in (cut, None):
        assert log_likelihood(given, vector, one) == pytest.approx(expected, rel=1e-10)


def test_a_coupling_across_a_cut_is_seen() -> None:
    given = covariance(1)
    cut = cut_between(ROWS, 100, WIDTH)
    assert cut is not None
    given[10, 30] = given[30, 10] = 1e-3
    assert not fits_cut(cut, given != 0)


def test_symbols_that_meet_nowhere_within_the_window_are_not_cut() -> None:
    assert cut_between([slice(0, 100)], 100, WIDTH) is None
    assert cut_between([slice(0, 99), slice(95, 100)], 100, WIDTH) is None
