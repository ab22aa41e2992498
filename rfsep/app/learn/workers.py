"""Worker processes that do the tasks of a learning, one thread each; a killed one is replaced."""

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rfsep.app.places import user_folders
from rfsep.storage.atomic import read_json, write_json

_TRIES = 2  # A task that kills this many workers is left out.
Told = dict[str, Any]


class Workers:
    """A few processes of `rfsep.app.learn.worker`, for a block.

    Args:
        number: of processes.
        log: file that receives what they print.

    Attributes:
        progress: called with a task's name and the share of it that is done.
    """

    def __init__(self, number: int, log: Path) -> None:
        self.number = number
        self.log = log
        self.progress: Callable[[str, float], None] = lambda name, share: None
        self._idle: queue.SimpleQueue[subprocess.Popen[str] | None] = queue.SimpleQueue()
        self._all = list[subprocess.Popen[str]]()
        self._ended = False

    def __enter__(self) -> "Workers":
        for _ in range(self.number):
            self._idle.put(None)  # A process starts with its first task.
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        for process in self._all:
            _close(process)

    def _kill(self) -> None:
        """Ends all processes; everything worth keeping is on the disk."""
        self._ended = True
        for process in self._all:
            process.kill()
            process.wait()

    def do(self, tasks: Mapping[str, Told], folder: Path, done: Callable[[str], None]) -> dict[str, Told]:
        """Does tasks, and returns what each gave; finished ones are read from the folder.

        Args:
            tasks: arguments of `rfsep.app.learn.work.do` by name.
            folder: receives NAME.json each.
            done: called with a task's name when it is finished, or was before.
        """
        waiting = {name: task for name, task in tasks.items() if not (folder / f"{name}.json").is_file()}
        for name in tasks.keys() - waiting.keys():
            done(name)
        with ThreadPoolExecutor(self.number) as pool:
            futures = {pool.submit(self._one, name, task, folder): name for name, task in waiting.items()}
            try:
                for future in as_completed(futures):
                    future.result()
                    done(futures[future])
            except BaseException:
                for future in futures:
                    future.cancel()
                self._kill()  # Threads that wait for an answer come back at once.
                raise
        return {name: read_json(folder / f"{name}.json") for name in tasks}

    def _one(self, name: str, task: Told, folder: Path) -> None:
        """Does a task in an idle process, and writes what it gave."""
        ended = ""
        for _ in range(_TRIES):
            process = self._idle.get()
            if process is None or process.poll() is not None:
                process = self._started()
            answer = self._answer(process, name, task)
            self._idle.put(None if answer is None else process)
            if self._ended:
                return
            if answer is not None:
                write_json(folder / f"{name}.json", answer)
                return
            ended = _how(process)
        write_json(folder / f"{name}.json", {"broke": f"its process ended {_TRIES} times, by {ended}"})

    def _started(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        with self.log.open("a", encoding="utf-8") as log:
            # A session of its own keeps Ctrl-C from the process, which ends with its input instead.
            process = subprocess.Popen(
                [sys.executable, "-m", "rfsep.app.learn.worker", *map(str, user_folders())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                start_new_session=True,
            )  # fmt: skip
        self._all.append(process)
        return process

    def _answer(self, process: subprocess.Popen[str], name: str, task: Told) -> Told | None:
        """Returns what a process answers; None where it died."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                answer: Told = json.loads(line)
                if "progress" not in answer:
                    return answer
                self.progress(name, float(answer["progress"]))
        except (OSError, ValueError):  # It died while it was spoken to.
            pass
        process.kill()
        process.wait()
        return None


def _close(process: subprocess.Popen[str]) -> None:
    """Closes the pipes of a dead process."""
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(OSError):  # What it was told last had not been read.
            pipe.close()


def _how(process: subprocess.Popen[str]) -> str:
    """Tells how a process ended.

    >>> with subprocess.Popen(["false"], text=True) as process: pass
    >>> _how(process)
    'exit status 1'
    """
    status = process.returncode
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
