"""The draw of the public mixtures: in proportion at every level and in every recording."""

import numpy as np
import pytest

from rfsep.app.hosting.shares import draw_public


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_every_level_and_recording_is_shared_to_within_one_mixture(share: float) -> None:
    random = np.random.default_rng(0)
    sinr_db = np.repeat([-12.0, -3.0, 0.0], [40, 57, 100])
    origin = random.integers(0, 4, len(sinr_db))
    public = draw_public(sinr_db, origin, share, np.random.default_rng(1))
    for level in (-12.0, -3.0, 0.0):
        for group in (sinr_db == level, *((sinr_db == level) & (origin == number) for number in range(4))):
            assert abs(public[group].sum() - share * group.sum()) < 1


def test_every_row_is_as_likely_as_any_other() -> None:
    sinr_db, origin = np.repeat([-6.0, 0.0], 5), np.array([0, 0, 0, 1, 2, 0, 1, 1, 2, 2])
    draws = [draw_public(sinr_db, origin, 0.4, np.random.default_rng(seed)) for seed in range(4000)]
    assert np.mean(draws, 0) == pytest.approx(np.full(10, 0.4), abs=0.04)  # 5 standard deviations


def test_recordings_of_one_mixture_each_are_not_all_in_the_same_share() -> None:
    sinr_db, origin = np.zeros(20), np.arange(20)
    public = draw_public(sinr_db, origin, 0.5, np.random.default_rng(0))
    assert public.sum() == 10
