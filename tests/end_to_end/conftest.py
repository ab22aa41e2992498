"""What both files of commands start from."""

from pathlib import Path

import pytest
from shell import TINY, prepare, succeed


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a test set of two mixture types, a finished tiny run and a scored submission."""
    folder = tmp_path_factory.mktemp("commands")
    prepare(folder)
    prepare(folder, "emi_bursts")
    arguments = ["run=tiny", *TINY, "trainer.max_steps=4", "trainer.val_every=2"]
    assert "finished: best val/mse_db" in succeed("train.py", *arguments, cwd=folder)
    succeed("evaluate.py", "separator=neural", "run=runs/adhoc/tiny", "testset=set", "out=ours", cwd=folder)
    return folder
