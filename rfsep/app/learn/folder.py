"""The folder that a learning leaves: separator.yaml, the frames it learned from, its networks, its page."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor

from rfsep.app.build import Parts, completed, network_arguments, separator_parts
from rfsep.app.captures.chunks import window_of
from rfsep.app.config import build_modem, options, plain, separator_of, soi_named, soi_of
from rfsep.app.networks.runs import open_run
from rfsep.app.settings import SeparatorOption
from rfsep.app.trust import load_config
from rfsep.separators.by_level import ByLevel
from rfsep.separators.race import Range
from rfsep.storage.atomic import sha256, write_text
from rfsep.storage.weights import read_weights
from rfsep.types import InputError, Modem, Separator

SCHEMA = 1
SEPARATOR, FRAMES, PAGE, FACTS = "separator.yaml", "examples.safetensors", "report.html", "learn.json"
NETWORKS = "networks"
PICTURE = "identify.png"
ZOO_PREFIX = "zoo:"  # Only unfinished learnings hold such names; finished ones have a copy.


class Part(NamedTuple):
    """One separator of a learning.

    Attributes:
        use: option of conf/separator.
        run: folder of its network, relative to the folder of the learning, or zoo:NAME; None without one.
        start: folder of a network whose estimate it starts from; None without one.
    """

    use: str
    run: str | None = None
    start: str | None = None


def make_part(part: Part, modem: Modem, frames: Tensor, folder: Path) -> Separator:
    """Makes a separator.

    Args:
        part: which one.
        modem: the SOI's modem.
        frames: what it learns from, complex64 [F, T].
        folder: folder of the learning.

    Raises:
        InputError: it refuses the frames.
    """
    run = None if part.run is None else open_run(place_of(folder, part.run))
    option = completed(separator_of(part.use), run)
    extra = network_arguments(option.method, run, modem, frames)
    if part.start is not None:
        extra["further"] = make_part(Part("neural", part.start), modem, frames, folder)
    made: Separator = separator_parts(option, modem, frames, extra).make(None)
    return made


def place_of(folder: Path, run: str) -> str:
    """Returns a network's place for `open_run`: zoo:NAME as it is, else a folder below that of the learning.

    >>> place_of(Path("learned"), "networks/a"), place_of(Path("learned"), "zoo:b")
    ('learned/networks/a', 'zoo:b')
    """
    return run if run.startswith(ZOO_PREFIX) else str(folder / run)


def write_separator(folder: Path, soi: str, interference: str, chosen: Sequence[tuple[float, Part]]) -> None:
    """Writes separator.yaml; frames and networks must be there.

    Args:
        folder: folder of the learning.
        soi: option of conf/soi.
        interference: name of what it learned from.
        chosen: the least estimated SINR in dB of each range, and its separator.
    """
    networks = sorted({run for _, part in chosen for run in (part.run, part.start) if run is not None})
    files = [FRAMES, *(f"{run}/{name}" for run in networks for name in ("config.yaml", "model.safetensors"))]
    content = {
        "schema": SCHEMA,
        "soi": soi,
        "interference": interference,
        "separators": [{"from_db": None if math.isinf(start) else start, **part._asdict()} for start, part in chosen],
        "files": {name: sha256(folder / name) for name in files},
    }
    title = "# written by rfsep learn: the separator of each range of estimated SINR, and the files that it needs\n"
    write_text(folder / SEPARATOR, title + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


class Learned(NamedTuple):
    """An opened folder of a learning.

    Attributes:
        folder: the folder.
        soi: option of conf/soi.
        interference: name of what it learned from.
        chosen: the separators and their ranges.
        digest: SHA-256 of separator.yaml, which names those of all other files.
    """

    folder: Path
    soi: str
    interference: str
    chosen: tuple[tuple[float, Part], ...]
    digest: str

    def option(self) -> SeparatorOption:
        """Returns the option of conf/separator that stands for it, with its window and what identifies it."""
        blocks = [_window(self.folder, part) for _, part in self.chosen]
        told = {"block": max(block for block, _ in blocks), "margin": max(margin for _, margin in blocks)}
        option = separator_of("learned")
        return replace(option, method={**option.method, **told, "digest": self.digest})

    def frames(self) -> Tensor:
        """Returns the frames that it learned from, complex64 [F, T].

        Raises:
            InputError: the file is missing or damaged.
        """
        return read_weights(self.folder / FRAMES)["frames"]

    def separator(self, modem: Modem, frames: Tensor | None = None) -> Separator:
        """Makes the separator.

        Args:
            modem: the SOI's modem.
            frames: what it learns from in place of its own, complex64 [F, T].

        Raises:
            InputError: a file is missing or another one.
        """
        frames = self.frames() if frames is None else frames
        made = {part: make_part(part, modem, frames, self.folder) for part in {part for _, part in self.chosen}}
        found = [Range(start, part.use) for start, part in self.chosen]
        return ByLevel(modem, [made[part] for _, part in self.chosen], found)


def _window(folder: Path, part: Part) -> tuple[int, int]:
    """Returns the window and the margin of a separator, in samples."""
    run = None if part.run is None else open_run(place_of(folder, part.run))
    block = {} if run is None else {"block": run.config.num_samples}
    return window_of(completed(separator_of(part.use), run).method, block)


def is_learned(folder: str | Path) -> bool:
    """Tells whether a folder holds what a learning has finished."""
    return (Path(folder) / SEPARATOR).is_file()


def open_learned(folder: str | Path, soi: str | None = None) -> Learned:
    """Opens the folder of a learning; nothing in it is executed.

    Args:
        folder: the folder.
        soi: option of conf/soi that it must be for; None for any.

    Raises:
        InputError: it is none, is damaged, or names something else than separators of conf/separator and its own files.
    """
    place = Path(folder) / SEPARATOR
    if not place.is_file():
        raise InputError(f"{place}: not found; rfsep learn writes such a folder")
    content = plain(load_config(place), resolve=False)
    try:
        chosen = tuple(_range(entry) for entry in content["separators"])
        files = {str(name): str(digest) for name, digest in content["files"].items()}
        own, interference = str(content["soi"]), str(content["interference"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{place}: is no file of rfsep learn: {type(error).__name__} at {error}") from None
    for part in (part for _, part in chosen):
        _check(place, part, files)
    for name, digest in files.items():
        path = place.parent / name
        if not path.is_file() or sha256(path) != digest:
            raise InputError(f"{path}: is missing, or not the file that {place} was written with")
    starts = [start for start, _ in chosen]
    if not chosen or starts[0] != -math.inf or sorted(set(starts)) != starts:
        raise InputError(f"{place}: separators must begin at null and rise in from_db")
    if soi not in (None, own):
        raise InputError(f"{place}: was learned for soi {own}, not for {soi}")
    return Learned(place.parent, own, interference, chosen, sha256(place))


def learned_parts(source: str, pair: tuple[str, str]) -> tuple[SeparatorOption, Parts]:
    """Returns the option and the factory of a learned separator for a mixture type, named as in files.

    Args:
        source: folder of a learning, or a folder with one named <SOI>_<INTERFERENCE>.
        pair: names of SOI and interference.

    Raises:
        InputError: there is none, or it was learned for another SOI.
    """
    own = soi_named(pair[0])
    learned = open_learned(source if is_learned(source) else Path(source, "_".join(pair)))
    if (known := soi_of(learned.soi)).name != own.name:
        raise InputError(f"{learned.folder}: was learned for soi {known.name}, not for {own.name}")
    return learned.option(), Parts(lambda sinr_db: learned.separator(build_modem(own)), oracle=False)


def _range(entry: dict[str, Any]) -> tuple[float, Part]:
    start = -math.inf if entry["from_db"] is None else float(entry["from_db"])
    run, begin = (None if entry[key] is None else str(entry[key]) for key in ("run", "start"))
    return start, Part(str(entry["use"]), run, begin)


def _check(place: Path, part: Part, files: dict[str, str]) -> None:
    """Refuses a separator that is none of ours, and a network beyond the folder."""
    if part.use not in options("separator"):
        raise InputError(f"{place}: unknown separator '{part.use}'")
    for run in (part.run, part.start):
        if run is not None and (not run.startswith(f"{NETWORKS}/") or ".." in run or f"{run}/config.yaml" not in files):
            raise InputError(f"{place}: network '{run}' is not one of its own files")
