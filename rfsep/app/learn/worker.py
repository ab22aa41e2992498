"""A process that does tasks of a learning: a line of JSON in, a line of JSON out; it ends with its input."""

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO, Any


def _listen(tasks: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Takes tasks until the parent is gone, and ends the process then, whatever it is doing."""
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)


def main() -> None:
    """Answers one task after the other; prints of libraries go to the log. Arguments are folders of own options."""
    answers: IO[str] = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    # These imports take seconds.
    from rfsep.app.learn.work import do
    from rfsep.app.places import add_config_dir

    for folder in sys.argv[1:]:
        add_config_dir(Path(folder))

    while True:
        answer(do(tasks.get(), lambda share: answer({"progress": share})))


if __name__ == "__main__":
    main()
