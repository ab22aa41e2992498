"""The commands that hydra composes: ``train``, ``evaluate`` and ``prepare``, as scripts and as words of ``rfsep``."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType


@contextmanager
def loading() -> Iterator[None]:
    """End by Ctrl-C with status 130 while modules load, which takes seconds; an extension may swallow the exception."""

    def leave(number: int, frame: FrameType | None) -> None:
        os.write(2, b"interrupted; nothing was written\n")
        os._exit(130)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def script(name: str) -> None:
    """Run ``train``, ``evaluate`` or ``prepare`` on the words of ``sys.argv``, and exit.

    Args:
        name: of the command, and of its YAML in conf/.
    """
    if name == "prepare":
        if sys.argv[1:2] not in (["testset"], ["--help"]):
            print(f"error: unknown command '{' '.join(sys.argv[1:2])}'; choose testset", file=sys.stderr)
            sys.exit(2)
        sys.argv = [word for place, word in enumerate(sys.argv) if (place, word) != (1, "testset")]
    with loading():
        task = import_module(f"rfsep.app.{name}").main
        run = import_module("rfsep.app.config").run
    run(task, name)
