"""Checks the recipes of docs/recipes.md: puts their files into a copy of the checkout, and runs their commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rfsep.storage.test_set import read_mixtures, read_truth

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipes.md").read_text()
FILE = re.compile(r"`((?:rfsep|conf|tests)/[\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^    python ((?!-m).*)$", re.MULTILINE)
TESTING = re.compile(r"^    python (-m pytest .*)$", re.MULTILINE)
SMALLER = {  # the last setting of a key counts
    "train.py": "model.network.channels=4 data.num_samples=320 data.batch_size=4 data.val_per_sinr=2"
    " trainer.max_steps=2 trainer.val_every=1 trainer.precision=32-true",
    "data/prepare.py": "num_samples=1280 num_per_sinr=10",
    "evaluate.py": "examples.num_frames=20 examples.num_samples=2048",
    "docs/tables.py": "",
}
TESTED = ("conftest.py", "separator_contract.py", "test_configs.py")
ALL = """
import runpy, shlex, sys
for line in sys.stdin.read().splitlines():
    sys.argv = shlex.split(line)
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
pytestmark = pytest.mark.xdist_group("recipes")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies what the commands need, adds the recipes' files, and runs all their commands in one process."""
    folder = tmp_path_factory.mktemp("checkout")
    for place in ("rfsep", "conf", "docs"):
        shutil.copytree(ROOT / place, folder / place, ignore=shutil.ignore_patterns("__pycache__", "zoo", "*.png"))
    (folder / "data").mkdir()
    (folder / "tests" / "separators").mkdir(parents=True)
    for file in (*SMALLER, *(f"tests/{name}" for name in TESTED), "README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, folder / file)
    for path, content in FILE.findall(PAGE):
        assert not (folder / path).exists(), path
        (folder / path).write_text(content)
    commands = [f"{line} {SMALLER[line.split()[0]]}" for line in COMMAND.findall(PAGE)]
    done = subprocess.run(
        [sys.executable, "-c", ALL], cwd=folder, input="\n".join(commands), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_page_has_three_recipes_of_two_files_each_and_a_test() -> None:
    assert [Path(path).suffix for path, _ in FILE.findall(PAGE)] == [".py", ".yaml"] * 3 + [".py"]
    assert (len(COMMAND.findall(PAGE)), len(TESTING.findall(PAGE))) == (5, 1)
    assert PAGE.count("```") == 2 * 7


def test_the_names_are_in_the_list_of_the_configuration(checkout: Path) -> None:
    """The command alone puts the names into the list."""
    before, after = ((place / "docs" / "configuration.md").read_text() for place in (ROOT, checkout))
    assert set(re.findall(r"`\w+`", after)) - set(re.findall(r"`\w+`", before)) == {
        "`dilated`",
        "`chirps`",
        "`blanking`",
    }


def test_the_separator_keeps_the_promises_of_all_and_its_own(checkout: Path) -> None:
    (arguments,) = TESTING.findall(PAGE)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, *arguments.split(), "-p", "no:cacheprovider"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 3 passed" in done.stdout, done.stdout


def test_the_model_trains_into_a_run_folder(checkout: Path) -> None:
    run = checkout / "runs" / "dilated" / "first"
    assert (run / "model.safetensors").is_file()
    assert "rfsep.models.dilated.Dilated" in (run / "config.yaml").read_text()
    validated = re.findall(r"^(\d+),val/mse_db,(.*)$", (run / "metrics.csv").read_text(), re.MULTILINE)
    assert [step for step, _ in validated] == ["0", "1"]
    assert validated[0][1] != validated[1][1]


def test_the_interference_is_in_a_test_set(checkout: Path) -> None:
    truth = read_truth(checkout / "runs" / "chirps", "QPSK", "Chirps")
    assert truth is not None
    mixtures = read_mixtures(checkout / "runs" / "chirps", "QPSK", "Chirps")
    gain = 10 ** (-torch.tensor(mixtures.sinr_db) / 20)
    chirps = torch.tensor(truth.interference) / gain[:, None]  # complex64 [M, T]
    assert torch.allclose(chirps.abs(), torch.ones(()), atol=1e-4)
    frequency = (chirps[:, 1:] * chirps[:, :-1].conj()).angle() / (2 * torch.pi)  # [M, T - 1], cycles/sample
    rise = frequency.diff(dim=1).median(1).values
    assert torch.allclose(rise, torch.full_like(rise, 0.5 / 500), rtol=1e-2)
    assert 0.24 < float(frequency.max()) < 0.26
    begins = torch.tensor(truth.interference_offset)
    # This excludes the jump back before the first step.
    inside = begins < 499
    assert torch.allclose(frequency[inside, 0], (begins[inside] / 500 - 0.5) * 0.5, atol=2e-3)


def test_the_separator_beats_the_matched_filter_in_bursts(checkout: Path) -> None:
    scores = json.loads((checkout / "runs" / "blanking" / "scores.json").read_text())
    (row,) = scores["results"]
    (filtered,) = [one for one in scores["baselines"] if one["separator"] == "matched_filter"]
    assert scores["id"] == "blanking"
    assert row["ber"][0] < 0.9 * filtered["ber"][0]
    assert row["ber"][1] < 0.9 * filtered["ber"][1]
