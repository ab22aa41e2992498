"""Runs an open challenge, one call at a time: ``rfsep host``."""

from datetime import UTC, datetime
from pathlib import Path

from omegaconf import DictConfig

from rfsep.app.config import console
from rfsep.app.doors import host_settings
from rfsep.app.hosting.call import check_audit, host
from rfsep.storage.locks import TakenError


def main(config: DictConfig) -> None:
    """Does what the command line asks for; a call that finds another one at work leaves the work to it."""
    if config.verify:
        console.print(check_audit(Path(str(config.out))), soft_wrap=True)
        return
    settings = host_settings(config)
    try:
        done = host(settings, datetime.now(UTC))
    except TakenError:
        console.print("another call is at work; nothing was done")
        return
    console.print(f"{done.scored} scored, {done.refused} refused, {done.waiting} wait; board: {settings.out / 'board'}")
