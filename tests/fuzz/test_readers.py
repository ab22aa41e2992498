"""Harmed files of every kind: each reader gives a value or one line, within bounded memory and time.

python tests/fuzz/fuzz_readers.py does the same for hours.
"""

import signal
import warnings
from collections.abc import Iterator
from random import Random

import pytest
from guard import guarded
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from readers import READERS, Place

SLOW = ("run", "truth", "mixtures")
SEEDS = st.lists(st.booleans(), min_size=16, max_size=16)  # for integers Hypothesis reads all our sources first


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """A folder for each reader."""
    yield {name: Place(tmp_path_factory.mktemp(name), name) for name in READERS}
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # files that the sigmf library leaves open
@pytest.mark.parametrize("name", READERS)
def test_harmed_files_are_answered_in_one_line(places: dict[str, Place], name: str) -> None:
    place = places[name]
    place.read(place.valid)

    @settings(
        max_examples=4 if name in SLOW else 12, derandomize=True, deadline=None, database=None, phases=[Phase.generate]
    )
    @given(SEEDS)
    def harmed(seed: list[bool]) -> None:
        with guarded(), warnings.catch_warnings(action="error"):
            place.read(place.reader.mutate(Random(str(seed)), place.valid))

    harmed()


@pytest.mark.parametrize("name", READERS)
def test_valid_files_are_read(places: dict[str, Place], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The harness does not take a reader that refuses everything for a good one."""
    lines: list[str] = []
    monkeypatch.setattr("readers.refused", lines.append)
    places[name].read(places[name].valid)
    assert len(lines) == places[name].reader.refusals, lines
