"""The commands start without what they do not need, and end by Ctrl-C with status 130 even while they load."""

import os
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
