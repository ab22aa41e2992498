"""The standings in Weights & Biases: the rows of leaderboard.csv, where logger=wandb asks for them."""

import csv
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from board import TYPES, row, write_scores
from hydra import compose, initialize_config_dir

from rfsep.app.evaluate import main
from rfsep.app.places import CONF


def compare(place: Path, *overrides: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("evaluate", overrides=[f"leaderboard={place}", *overrides])
    main(config)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for id, mse in (("one", -10.0), ("two", -20.0)):
        write_scores(tmp_path / id, id, [row(id, kind, mse, mse / 2) for kind in TYPES])
    return tmp_path


def test_standings_are_a_table_of_the_same_rows(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    @contextmanager
    def init(**settings: Any) -> Any:
        told["settings"] = settings
        yield SimpleNamespace(log=told.update)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Table=lambda **content: content))
    compare(place, "logger=wandb", "logger.wandb.mode=offline")
    assert told["settings"] == {"job_type": "leaderboard", "dir": place, "project": "rfsep", "mode": "offline"}
    with (place / "leaderboard.csv").open() as file:
        lines = list(csv.reader(file))
    table = told["leaderboard"]
    assert table["columns"] == lines[0]
    assert [["" if cell is None else str(cell) for cell in cells] for cells in table["data"]] == lines[1:]
    score = table["columns"].index("mse_score")
    assert {cells[1]: cells[score] for cells in table["data"]}["two"] == -20.0


def test_nothing_is_imported_where_it_is_not_asked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would fail
    compare(place)
    assert (place / "leaderboard.csv").is_file()
