"""One line for the user: which file, what is wrong with it."""

from pathlib import Path

from rfsep.types import InputError

MAX_REASON_LENGTH = 300


def fault(path: Path | str, text: str) -> InputError:
    """The error ``path: text`` as a single line, to be raised by the caller.

    >>> str(fault("a.npy", "shape (3,),\\nexpected (2,)"))
    'a.npy: shape (3,), expected (2,)'
    """
    return InputError(" ".join(f"{path}: {text}".splitlines()))


def reason(error: BaseException) -> str:
    """What a library said, on one line and cut to a readable length.

    >>> reason(ValueError("first\\n  second"))
    'first second'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON_LENGTH else text[:MAX_REASON_LENGTH] + "..."
