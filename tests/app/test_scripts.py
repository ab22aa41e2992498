"""The commands start without what they do not need, and end by Ctrl-C with status 130 even while they load."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELP = """
import sys
sys.argv = {words}
from rfsep.app.commands import main
try:
    main()
finally:
    heavy = {{"torch", "numpy", "hydra", "rich.progress", "matplotlib"}} & set(sys.modules)
    assert not heavy, heavy
"""
LIGHT = """
import os
import sys
sys.argv = {words}
os.environ.update({environment})
from rfsep.app.commands import main
try:
    main()
finally:
    print("loaded:", *sorted(set({modules}) & set(sys.modules)), file=sys.stderr)
"""
FIGURES = ["matplotlib", "jinja2", "PIL"]
SLOW_TO_LOAD = ["scipy.signal", "scipy.stats", "scipy.io", "scipy.optimize", "pytorch_lightning", "wandb", "sionna"]
SLOW = """
import os
import runpy
import select
import sys

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.write(1, b"loading")
            select.select([], [], [], 60)  # an import that takes its time; the signal ends it

sys.meta_path.insert(0, Slow())
sys.argv = {argv}
"""


def python(code: str) -> subprocess.Popen[bytes]:
    """A Python of its own that runs some lines at the root of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT, **pipes)


@pytest.mark.parametrize("words", [["rfsep", "--help"], ["rfsep", "separate", "--help"]])
def test_help_needs_no_torch(words: list[str]) -> None:
    process = python(HELP.format(words=words))
    out, complaint = process.communicate()
    assert process.returncode == 0, complaint.decode()
    assert b"Usage: rfsep" in out


def loaded(words: list[str], modules: list[str], environment: dict[str, str]) -> list[str]:
    """Runs a command, and returns those of the modules that it loaded."""
    process = python(LIGHT.format(words=words, environment=environment, modules=modules))
    complaint = process.communicate()[1].decode()
    assert "loaded:" in complaint, complaint
    return complaint.rpartition("loaded:")[2].split()


def test_completion_needs_neither_torch_nor_hydra() -> None:
    asked = {"_RFSEP_COMPLETE": "complete_bash", "COMP_WORDS": "rfsep separate --soi q", "COMP_CWORD": "3"}
    assert loaded(["rfsep"], ["torch", "numpy", "scipy", "hydra", *FIGURES], asked) == []


def test_preparing_and_separating_load_no_figures_and_no_training(tmp_path: Path) -> None:
    """Of a set without its truth nothing is scored, so no page is drawn either."""
    testset, out = tmp_path / "set", tmp_path / "out"
    small = ["num_samples=1280", "num_per_sinr=1", "sinr_db=[-12]", "seed=0"]
    prepare = ["rfsep", "prepare", "testset", "soi=qpsk", "interference=ofdm_qpsk", *small, f"out={testset}"]
    assert loaded(prepare, ["torch", *FIGURES, *SLOW_TO_LOAD], {}) == ["torch"]
    shutil.rmtree(testset / "truth")
    evaluate = ["rfsep", "evaluate", "separator=matched_filter", f"testset={testset}", f"out={out}"]
    assert loaded(evaluate, ["torch", *FIGURES, *SLOW_TO_LOAD], {}) == ["torch"]
    assert (out / "card.json").is_file()


@pytest.mark.parametrize(
    ("argv", "start"),
    [
        (["train.py", "model=unet_small"], "runpy.run_path('train.py', run_name='__main__')"),
        (["rfsep", "identify", "white_noise"], "from rfsep.app.commands import main; main()"),
    ],
)
def test_ctrl_c_while_modules_load_ends_with_130_and_one_line(argv: list[str], start: str) -> None:
    process = python(SLOW.format(argv=argv) + start)
    assert process.stdout is not None
    assert process.stdout.read(7) == b"loading"
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate()
    assert (process.returncode, complaint) == (130, b"interrupted; nothing was written\n")
