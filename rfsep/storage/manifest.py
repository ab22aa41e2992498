"""Reads and writes manifest.json, the size and SHA-256 of every file of a test set."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from rfsep.storage.atomic import read_json, sha256, write_json
from rfsep.storage.faults import fault
from rfsep.storage.mixture_files import NAME
from rfsep.types import InputError

MANIFEST = "manifest.json"
SCHEMA = 1
_SETTLED_NS = 2_000_000_000
LISTED = re.compile(rf"(mixture/)?{NAME}_{NAME}\.h5")
Entries = dict[str, dict[str, Any]]


def read_manifest(path: Path) -> Entries:
    """Returns entries ``{"sha256": str, "bytes": int}`` by relative file name; none if there is no manifest.

    Raises:
        InputError: not a manifest of this schema, or a file outside its folder.
    """
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("files"), dict):
        raise fault(path, f"is not a manifest of schema {SCHEMA}")
    files: Entries = content["files"]
    for name, entry in files.items():
        if not LISTED.fullmatch(name) or not isinstance(entry, dict) or entry.keys() != {"sha256", "bytes"}:
            raise fault(path, f"entry {name!r} is not a file name with sha256 and bytes")
    return files


def update_manifest(path: Path, name: str) -> None:
    """Adds or replaces the entry of the file ``name``, and drops the entries of missing files.

    Raises:
        InputError: the old manifest is invalid, or the new one cannot be written.
    """
    file = path.parent / name
    entry = {"sha256": sha256(file), "bytes": file.stat().st_size}
    entries = {old: kept for old, kept in read_manifest(path).items() if (path.parent / old).is_file()}
    write_json(path, {"schema": SCHEMA, "files": dict(sorted((entries | {name: entry}).items()))})


def is_listed(path: Path, name: str) -> bool:
    """Tells whether a manifest lists the file ``name`` with its current size.

    Raises:
        InputError: as `read_manifest`.
    """
    entry, file = read_manifest(path).get(name), path.parent / name
    return entry is not None and file.is_file() and file.stat().st_size == entry["bytes"]


def verify(folder: Path, record: Path | None = None, threads: int = 1) -> None:
    """Compares every file of one of our test sets with its manifest, including the truth if it is there.

    Args:
        folder: folder of the test set.
        record: JSON file that records which files were found whole; such a file is not read again as long as its inode,
            size and times of change stay the same. None to read all.
        threads: files to read at a time.

    Raises:
        InputError: names the first file that differs, is missing or is not listed; or the missing manifest.
    """
    known = _known(record)
    listed = _listed(folder / MANIFEST, "mixture/")
    if (folder / "truth").is_dir():
        listed |= _listed(folder / "truth" / MANIFEST, "")
    started = time.time_ns()
    stamps = {path: _stamp(path, digest) for path, digest in listed.items()}
    waiting = {path: digest for path, digest in listed.items() if known.get(str(path.resolve())) != stamps[path]}
    with ThreadPoolExecutor(threads) as pool:
        for (path, digest), found in zip(waiting.items(), pool.map(sha256, waiting), strict=True):
            if found != digest:
                raise fault(path, f"has SHA-256 {found}, its manifest says {digest}")
    if record is not None and waiting:
        # A file changed a moment ago may be changed again within the same tick of the clock.
        settled = {
            str(path.resolve()): stamp
            for path, stamp in stamps.items()
            if stamp["changed_ns"] < started - _SETTLED_NS and stamp == _stamp(path, listed[path])
        }
        # If the record cannot be written, all files are read again next time.
        with suppress(InputError):
            write_json(record, {"schema": SCHEMA, "files": settled})


def listed_sha256(path: Path) -> str:
    """Returns the SHA-256 of a test set's file, from its manifest (valid after `verify`), or computed without one.

    Raises:
        InputError: as `read_manifest`; the file cannot be read.
    """
    folder = path.parent
    for manifest, name in ((folder / MANIFEST, path.name), (folder.parent / MANIFEST, f"{folder.name}/{path.name}")):
        if entry := read_manifest(manifest).get(name):
            return str(entry["sha256"])
    return sha256(path)


def _known(record: Path | None) -> dict[str, object]:
    """Returns the stamps of files that were found whole; none where the record is missing or invalid."""
    if record is None or not record.is_file():
        return {}
    with suppress(InputError):
        content = read_json(record)
        if isinstance(content, dict) and content.get("schema") == SCHEMA and isinstance(content.get("files"), dict):
            return dict(content["files"])
    return {}


def _stamp(path: Path, digest: str) -> dict[str, Any]:
    """Returns properties that change with a file, and the SHA-256 that it had."""
    status = path.stat()
    times = {"modified_ns": status.st_mtime_ns, "changed_ns": status.st_ctime_ns}
    return {"inode": status.st_ino, "bytes": status.st_size, **times, "sha256": digest}


def _listed(manifest: Path, prefix: str) -> dict[Path, str]:
    """Returns the files of a manifest with their expected SHA-256, after a check of names and sizes."""
    if not manifest.is_file():
        raise fault(manifest, "no such file, nothing to verify against")
    entries = read_manifest(manifest)
    present = {prefix + path.name for path in (manifest.parent / prefix).glob("*.h5")}
    for name in sorted(present - entries.keys()):
        raise fault(manifest.parent / name, f"is not listed in {manifest}")
    for name, entry in entries.items():
        path = manifest.parent / name
        if not path.is_file():
            raise fault(path, f"is missing, but listed in {manifest}")
        if path.stat().st_size != entry["bytes"]:
            raise fault(path, f"has {path.stat().st_size} bytes, {manifest} says {entry['bytes']}")
    return {manifest.parent / name: str(entry["sha256"]) for name, entry in entries.items()}
