"""The browser of the page tests, and a host's key and a cache of the tests' own, and the command in this process."""

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
    """Debian's Chromium; without it the page tests are skipped, except in CI, where that is a failure."""
    if not CHROMIUM.exists():
        message = f"{CHROMIUM} is missing: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return {**browser_type_launch_args, "executable_path": str(CHROMIUM), "args": FLAGS}


@pytest.fixture(scope="session", autouse=True)
def host_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' host, and the commands that they start, keep their key: not in the user's configuration."""
    path = tmp_path_factory.mktemp("host") / "host.key"
    os.environ["RFSEP_HOST_KEY"] = str(path)
    return path


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where networks are exported to, and looked for: not among the user's own."""
    path = tmp_path_factory.mktemp("rfsep_cache")
    os.environ["RFSEP_CACHE"] = str(path)
    return path


@pytest.fixture(scope="session")
def base_url() -> None:
    """Nothing: pages are files. Stands in for pytest-base-url's own fixture, at which pytest 9 warns."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list["Figure"]:
    """Every figure that is written from now on, to look at what it shows."""
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
    """The command ``rfsep`` in this process: exit status, what it printed, what it complained of."""
    from rfsep.app.commands import main  # an import of seconds that most tests do without

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rfsep", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    return call
