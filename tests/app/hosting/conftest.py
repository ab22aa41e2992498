"""A test set of two types, and a challenge on it that is about to begin."""

import shutil
from pathlib import Path

import pytest
from open_challenge import Challenge
from shell import prepare

from rfsep.app.hosting.call import Done


@pytest.fixture(scope="session")
def hosted_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mixture types of two levels with six mixtures each."""
    folder = tmp_path_factory.mktemp("hosted")
    for interference in ("ofdm_qpsk", "emi_bursts"):
        prepare(folder, interference, num_samples=320, num_per_sinr=6)
    return folder / "set"


@pytest.fixture
def challenge(tmp_path: Path, hosted_set: Path, ready: Path) -> Challenge:
    """A challenge that is about to begin, its shares drawn and its baselines computed."""
    one = Challenge(tmp_path, hosted_set)
    shutil.copytree(ready, one.out)
    return one


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory, hosted_set: Path) -> Path:
    """The host's folder after a call that found nothing."""
    one = Challenge(tmp_path_factory.mktemp("ready"), hosted_set)
    assert one.call("11-30T00:00") == Done(0, 0, 0)
    return one.out
