"""Collects the scores that this host wrote below a folder, in boards of submissions on the same mixtures."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rfsep.challenge.kept_errors import ERRORS, TypeErrors, read_errors
from rfsep.challenge.scoring import SCHEMA, Row
from rfsep.pages.examples import EXAMPLES, read_examples
from rfsep.pages.report import Example
from rfsep.storage.atomic import read_json
from rfsep.storage.faults import fault
from rfsep.storage.seal import is_sealed
from rfsep.types import InputError

SCORES = "scores.json"
_LARGEST_BYTES = 1 << 26


class Entry(NamedTuple):
    """A scored submission.

    Attributes:
        folder: folder of its scores, relative to the searched folder.
        scores: contents of scores.json.
        examples: example signals, one per mixture type; none if they are not kept.
        errors: errors on every mixture, by the label of a type; none in scores of before they were kept.
    """

    folder: str
    scores: Row
    examples: list[Example]
    errors: dict[str, TypeErrors]


class Found(NamedTuple):
    """The contents of a folder: entries, and one line on each refused file."""

    entries: list[Entry]
    refused: list[str]


class MixtureType(NamedTuple):
    """A mixture type of a board.

    Attributes:
        soi: its name.
        interference: its name.
        mixtures: SHA-256 of the mixture file, which all submissions of the board share.
        num_samples: samples per mixture.
    """

    soi: str
    interference: str
    mixtures: str
    num_samples: int

    @property
    def label(self) -> str:
        """The label in file names."""
        return f"{self.soi}_{self.interference}"


class Board(NamedTuple):
    """Comparable submissions: one test set's name, and the same mixtures in every shared type.

    Attributes:
        testset: name of the test set.
        types: every mixture type that a submission has, sorted.
        entries: in the order of their folders.
    """

    testset: str
    types: list[MixtureType]
    entries: list[Entry]


def collect(place: Path) -> Found:
    """Reads every scores.json below a folder that evaluate.py wrote on this host; no link is followed.

    Raises:
        InputError: there is no such folder, or it holds no scores at all.
    """
    if not place.is_dir():
        raise fault(place, "no such folder")
    entries, refused = list[Entry](), list[str]()
    for path in _paths(place):
        try:
            scores = _read(path)
            examples = read_examples(path.with_name(EXAMPLES), scores["examples"])
            errors = read_errors(path.with_name(ERRORS), scores["errors"]) if "errors" in scores else {}
        except (InputError, OSError) as error:
            refused.append(str(error))
            continue
        if not any(scores == entry.scores for entry in entries):  # A copy is no second submission.
            entries.append(Entry(path.parent.relative_to(place).as_posix(), scores, examples, errors))
    if not entries:
        raise InputError("; ".join(refused) or f"{place}: no {SCORES} below it; evaluate.py writes them")
    return Found(entries, refused)


def _paths(place: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(place):
        subfolders.sort()
        if SCORES in files:
            yield Path(folder, SCORES)


def _read(path: Path) -> dict[str, Any]:
    """Reads a scores.json after a check of its origin.

    Raises:
        InputError: it is a link, no plain file, too large, no JSON, not sealed by this host, or of another version.
    """
    if path.is_symlink() or not path.is_file():
        raise fault(path, "is a link or no plain file; refused")
    if path.stat().st_size > _LARGEST_BYTES:
        raise fault(path, f"has {path.stat().st_size} bytes, more than {_LARGEST_BYTES}; refused")
    scores = read_json(path)
    if not is_sealed(scores):
        raise fault(path, "does not bear this host's seal: whoever wrote it, score the submission here")
    if scores.get("schema") != SCHEMA:
        raise fault(path, f"has schema {scores.get('schema')}, expected {SCHEMA}; score the submission again")
    return dict(scores)


def boards(entries: Iterable[Entry]) -> list[Board]:
    """Groups entries by test set; those with the same name but other mixtures get another board."""
    made: list[Board] = []
    for entry in entries:
        types = _types(entry.scores)
        board = next((board for board in made if _same(board, entry.scores["testset"], types)), None)
        if board is None:
            made.append(Board(entry.scores["testset"], sorted(types), [entry]))
            continue
        board.types[:] = sorted({*board.types, *types})
        board.entries.append(entry)
    return made


def _types(scores: Row) -> list[MixtureType]:
    return [MixtureType(*(row[key] for key in MixtureType._fields)) for row in scores["results"]]


def _same(board: Board, testset: str, types: Sequence[MixtureType]) -> bool:
    """Tells whether the types of an entry belong on a board."""
    known = {(one.soi, one.interference): one.mixtures for one in board.types}
    same = all(known.get((one.soi, one.interference), one.mixtures) == one.mixtures for one in types)
    return same and board.testset == testset
