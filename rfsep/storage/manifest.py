"""manifest.json: size and SHA-256 of every file of a test set."""

import re
from pathlib import Path
from typing import Any

from rfsep.storage.atomic import read_json, sha256, write_json
from rfsep.storage.faults import fault
from rfsep.storage.mixture_files import NAME

MANIFEST = "manifest.json"
SCHEMA = 1
LISTED = re.compile(rf"(mixture/)?{NAME}_{NAME}\.h5")
Entries = dict[str, dict[str, Any]]


def read_manifest(path: Path) -> Entries:
    """Entries ``{"sha256": str, "bytes": int}`` by file name relative to the manifest; none if there is no manifest.

    Raises:
        InputError: not a manifest of this schema, or a name that lies outside its folder.
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
    """Enter or replace the file ``name``; entries of files that are gone are dropped.

    Raises:
        InputError: the old manifest cannot be understood or the new one not be written.
    """
    entries = {old: entry for old, entry in read_manifest(path).items() if (path.parent / old).is_file()}
    file = path.parent / name
    entries[name] = {"sha256": sha256(file), "bytes": file.stat().st_size}
    write_json(path, {"schema": SCHEMA, "files": dict(sorted(entries.items()))})


def verify(folder: Path) -> None:
    """Compare every file of one of our test sets with its manifest, the truth too if it is there.

    Raises:
        InputError: names the first file that differs, is missing or is not listed; or the missing manifest.
    """
    _verify(folder / MANIFEST, "mixture/")
    if (folder / "truth").is_dir():
        _verify(folder / "truth" / MANIFEST, "")


def listed_sha256(path: Path) -> str:
    """SHA-256 of a file of a test set: what its manifest says, to be relied on after `verify`; computed without one.

    Raises:
        InputError: as `read_manifest`; the file cannot be read.
    """
    folder = path.parent
    for manifest, name in ((folder / MANIFEST, path.name), (folder.parent / MANIFEST, f"{folder.name}/{path.name}")):
        if entry := read_manifest(manifest).get(name):
            return str(entry["sha256"])
    return sha256(path)


def _verify(manifest: Path, prefix: str) -> None:
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
        if (digest := sha256(path)) != entry["sha256"]:
            raise fault(path, f"has SHA-256 {digest}, {manifest} says {entry['sha256']}")
