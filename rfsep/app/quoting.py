"""Suggests quotes for words of a command line that hydra reads as grammar."""

import os
import re
import shlex
from collections.abc import Iterable

# Hydra reads these characters as text.
_PLAIN = re.compile(r"[\w./:+%@$\\* -]*", re.ASCII)
_GRAMMAR = ("override_grammar", "Ambiguous value", "Sweep parameters")


def quoting_hint(message: str, words: Iterable[str]) -> str | None:
    """Returns the words that a complaint of hydra's is about, quoted so that shell and hydra take them literally.

    Args:
        message: hydra's message.
        words: words of the command line.

    Returns:
        None where the complaint is about something else, or no word needs quotes.

    >>> print(quoting_hint("... override_grammar/basic for details", ["testset=runs/a#b", "separator=lmmse"]))
    quote what has , [ ] { } ( ) = ~ # or other signs in it: 'testset="runs/a#b"'
    """
    if not any(sign in message for sign in _GRAMMAR):
        return None
    quoted = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and not _PLAIN.fullmatch(value) and value[:1] not in ("'", '"', "[", "{"):
            inner = os.path.expanduser(value).replace("\\", "\\\\").replace('"', '\\"')
            quoted.append(shlex.quote(f'{key}="{inner}"'))
    if not quoted:
        return None
    return f"quote what has , [ ] {{ }} ( ) = ~ # or other signs in it: {' '.join(quoted)}"
