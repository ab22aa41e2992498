"""The commands that hydra composes, as words of ``rfsep`` and, but for ``host``, as scripts."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

# keys whose values are names and paths, which hydra would read as numbers: run=1e3 as 1000.0, id=1.10 as 1.1
_TEXT = (
    "run",
    "id",
    "name",
    "out",
    "testset",
    "set",
    "submission",
    "leaderboard",
    "inbox",
    "init_from",
    "tokenizer",
    "views",
)
_NO_TEXT = re.compile(r"[+-]?[\d_]*\.?[\d_]*(e[+-]?[\d_]+)?|[+-]?(inf|nan)|true|false", re.IGNORECASE)


@contextmanager
def loading() -> Iterator[None]:
    """Ends on Ctrl-C with status 130 while modules load for seconds; an extension may swallow the exception."""

    def leave(number: int, frame: FrameType | None) -> None:
        os.write(2, b"interrupted; nothing was written\n")
        os._exit(130)

    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def as_text(word: str) -> str:
    """Returns a word of the command line, quoted for hydra where its value is a name that reads as a number.

    >>> [as_text(word) for word in ("run=2026_11_30", "id=1.10", "run=first", "run=1e3,b", "seed=3", "run=null")]
    ["run='2026_11_30'", "id='1.10'", 'run=first', "run='1e3',b", 'seed=3', 'run=null']
    """
    key, equals, value = word.partition("=")
    if not equals or key.lstrip("+") not in _TEXT:
        return word
    items = (f"'{item}'" if item and _NO_TEXT.fullmatch(item) else item for item in value.split(","))
    return f"{key}={','.join(items)}"


def script(name: str) -> None:
    """Runs ``train``, ``evaluate``, ``prepare`` or ``host`` on the words of ``sys.argv``, and exits.

    Args:
        name: name of the command and of its YAML in conf/.
    """
    if name == "prepare":
        if sys.argv[1:2] not in (["testset"], ["--help"]):
            print(f"error: unknown command '{' '.join(sys.argv[1:2])}'; choose testset", file=sys.stderr)
            sys.exit(2)
        sys.argv = [word for place, word in enumerate(sys.argv) if (place, word) != (1, "testset")]
    sys.argv[1:] = [as_text(word) for word in sys.argv[1:]]
    with loading():
        task = import_module(f"rfsep.app.{name}").main
        run = import_module("rfsep.app.config").run
    run(task, name)
