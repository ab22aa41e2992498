"""Harm files for hours: python tests/fuzz/fuzz_readers.py --minutes 60 [--reader npy]; results in runs/fuzz.json.

Each reader gets its share of the time in a process of its own, with bounded memory, led by Atheris to new branches
where that is installed (pip install atheris), else blindly. A second run adds to what the first one counted. What a
reader did wrong lies in runs/fuzz/<reader>/ and is named in the JSON; exit status 1 if there is anything.
"""

import argparse
import faulthandler
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
try:
    import atheris
except ImportError:
    atheris = None

ROOT = Path(__file__).parents[2]
OUT = Path("runs/fuzz")
MEGABYTES = 512  # beyond what the process has when it begins
SECONDS = 30  # for one file
INSTRUMENTED = [
    "rfsep.storage",
    "rfsep.app.config",
    "rfsep.app.score",
    "numpy.lib",
    "json",
    "zipfile",
    "pickletools",
    "sigmf",
    "csv",
]


class Worker:
    """One reader in this process.

    Args:
        name: of the reader.
        folder: for its files.
        seconds: to work.
    """

    def __init__(self, name: str, folder: Path, seconds: float) -> None:
        from readers import Place

        self.name, self.folder = name, folder
        (folder / "files").mkdir(parents=True)
        self.place = Place(folder / "files", name)
        self.place.read(self.place.valid)
        self.executions, self.end = 0, time.monotonic() + seconds
        self.findings: dict[str, str] = {}
        found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        limit = (int(found[1]) << 10) + (MEGABYTES << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    def one(self, content: bytes) -> None:
        """Read one file."""
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            with warnings.catch_warnings(action="error", category=RuntimeWarning):
                self.place.read(content)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "/rfsep/" in frame.filename] or frames
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            self.keep(
                f"{type(error).__name__} at {place}: {str(error)[:100]}", f"{type(error).__name__} {place}", content
            )
        finally:
            faulthandler.cancel_dump_traceback_later()
        self.executions += 1
        if self.executions % 20 == 0 or time.monotonic() > self.end:
            self.save()
        if time.monotonic() > self.end:
            os._exit(0)

    def keep(self, text: str, kind: str, content: bytes) -> None:
        """Note the first of every kind of finding."""
        if kind not in self.findings:
            self.findings[kind] = text
            keep_content(self.name, content)
            self.save()

    def save(self) -> None:
        """Tell the process that waits."""
        state = {"executions": self.executions, "findings": list(self.findings.values())}
        (self.folder / "state.json").write_text(json.dumps(state))

    def mutate(self, content: bytes, max_size: int, seed: int) -> bytes:
        """Ours, or Atheris' own."""
        random = Random(seed)
        if random.random() < 0.3:
            return bytes(atheris.Mutate(content, max_size))
        return self.place.reader.mutate(random, content if random.random() < 0.7 else self.place.valid)[:max_size]


def keep_content(name: str, content: bytes) -> None:
    """Keep a file that a reader stumbled over."""
    path = OUT / name / hashlib.sha256(content).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def work(name: str, folder: Path, seconds: float) -> None:
    """Fuzz in this process until the time is over; does not return."""
    if atheris is None:
        worker, random = Worker(name, folder, seconds), Random()
        while True:
            worker.one(worker.place.reader.mutate(random, worker.place.valid))
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        worker = Worker(name, folder, seconds)
    (folder / "corpus").mkdir()
    (folder / "corpus" / "valid").write_bytes(worker.place.valid)
    length = max(4096, 2 * len(worker.place.valid))
    flags = [f"-max_len={length}", "-rss_limit_mb=0", "-timeout=600", "-handle_segv=0", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *flags, str(folder / "corpus")], worker.one, custom_mutator=worker.mutate)
    atheris.Fuzz()


def fuzz(name: str, seconds: float) -> dict[str, Any]:
    """Fuzz a reader in other processes; one that dies is a finding, and the next goes on."""
    began, executions, findings = time.monotonic(), 0, list[str]()
    while (left := seconds - (time.monotonic() - began)) > 0:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as temporary:
            folder = Path(temporary, "work")
            command = [sys.executable, "-X", "faulthandler", __file__, "--work", str(folder), "--reader", name]
            environment = {**os.environ, "RFSEP_HOST_KEY": f"{temporary}/host.key", "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [*command, "--minutes", str(left / 60)], env=environment, capture_output=True, check=False
            )
            state = folder / "state.json"
            content = json.loads(state.read_text()) if state.exists() else {"executions": 0, "findings": []}
            executions += content["executions"]
            findings += [one for one in content["findings"] if one not in findings]
            if done.returncode == 0:
                continue
            last = [path for path in (folder / "files").rglob("*") if path.is_file()] if folder.exists() else []
            for path in last:
                keep_content(name, path.read_bytes())
            said = done.stderr.decode(errors="replace")
            lines = [line for line in said.splitlines() if "/rfsep/" in line or "rror" in line]
            findings.append(f"exit status {done.returncode} {' | '.join(lines[:3])[:300]}")
            print(said[-3000:], file=sys.stderr)
            if not content["executions"]:
                break
    return {"executions": executions, "seconds": round(time.monotonic() - began, 1), "findings": findings}


def main() -> int:
    """Share the time among the readers, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--reader")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.reader, arguments.work, arguments.minutes * 60)
    from readers import READERS

    names = [arguments.reader] if arguments.reader else list(READERS)
    out = OUT.with_suffix(".json")
    content = json.loads(out.read_text()) if out.exists() else {"schema": 1, "readers": {}}
    content["engine"] = "none" if atheris is None else "atheris"
    for name in names:
        found = fuzz(name, 60 * arguments.minutes / len(names))
        before = content["readers"].get(name, {"executions": 0, "seconds": 0.0})
        total = {key: round(found[key] + before[key], 1) for key in ("executions", "seconds")}
        content["readers"][name] = {**total, "findings": found["findings"]}
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(content, indent=1) + "\n")
        print(f"{name}: {found['executions']} files in {found['seconds']:.0f} s", flush=True)
        for one in found["findings"]:
            print(f"   finding: {one}", flush=True)
    return 1 if any(reader["findings"] for reader in content["readers"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
