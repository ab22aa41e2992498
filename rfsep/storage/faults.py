"""Error messages of one line that name the file and its fault."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rfsep.types import InputError

MAX_REASON_LENGTH = 300
MAX_LENGTH = 1500


def fault(path: Path | str, text: str) -> InputError:
    """Returns the error ``path: text`` as a single line, to be raised by the caller.

    >>> str(fault("a.npy", "shape (3,),\\nexpected (2,)"))
    'a.npy: shape (3,), expected (2,)'
    """
    line = printable(" ".join(f"{path}: {text}".splitlines()))
    return InputError(line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + "...")


def printable(text: str) -> str:
    r"""Returns text without control characters: names in foreign files may hold anything.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


@contextmanager
def foreign(path: Path | str, text: str) -> Iterator[None]:
    """Turns a library's exceptions on a foreign file into an InputError ``path: text: the library's message``.

    Raises:
        InputError: the block raises any exception; an InputError passes unchanged.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise fault(path, f"{text}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Returns a library's message, on one line and cut to a readable length.

    >>> reason(ValueError("first\\n  second"))
    'first second'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON_LENGTH else text[:MAX_REASON_LENGTH] + "..."
