"""Failures that do not stop a command: one line for each, with the tracebacks in a log."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rfsep.app.config import CONFIG_ERRORS, errors, one_line
from rfsep.types import InputError


class Failures:
    """Parts of a command's work that broke.

    Faults of the input (`InputError`, or a file that cannot be read or written) are not among them: they end the
    command as usual.

    Args:
        log: file of tracebacks, written when the first part breaks.

    Attributes:
        names: names of the parts that broke.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.names = list[str]()

    @contextmanager
    def left_out(self, name: str) -> Iterator[None]:
        """Leaves out a part that breaks within the block.

        Raises:
            InputError: the input is at fault.
            OSError: a file cannot be read or written.
        """
        try:
            yield
        except (InputError, OSError):
            raise
        except Exception as error:
            if isinstance(error, CONFIG_ERRORS) and isinstance(error.__cause__, InputError | OSError):
                raise
            self.note(name, error)

    def note(self, name: str, error: BaseException) -> None:
        """Reports that a part broke."""
        while isinstance(error, CONFIG_ERRORS) and error.__cause__ is not None:
            error = error.__cause__
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a" if self.names else "w", encoding="utf-8") as file:
            file.write(f"{name}\n{''.join(traceback.format_exception(error))}\n")
        self.names.append(name)
        errors.print(f"error: {name} is left out: {type(error).__name__}: {one_line(error)}; traceback in {self.log}")
