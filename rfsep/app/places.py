"""Paths of conf/, data/ and the zoo: beside the package in a checkout, inside it once installed."""

import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
CONF = ROOT / "conf"
ZOO = _PACKAGE / "zoo"
# The user's own folders, named by --config-dir.
_user_folders: list[Path] = []


def add_config_dir(folder: Path) -> None:
    """Adds a folder of the user's own options, laid out like conf/.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: an option exists in both this folder and conf/, and one would hide the other.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--config-dir {folder}: no such folder")
    for path in sorted(folder.rglob("*.yaml")):
        if (CONF / path.relative_to(folder)).exists():
            name = path.relative_to(folder).with_suffix("").as_posix()
            raise FileExistsError(f"--config-dir {folder}: conf/ has an option {name} already; give yours another name")
    if folder.resolve() not in _user_folders:
        _user_folders.append(folder.resolve())


def user_folders() -> list[Path]:
    """Returns the folders given to `add_config_dir`."""
    return list(_user_folders)


def option_files(group: str) -> dict[str, Path]:
    """Returns the YAMLs of a config group by their names, sorted.

    >>> [name for name in option_files("logger")]
    ['csv', 'wandb']
    """
    found = {path.stem: path for place in (CONF, *_user_folders) for path in (place / group).glob("*.yaml")}
    return dict(sorted(found.items()))


def commit() -> str:
    """Returns the commit of this checkout, with + where files differ from it; "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        # Git is not installed.
        return "unknown"
    return done.stdout.strip() or "unknown"
