"""Words of a command line that hydra reads as grammar: how to quote them."""

import os
import re
import shlex
from collections.abc import Iterable

_PLAIN = re.compile(r"[\w./:+%@$\\* -]*", re.ASCII)  # hydra takes these for text
_GRAMMAR = ("override_grammar", "Ambiguous value", "Sweep parameters")


def quoting_hint(message: str, words: Iterable[str]) -> str | None:
    """The words that hydra's complaint is about, each quoted so that the shell and hydra leave it alone.

    Args:
        message: of hydra.
        words: of the command line.

    Returns:
        None where the complaint is of another kind, or no word needs quotes.

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
