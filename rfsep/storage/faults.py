"""One line for the user: which file, what is wrong with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rfsep.types import InputError

MAX_REASON_LENGTH = 300
MAX_LENGTH = 1500


def fault(path: Path | str, text: str) -> InputError:
    """The error ``path: text`` as a single line, to be raised by the caller.

    >>> str(fault("a.npy", "shape (3,),\\nexpected (2,)"))
    'a.npy: shape (3,), expected (2,)'
    """
    line = printable(" ".join(f"{path}: {text}".splitlines()))
    return InputError(line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + "...")


def printable(text: str) -> str:
    r"""Text without what a terminal would obey: names in foreign files may hold anything.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


@contextmanager
def foreign(path: Path | str, text: str) -> Iterator[None]:
    """Whatever a library stumbles over in somebody's file is the file's fault: ``path: text: what the library said``.

    Raises:
        InputError: for any exception in the block; one that is an InputError already is handed on.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise fault(path, f"{text}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What a library said, on one line and cut to a readable length.

    >>> reason(ValueError("first\\n  second"))
    'first second'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON_LENGTH else text[:MAX_REASON_LENGTH] + "..."
