"""Fixtures: the browser of the page tests, a host's key and a cache for tests, and the command in this process."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHROMIUM = Path("/usr/bin/chromium")
# Without a sandbox because containers run it as root; the rest keeps it from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Gives Debian's Chromium; without it the page tests are skipped, except in CI, where they fail."""
    if not CHROMIUM.exists():
        message = f"{CHROMIUM} is missing: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return {**browser_type_launch_args, "executable_path": str(CHROMIUM), "args": FLAGS}


@pytest.fixture(scope="session", autouse=True)
def host_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the host's key of the tests and their commands outside the user's configuration."""
    path = tmp_path_factory.mktemp("host") / "host.key"
    os.environ["RFSEP_HOST_KEY"] = str(path)
    return path


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the exports of the tests apart from the user's own."""
    path = tmp_path_factory.mktemp("rfsep_cache")
    os.environ["RFSEP_CACHE"] = str(path)
    return path


@pytest.fixture(scope="session")
def base_url() -> None:
    """Returns None, as pages are files. Replaces pytest-base-url's own fixture, which makes pytest 9 warn."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list["Figure"]:
    """Collects every figure that is written from now on, to inspect its content."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    write = Figure.savefig

    def kept(self: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(self)
        write(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return figures


@pytest.fixture
def rfsep_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command ``rfsep`` in this process; gives exit status, output and error messages."""
    # This import takes seconds, and most tests do not need it.
    from rfsep.app.commands import main

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rfsep", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    return call
