"""A log that only grows: every line bears this host's seal and the SHA-256 of the line before it.

A changed line loses its seal, and a line that was taken out or put in breaks the chain. Lines that were cut off at the
end leave a whole chain: only a digest that somebody noted before shows them.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from rfsep.storage.atomic import parse_json, read_small
from rfsep.storage.faults import fault, reason
from rfsep.storage.seal import SEAL, is_sealed, key_path, sealed

FIRST = "0" * 64  # stands in place of a line before the first one
_LARGEST_BYTES = 1 << 28
Event = dict[str, Any]


class Log(NamedTuple):
    """The content of a log.

    Attributes:
        events: its lines.
        digest: SHA-256 of the last line.
        num_bytes: length of the whole lines.
    """

    events: tuple[Event, ...] = ()
    digest: str = FIRST
    num_bytes: int = 0


def read_log(path: Path) -> Log:
    """Reads a log and checks every line; the rest of a line that a killed process began does not count.

    Raises:
        InputError: names the first line that was changed or does not follow the one before.
    """
    if not path.exists():
        return Log()
    content = read_small(path, _LARGEST_BYTES)
    lines = content.splitlines(keepends=True) if content.endswith(b"\n") else content.splitlines(keepends=True)[:-1]
    events, digest = list[Event](), FIRST
    for number, line in enumerate(lines, 1):
        event = parse_json(path, line)
        if not is_sealed(event):
            raise fault(path, f"line {number} was changed: it does not bear this host's seal")
        if event["previous"] != digest:
            raise fault(path, f"line {number} does not follow line {number - 1}: lines are missing, or not in order")
        events.append(event)
        digest = hashlib.sha256(line).hexdigest()
    return Log(tuple(events), digest, sum(map(len, lines)))


def append_event(path: Path, log: Log, event: Event) -> Log:
    """Appends a line, which is on the disk afterwards; one process at a time may do so.

    Args:
        path: the file, created if it does not exist, for its owner alone.
        log: its content, from `read_log` or the call before.
        event: values that JSON can hold.

    Returns:
        The content with the new line.

    Raises:
        InputError: the file cannot be written, or this host has no key.
    """
    whole = sealed({**event, "previous": log.digest})
    if whole[SEAL] is None:
        raise fault(key_path(), "the host's key cannot be kept here: RFSEP_HOST_KEY names a file that can be written")
    line = json.dumps(whole, allow_nan=False).encode() + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.ftruncate(descriptor, log.num_bytes)  # The rest of a line that was begun goes.
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if not log.events:
            _sync_folder(path.parent)
    except OSError as error:
        raise fault(path, f"cannot be written: {reason(error)}") from error
    return Log((*log.events, whole), hashlib.sha256(line).hexdigest(), log.num_bytes + len(line))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
