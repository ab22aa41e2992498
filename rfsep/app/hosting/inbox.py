"""What lies in the inbox as INBOX/TEAM/ENTRY, whether it is at rest, and copies of its files; no link is followed."""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rfsep.app.hosting.rules import stamp
from rfsep.storage.atomic import CHUNK_BYTES, read_json, write_json
from rfsep.storage.faults import fault, printable, reason
from rfsep.storage.mixture_files import NAME

_LONGEST_NAME = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Place(NamedTuple):
    """An entry's team and name, each the name of a folder."""

    team: str
    entry: str


class Sighting(NamedTuple):
    """An entry as it lies in the inbox.

    Attributes:
        place: its team and name.
        form: digest of the names, sizes and times of change of all files in it, temporary ones included.
    """

    place: Place
    form: str


class Refusal(NamedTuple):
    """A folder that is no entry: its team, its name fit to be shown, and the reason."""

    team: str
    name: str
    reason: str


class Seen(NamedTuple):
    """An entry that is not taken yet: its form, and the first call that saw it so."""

    form: str
    since: str


def look(inbox: Path) -> tuple[list[Sighting], list[Refusal]]:
    """Returns the entries in an inbox, sorted, and the folders that cannot be entries.

    Names that begin with a dot, which rsync gives to what it has not finished, are no entries; nor are empty folders.

    Raises:
        InputError: the inbox itself cannot be read.
    """
    try:
        teams = _folders(inbox)
    except OSError as error:
        raise fault(inbox, f"cannot be read: {reason(error)}") from error
    found, refused = list[Sighting](), list[Refusal]()
    for team, wrong in teams:
        if wrong:
            refused.append(Refusal("", _shown(team), wrong))
            continue
        try:
            entries = _folders(inbox / team)
        except OSError as error:
            refused.append(Refusal(team, "", f"the folder cannot be read: {error.strerror}"))
            continue
        refused += [Refusal(team, _shown(entry), wrong) for entry, wrong in entries if wrong]
        places = [Place(team, entry) for entry, wrong in entries if not wrong]
        found += [Sighting(place, form) for place in places if (form := form_of(inbox, place))]
    return found, refused


def form_of(inbox: Path, place: Place) -> str | None:
    """Returns the form of an entry; None where there is nothing in it, or it cannot be read."""
    try:
        with _opened(inbox, place) as folder, os.scandir(folder) as listed:
            files = sorted((one.name, one.stat(follow_symlinks=False)) for one in listed)
    except OSError:
        return None
    if all(name.startswith(".") for name, _ in files):
        return None
    facts = [
        (name, status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for name, status in files
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def remember(path: Path, sightings: list[Sighting], now: datetime) -> dict[Place, Seen]:
    """Returns when each entry was first seen in its present form, and keeps that for the next call.

    Args:
        path: JSON file of the calls before.
        sightings: entries that are not taken yet.
        now: time of this call.
    """
    kept = read_json(path) if path.is_file() else {}
    seen = {}
    for place, form in sightings:
        old = Seen(**kept.get("/".join(place), {"form": "", "since": ""}))
        seen[place] = old if old.form == form else Seen(form, stamp(now))
    content = {"/".join(place): one._asdict() for place, one in seen.items()}
    if content != kept:
        write_json(path, content)
    return seen


def copy_file(inbox: Path, place: Place, name: str, target: Path, most_bytes: int) -> str:
    """Copies an entry's file, so that nobody changes it while it is read, and returns the copy's SHA-256.

    Raises:
        InputError: it is a link or no ordinary file, cannot be read, or is larger than ``most_bytes``.
        OSError: the copy cannot be written, which is no fault of the entry.
    """
    digest, count = hashlib.sha256(), 0
    with ExitStack() as opened:
        try:
            folder = opened.enter_context(_opened(inbox, place))
            source = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            link = error.errno in (errno.ELOOP, errno.ENOTDIR)
            raise fault(name, "is or lies behind a link" if link else f"cannot be read: {error.strerror}") from error
        opened.callback(os.close, source)
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise fault(name, "is no ordinary file")
        copy = opened.enter_context(target.open("wb"))
        while piece := os.read(source, CHUNK_BYTES):
            count += len(piece)
            if count > most_bytes:
                raise fault(name, f"is larger than the {most_bytes} bytes that it can need")
            digest.update(piece)
            copy.write(piece)
    return digest.hexdigest()


@contextmanager
def _opened(inbox: Path, place: Place) -> Iterator[int]:
    """Opens the folder of an entry; neither it nor that of its team may be a link."""
    with ExitStack() as opened:
        folder = os.open(inbox, os.O_RDONLY | os.O_DIRECTORY)
        opened.callback(os.close, folder)
        for name in place:
            folder = os.open(name, _FOLDER, dir_fd=folder)
            opened.callback(os.close, folder)
        yield folder


def _folders(place: Path) -> list[tuple[str, str]]:
    """Returns the folders and links in a folder, sorted, without those whose names begin with a dot.

    Each comes with what is wrong with it, which is nothing for a good one.
    """
    with os.scandir(place) as listed:
        return sorted(
            (one.name, "is a link" if one.is_symlink() else _wrong_name(one.name))
            for one in listed
            if not one.name.startswith(".") and (one.is_symlink() or one.is_dir(follow_symlinks=False))
        )


def _wrong_name(name: str) -> str:
    right = re.fullmatch(NAME, name) is not None and len(name) <= _LONGEST_NAME
    return "" if right else f"a name has letters, digits and hyphens, at most {_LONGEST_NAME}"


def _shown(name: str) -> str:
    return printable(name[: 2 * _LONGEST_NAME])
