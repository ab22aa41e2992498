"""A challenge in a folder, with entries by plain numpy and a clock that the test sets."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rfsep.app.hosting.call import Done, host
from rfsep.app.hosting.rules import HostSettings
from rfsep.app.settings import Frames

OPENS, CLOSES = "2026-12-01T00:00+00:00", "2026-12-11T00:00+00:00"


class Challenge:
    """A challenge in a folder, with a clock that the test sets."""

    def __init__(self, folder: Path, testset: Path) -> None:
        self.folder = folder
        self.testset = testset
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.out = folder / "out"
        self.changes: dict[str, Any] = {}

    def settings(self) -> HostSettings:
        opens, closes = datetime.fromisoformat(OPENS), datetime.fromisoformat(CLOSES)
        usual: dict[str, Any] = {"daily": 5, "public": 0.5, "settle_s": 60, "seed": 3, "examples": Frames(4, 640)}
        return HostSettings(self.testset, self.inbox, self.out, opens, closes, **(usual | self.changes))

    def call(self, time: str) -> Done:
        """A call at a time of 2026 such as 12-02T10:00, UTC."""
        return host(self.settings(), datetime.fromisoformat(f"2026-{time}+00:00"))

    def truth(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        with h5py.File(self.testset / "truth" / f"{label}.h5") as file:
            return file["soi"][:], file["bits"][:]

    def levels(self, label: str) -> np.ndarray:
        with h5py.File(self.testset / "mixture" / f"{label}.h5") as file:
            return file["sinr_db"][:]

    def enter(
        self, name: str, error: float | np.ndarray = 0.1, labels: tuple[str, ...] = ("QPSK_EMIBursts", "QPSK_OFDMQPSK")
    ) -> Path:
        """Puts an entry TEAM/ENTRY whose estimates are off by a constant, the same or one per row."""
        folder = self.inbox / name
        folder.mkdir(parents=True)
        for label in labels:
            soi, bits = self.truth(label)
            off = np.broadcast_to(np.reshape(error, (-1, 1)), (len(soi), 1))
            np.save(folder / f"x_set_estimated_soi_{label}.npy", (soi + off).astype(np.complex64))
            np.save(folder / f"x_set_estimated_bits_{label}.npy", bits)
        return folder

    def public(self, label: str) -> np.ndarray:
        """The rows of the public share."""
        return np.array(json.loads((self.out / "secret" / "shares.json").read_text())["rows"][label])

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "audit.jsonl").read_text().splitlines()]

    def told(self, *names: str) -> list[str]:
        """The log's lines with these events, as "EVENT TEAM/ENTRY"."""
        return [f"{one['event']} {one['team']}/{one['entry']}" for one in self.events() if one["event"] in names]

    def pages(self) -> dict[str, bytes]:
        """What is published, except the log's digest."""
        board = self.out / "board"
        files = (path for path in board.rglob("*") if path.is_file() and path.name != "audit.txt")
        return {path.relative_to(board).as_posix(): path.read_bytes() for path in files}

    def page(self, name: str) -> str:
        return (self.out / "board" / name).read_text()
