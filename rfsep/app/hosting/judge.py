"""Scores one entry on both shares of the test set."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from rfsep.app.hosting.inbox import Place, copy_file, form_of
from rfsep.app.hosting.ledger import Record
from rfsep.app.hosting.rules import SHARES, Share
from rfsep.app.hosting.shares import TypeShares, as_lists, share_row
from rfsep.app.score import declared_card
from rfsep.challenge.kept_errors import row_errors
from rfsep.challenge.scoring import SCHEMA, Row, submission_errors
from rfsep.storage.atomic import read_json, sha256, write_json
from rfsep.storage.faults import fault
from rfsep.storage.growing import check_room
from rfsep.storage.mixture_files import check_pair
from rfsep.storage.seal import sealed
from rfsep.storage.submissions import Submission, find_submissions, list_submissions
from rfsep.types import InputError

_LARGEST_NUMBER_BYTES = 16
_LARGEST_HEADER_BYTES = 1 << 16
_CARD = "card.json"


class EntryError(InputError):
    """Raised where an entry is refused for its own fault."""


class Judge:
    """Scores entries on a test set.

    Args:
        inbox: the inbox.
        testset: name of the test set in submissions.
        types: its mixture types, by label.
        folder: the host's secret folder.
    """

    def __init__(self, inbox: Path, testset: str, types: Mapping[str, TypeShares], folder: Path) -> None:
        self.inbox = inbox
        self.testset = testset
        self.types = types
        self.work = folder / "work"
        self.results = folder / "results"
        shutil.rmtree(self.work, ignore_errors=True)

    def path(self, place: Place) -> Path:
        """Returns the file of an entry's result."""
        return self.results / place.team / f"{place.entry}.json"

    def result(self, record: Record) -> Row:
        """Reads the result of a scored entry.

        Raises:
            InputError: the file is not the one that the audit log names.
        """
        path = self.path(record.place)
        if not path.is_file() or sha256(path) != record.result:
            raise fault(path, "is not the result that audit.jsonl names")
        return dict(read_json(path))

    def score(self, record: Record) -> str:
        """Scores an entry, writes its result, and returns the SHA-256 of that file.

        Raises:
            EntryError: the entry is refused, for the reason in the message.
            InputError: the result cannot be written.
            OSError: the copies of its files cannot be written.
        """
        place = record.place
        self.work.mkdir()
        try:
            submissions = self._listed(place)
            rows: dict[Share, list[Row]] = {share: [] for share in SHARES}
            kept: Row = {}
            digests: dict[str, str] = {}
            for one in submissions:
                shared = self.types[f"{one.soi}_{one.interference}"]
                errors = submission_errors(self._copied(place, one, shared, digests), shared.pair)
                kept[f"{one.soi}_{one.interference}"] = as_lists(row_errors(errors.mse, errors.bit_errors))
                for share in SHARES:
                    rows[share].append(share_row(place.team, shared, share, errors))
                shutil.rmtree(self.work)
                self.work.mkdir()
            card = self._card(place, submissions[0].id)
            if form_of(self.inbox, place) != record.form:
                raise InputError("it was changed after it was taken")
        except InputError as error:
            raise EntryError(self._without_folders(place, str(error))) from error
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
        missing = sorted(set(self.types) - {f"{one.soi}_{one.interference}" for one in submissions})
        content = {"schema": SCHEMA, **place._asdict(), "files": digests, "card": card, "missing": missing}
        write_json(self.path(place), sealed({**content, "results": rows, "errors": kept}))
        return sha256(self.path(place))

    def _listed(self, place: Place) -> list[Submission]:
        """Returns the mixture types of an entry, which holds one submission."""
        folder = self.inbox / place.team / place.entry
        try:
            found = [entry for entry in find_submissions(folder, self.testset) if entry.folder == folder]
        except OSError as error:
            raise fault(folder, f"cannot be read: {error.strerror}") from error
        if len(found) > 1:
            raise InputError(f"it holds several ids, {found[0].id} and {found[1].id}; each needs an entry of its own")
        if not found:
            raise fault(folder, f"no file <ID>_{self.testset}_estimated_{{soi,bits}}_<SOI>_<INTERFERENCE>.npy")
        submissions = list_submissions(found[0], self.testset)
        pairs = [(one.pair.mixtures.soi, one.pair.mixtures.interference) for one in self.types.values()]
        for one in submissions:
            check_pair(folder, one.soi, one.interference, pairs)
        return submissions

    def _copied(self, place: Place, one: Submission, shared: TypeShares, digests: dict[str, str]) -> Submission:
        """Returns a mixture type whose files lie where the team cannot change them; adds their SHA-256."""
        num_mixtures, num_samples = shared.pair.mixtures.mixture.shape
        lengths = (num_samples, shared.pair.truth.bits.shape[1])
        most = [_LARGEST_NUMBER_BYTES * num_mixtures * length + _LARGEST_HEADER_BYTES for length in lengths]
        paths = [self.work / path.name for path in (one.soi_path, one.bits_path)]
        for path, limit in zip(paths, most, strict=True):
            _check_space(self.work, self.inbox / place.team / place.entry / path.name, limit)
            digests[path.name] = copy_file(self.inbox, place, path.name, path, limit)
        return Submission(one.id, one.soi, one.interference, *paths)

    def _card(self, place: Place, id: str) -> Row:
        """Returns the card of an entry under the name of its team."""
        if (self.inbox / place.team / place.entry / _CARD).exists():
            copy_file(self.inbox, place, _CARD, self.work / _CARD, _LARGEST_HEADER_BYTES)
        return declared_card(self.work / _CARD, id) | {"id": place.team}

    def _without_folders(self, place: Place, text: str) -> str:
        """Returns a message without the host's folders, which teams need not know."""
        for folder in (self.work, self.inbox / place.team / place.entry):
            text = text.replace(f"{folder}/", "").replace(f"{folder}: ", "")
        return text


def _check_space(folder: Path, source: Path, most_bytes: int) -> None:
    """Ends the call where a copy has no room on the disk; a file larger than allowed is refused later.

    Raises:
        OSError: the disk has too little room.
    """
    try:
        size = source.lstat().st_size
    except OSError:
        return
    try:
        check_room(folder, min(size, most_bytes))
    except InputError as error:
        raise OSError(str(error)) from error
