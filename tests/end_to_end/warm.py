"""Runs commands in forks of a process that has imported what they all need, which takes seconds each time otherwise.

Started by `shell.command`. Reads a request a line, JSON, and answers with the command's exit status.
"""

import importlib
import json
import os
import runpy
import sys
import traceback
from typing import Any

from killing import VARIABLE, arm

IMPORTED = (
    "h5py",
    "hydra._internal.utils",
    "hydra.main",
    "matplotlib.pyplot",
    "pytorch_lightning",
    "rich.progress",
    "scipy.linalg",
    "scipy.stats",
    "sigmf",
    "torch",
    "torchmetrics",
    "typer",
)


def run(request: dict[str, Any]) -> None:
    """Become the command: a script, or the ``rfsep`` command."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for stream, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
        os.close(file)
    if order := os.environ.get(VARIABLE):
        arm(order)
    script, sys.argv = request["arguments"][0], request["arguments"]
    sys.path[0] = os.path.dirname(script)
    if os.path.basename(script) == "rfsep":
        from rfsep.app.commands import main

        main()
    else:
        runpy.run_path(script, run_name="__main__")


def status_of(child: int) -> int:
    """Exit status of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def serve() -> None:
    """Answer requests until there are no more."""
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(request)  # and leave by the end of the program, as the command itself does
            return
        print(status_of(child), flush=True)


if __name__ == "__main__":
    try:
        serve()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
