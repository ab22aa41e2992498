"""Every separator and every network of the zoo on one test set, in parallel processes; finished ones are kept."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from rfsep.app.config import console, separator_of
from rfsep.app.places import ZOO, option_files, user_folders
from rfsep.app.score import make_leaderboard
from rfsep.app.settings import NetworkConfig
from rfsep.app.trust import read_network
from rfsep.storage.atomic import read_json
from rfsep.storage.manifest import listed_sha256, verify
from rfsep.storage.seal import is_sealed
from rfsep.storage.test_set import list_mixtures, read_mixtures
from rfsep.types import InputError

# This separator runs alone, so that the baselines are computed once.
_FIRST = "passthrough"
_REFUSAL = "fits no mixture type"
_PAUSE_S = 0.2
# A network that learned this interference enters for every other, too.
_MANY = "ManyKinds"


class Competitor(NamedTuple):
    """One run of evaluate.py.

    Attributes:
        id: id of its submission, and name of its folder.
        arguments: arguments of the separation.
        types: mixture types to try, such as QPSK_OFDMQPSK.
    """

    id: str
    arguments: list[str]
    types: list[str]


class Limits(NamedTuple):
    """Limits of the work.

    Attributes:
        processes: number of processes at a time, each with one thread.
        minutes: time after which nothing starts and running work is stopped; None for no limit.
        max_seconds_per_mixture: slower separators are left out.
    """

    processes: int
    minutes: float | None
    max_seconds_per_mixture: float


def entries(testset: Path, learned: Sequence[Path] = ()) -> Iterator[Competitor]:
    """Yields all competitors: every separator, once per network or prior of the zoo where it needs one.

    A network, or a prior, enters for the types with the interference that it learned, also through a channel. Where the
    test set lacks that, a network that sees tokens may try them all: the grid is the interference's own, or it learned
    several. Each folder of rfsep learn in ``learned`` tries them all.
    """
    pairs = list_mixtures(testset)
    every = ["_".join(pair) for pair in pairs]
    cards = {path.stem: read_network(path) for path in sorted(ZOO.glob("*.yaml"))}
    # Networks of these kinds separate nothing by themselves.
    parts = ("tokenizer", "timing")
    cards = {name: card for name, card in cards.items() if card.model.kind not in parts}
    for name in option_files("separator"):
        separator = separator_of(name)
        if separator.learned:
            yield from (
                Competitor(f"learned-{one.name}", [f"separator={name}", f"run={one}"], every) for one in learned
            )
        elif separator.checkpoint is None:
            yield Competitor(name, [f"separator={name}"], every)
        for card, config in cards.items():
            prior = config.model.kind == "prior"
            fitting = _learned(config, pairs)
            if separator.checkpoint is not None and not prior:
                types = fitting or (every if config.model.kind == "tokens" else [])
                id = card if name == "neural" else f"{name}-{card}"
                yield Competitor(id, [f"separator={name}", f"run=zoo:{card}"], types)
            elif prior and (key := f"{config.objective['which']}_prior") in separator.beside:
                yield Competitor(f"{name}-{card}", [f"separator={name}", f"separator.{key}=zoo:{card}"], fitting)


def _learned(config: NetworkConfig, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Returns the types with the signal that a network of the zoo learned: an interference, or a SOI for its prior."""
    signal = config.objective["which"] if config.model.kind == "prior" else "interference"
    place = 0 if signal == "soi" else 1
    card = config.card or {}
    if signal == "interference" and card.get(signal) == _MANY:
        return ["_".join(pair) for pair in pairs if _is(pair[0], card.get("soi"))]
    return ["_".join(pair) for pair in pairs if _is(pair[place], card.get(signal))]


def _is(name: str, learned: Any) -> bool:
    """Tells whether a signal of a test set is the learned one, or that one through a channel.

    >>> _is("OFDMQPSK", "OFDMQPSK"), _is("OFDMQPSK-rays", "OFDMQPSK"), _is("OFDMQPSK", "OFDMQPSK-rays")
    (True, True, False)
    """
    return learned in (name, name.rpartition("-")[0])


def compete(testset: Path, out: Path, limits: Limits, learned: Sequence[Path] = ()) -> None:
    """Runs all unfinished entries, and writes the leaderboard of the finished ones.

    Args:
        testset: folder of the test set, with truth.
        out: folder with a submission of each entry, its log beside it, and the leaderboard.
        limits: how much work is done.
        learned: folders of rfsep learn that enter too.

    Raises:
        InputError: the test set is damaged, nothing could be scored, or a separator failed; all others are finished.
    """
    verify(testset)
    digests = {"_".join(pair): listed_sha256(read_mixtures(testset, *pair).path) for pair in list_mixtures(testset)}
    waiting = sorted(entries(testset, learned), key=lambda entry: entry.id != _FIRST)
    end = None if limits.minutes is None else time.monotonic() + 60 * limits.minutes
    out.mkdir(parents=True, exist_ok=True)

    def work(entry: Competitor) -> bool:
        if not entry.types:
            console.print(f"{entry.id}: left out, the test set has nothing of what it learned")
            return True
        if _finished(out / entry.id, digests):
            console.print(f"{entry.id}: finished before")
            return True
        return _run(entry, testset, out, limits, end)

    first = [work(entry) for entry in waiting[:1]]
    with ThreadPoolExecutor(limits.processes) as pool:
        done = [*first, *pool.map(work, waiting[1:])]
    make_leaderboard(out)
    if failed := done.count(False):
        raise InputError(f"{failed} separators failed; {out} has their logs")


def _finished(folder: Path, digests: dict[str, str]) -> bool:
    """Tells whether a submission was scored here, on the mixtures that the test set has now."""
    path = folder / "scores.json"
    if not path.is_file() or not is_sealed(scores := read_json(path)):
        return False
    found = {f"{row['soi']}_{row['interference']}": row["mixtures"] for row in scores["results"]}
    return found.items() <= digests.items()


def _run(entry: Competitor, testset: Path, out: Path, limits: Limits, end: float | None) -> bool:
    """Separates and scores in a separate process, and reports the outcome; returns False where it failed."""
    log = out / f"{entry.id}.log"
    config_dirs = [word for folder in user_folders() for word in ("--config-dir", str(folder))]
    command = [sys.executable, "-m", "rfsep.app.commands", "evaluate", *config_dirs, *entry.arguments]
    command += [f"testset={testset}", f"out={out / entry.id}", f"id={entry.id}", f"types=[{','.join(entry.types)}]"]
    command += ["fitting=true", f"max_seconds_per_mixture={limits.max_seconds_per_mixture}"]
    started = time.monotonic()
    if end is not None and started > end:
        console.print(f"{entry.id}: no time left; the same command goes on with it")
        return True
    with log.open("w") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT) as process:
            try:
                while process.poll() is None and (end is None or time.monotonic() < end):
                    time.sleep(_PAUSE_S)
            finally:
                stopped = process.poll() is None
                process.terminate()
    lines = log.read_text().strip().splitlines()
    last = [line for line in lines if line.startswith("error: ")][-1:] or lines[-1:] or ["no word"]
    if stopped:
        console.print(f"{entry.id}: stopped, no time left; the same command goes on with it")
    elif process.returncode == 0:
        console.print(f"{entry.id}: {time.monotonic() - started:.0f} s")
    elif _REFUSAL in last[0]:
        console.print(f"{entry.id}: left out, {last[0].removeprefix('error: ')}")
    else:
        console.print(f"{entry.id}: failed, {last[0]}; see {log}")
        return False
    return True
