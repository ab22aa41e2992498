"""Ends this process as kill -9 does: before the n-th time that it would write, rename or remove, or after a time."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

VARIABLE = "RFSEP_TEST_KILL"  # "point 12", "after 0.3", or "count FILE" to learn how many points there are
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate")


def arm(order: str) -> None:
    """Prepare for the end."""
    kind, _, value = order.partition(" ")
    if kind == "after":
        timer = threading.Timer(float(value), os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
        return
    here, counted = os.getcwd(), [0]

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if not (opened or event in EVENTS) or not os.path.abspath(str(arguments[0])).startswith(here):
            return
        counted[0] += 1
        if kind == "point" and counted[0] == int(value):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "count":
            descriptor = os.open(value, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(descriptor, str(counted[0]).encode())
            os.close(descriptor)

    sys.addaudithook(look)


def note(name: str, figures: dict[str, float]) -> None:
    """Keep how many kills a command survived, for docs/results/kills.json."""
    path = Path("runs/kills.json")
    content = json.loads(path.read_text()) if path.exists() else {"schema": 1, "commands": {}}
    content["commands"][name] = figures
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
