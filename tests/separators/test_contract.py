"""The contract of separators itself: what it refuses, each for the promise that is broken."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from separator_contract import Asked, asked, check_estimate, check_rows
from torch import Tensor

from rfsep.separators.matched_filter import MatchedFilter
from rfsep.types import Separated

Change = Callable[[Separated, Tensor], Separated]


class Changed:
    """The matched filter, and what a fault makes of its estimate and bits."""

    def __init__(self, question: Asked, change: Change) -> None:
        self.matched_filter = MatchedFilter(question.modem, question.examples)
        self.change = change

    def separate(self, mixture: Tensor) -> Separated:
        return self.change(self.matched_filter.separate(mixture), mixture)


@pytest.fixture(scope="module")
def question() -> Asked:
    return asked("qpsk", 2, 1280, 0.1)


def unchanged(found: Separated, mixture: Tensor) -> Separated:
    return found


def nothing(found: Separated, mixture: Tensor) -> Separated:
    return Separated(torch.zeros_like(found.soi), torch.zeros_like(found.bits))


def silence_with_bits(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(soi=torch.zeros_like(found.soi))


def turned(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(soi=1j * found.soi)


def moved(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(bits=found.bits.roll(2, 1))


def louder_than_the_mixture(found: Separated, mixture: Tensor) -> Separated:
    loud = mixture.abs().square().mean(1, keepdim=True) > 4
    return found._replace(soi=torch.where(loud, 2 * mixture, found.soi))


def double_precision(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(soi=found.soi.to(torch.complex128))


def a_symbol_short(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(bits=found.bits[:, :-2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (nothing, r"BER 0\.[45]\d* at 20 dB"),
        (silence_with_bits, "error 1 of the SOI's power at 20 dB"),
        (turned, r"error (2|2\.0.*|1\.9.*) of the SOI's power at 20 dB"),
        (moved, r"BER 0\.[45]\d* at 20 dB"),
        (louder_than_the_mixture, r"error [34]\.?\d* of the mixture's own at -12 dB"),
        (double_precision, "estimate in torch.complex128"),
        (a_symbol_short, r"bits of shape \(4, 158\)"),
    ],
)
def test_an_estimate_of_no_use_is_refused(change: Change, words: str, question: Asked) -> None:
    found, right = (Changed(question, one).separate(question.batch.mixture) for one in (change, unchanged))
    with pytest.raises(AssertionError, match=words):
        check_estimate(found, question)
    check_estimate(right, question)


def level_of_all(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(soi=found.soi * (1 + 0.01 * mixture.abs().mean()))


def bits_of_a_neighbour(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(bits=found.bits.roll(1, 0)) if len(mixture) > 2 else found


def without_the_first_axis(found: Separated, mixture: Tensor) -> Separated:
    return found._replace(soi=found.soi.squeeze(0))


def mean_of_several(found: Separated, mixture: Tensor) -> Separated:
    return found if len(mixture) > 1 else found._replace(bits=1 - found.bits)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (level_of_all, "not close"),
        (bits_of_a_neighbour, "bits depend on the other rows"),
        (without_the_first_axis, r"estimate of one row of shape \(1280,\)"),
        (mean_of_several, "1 of the bits of a row depend on whether it is alone"),
    ],
)
def test_rows_that_see_one_another_are_refused(change: Change, words: str, question: Asked) -> None:
    for separator, refusal in (
        (Changed(question, change), pytest.raises(AssertionError, match=words)),
        (Changed(question, unchanged), nullcontext()),
    ):
        found = separator.separate(question.batch.mixture)
        with refusal:
            check_rows(separator, found, question)
