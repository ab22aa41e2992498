"""Learns kinds of interference for several times, and measures all on the test split: python docs/learned.py KIND ...

Each KIND is an option of conf/interference. Writes docs/results/learned_KIND.json; runs/learned keeps what is learned.
"""

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from rfsep.app.config import build_modem, build_soi, build_source, example_frames, interference_of, soi_of
from rfsep.app.learn.contest import BASELINES, candidates
from rfsep.app.learn.folder import FACTS, Part, make_part
from rfsep.app.learn.learn import learn
from rfsep.app.learn.outcome import figures
from rfsep.app.learn.request import LEVELS_DB, LearnRequest
from rfsep.app.places import commit
from rfsep.app.settings import Frames
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer
from rfsep.separators.trials import Trials, measure
from rfsep.storage.atomic import read_json, write_json
from rfsep.types import Separator

RESULTS = Path(__file__).resolve().parent / "results"
MINUTES = (1.0, 5.0, 20.0)
NUM_MIXTURES, NUM_SAMPLES, SEED = 100, 2560, 1


def trials_of(kind: str, soi: str) -> Trials:
    """Returns mixtures of the test split."""
    mixer = Mixer(build_soi(soi_of(soi)), build_source(interference_of(kind), "test"))
    batches = [next(fixed_mixtures(mixer, [level], NUM_MIXTURES, NUM_SAMPLES, SEED)) for level in LEVELS_DB]
    mixture, waveform, bits = (
        torch.stack([getattr(one, name) for one in batches]) for name in ("mixture", "soi", "bits")
    )
    return Trials(mixture, waveform, bits, LEVELS_DB)


def separators(kind: str, soi: str, minutes: list[float], processes: int) -> Iterator[tuple[str, Separator]]:
    """Yields every separator with its name: baselines, the best structure, networks, and learned ones."""
    modem = build_modem(soi_of(soi))
    frames = example_frames(interference_of(kind), Frames(200, 8192))
    yield from ((name, make_part(Part(name), modem, frames, Path())) for name in BASELINES)
    seen = set(BASELINES)
    for one in minutes:
        folder = Path("runs", "learned", f"{kind}-{one:g}")
        learned = learn(LearnRequest(kind, soi, one), folder, processes)
        if (name := best_structure(folder)) not in seen:
            seen.add(name)
            yield name, make_part(Part(name), modem, frames, Path())
        for network in sorted(folder.glob("networks/*")):
            part = Part("neural", str(network.relative_to(folder)))
            yield f"network:{network.name}:{one:g}", make_part(part, modem, frames, folder)
        yield f"learned:{one:g}", learned.separator(modem)


def best_structure(folder: Path) -> str:
    """Returns the best candidate of a learning that is no network, by its trial mixtures."""
    found: list[str] = [one["name"] for one in read_json(folder / FACTS)["candidates"]]
    return next(name for name in found if name in candidates())


def study(kind: str, soi: str, minutes: list[float], processes: int) -> None:
    """Measures everything on one kind, and writes its JSON."""
    trials, rows = trials_of(kind, soi), []
    for name, separator in separators(kind, soi, minutes, processes):
        errors = measure(separator, trials)
        rows.append({**figures(name, errors, LEVELS_DB), "seconds_per_mixture": errors.seconds})
        print(kind, name, *(f"{value:.2g}" for value in rows[-1]["ber"]), flush=True)
        told = {
            f"{one:g}": read_json(Path("runs", "learned", f"{kind}-{one:g}", FACTS))["chosen"]
            for one in minutes
            if (Path("runs", "learned", f"{kind}-{one:g}") / FACTS).is_file()
        }
        content = {"schema": 1, "kind": kind, "soi": soi, "seed": SEED, "chosen": told, "rows": rows}
        content |= {
            "commit": commit(),
            "machine": f"{platform.machine()}, {processes} cores",
            "num_samples": NUM_SAMPLES,
        }
        content["command"] = f"python docs/learned.py {kind} --minutes {' '.join(f'{one:g}' for one in minutes)}"
        write_json(RESULTS / f"learned_{kind}.json", content)


def main() -> None:
    """Reads the command line, and studies each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="+")
    parser.add_argument("--soi", default="qpsk")
    parser.add_argument("--minutes", nargs="*", type=float, default=list(MINUTES))
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    for kind in asked.kinds:
        study(kind, asked.soi, asked.minutes, asked.processes)


if __name__ == "__main__":
    main()
