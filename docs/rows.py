"""The rows of a study's JSON file, which several runs may fill: each row names the run that measured it."""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rfsep.app.places import commit
from rfsep.storage.atomic import read_json, write_json

Row = dict[str, Any]
_COMMIT = commit()  # the code that is loaded, whatever is committed while it runs


def merge(path: Path, new: Sequence[Row], key: Sequence[str]) -> None:
    """Writes rows among the others of a file, in the place of those that agree in all columns of ``key``."""
    content = read_json(path) if path.is_file() else {"schema": 1, "rows": []}
    fresh = {tuple(row[column] for column in key) for row in new}
    kept = [row for row in content["rows"] if tuple(row[column] for column in key) not in fresh]
    command = " ".join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    run = {"command": command, "commit": _COMMIT, "machine": platform.machine()}
    write_json(path, content | {"rows": [*kept, *(row | run for row in new)]})
