"""Where conf/, data/ and the zoo are: beside the package in a checkout, inside it where it is installed."""

import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
CONF = ROOT / "conf"
ZOO = _PACKAGE / "zoo"
_user_folders: list[Path] = []  # the user's own, named by --config-dir


def add_config_dir(folder: Path) -> None:
    """Find options in a folder of the user's own, too, laid out as conf/ is.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: it has an option that conf/ has, which would hide one of the two.
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
    """The folders that `add_config_dir` was told of."""
    return list(_user_folders)


def option_files(group: str) -> dict[str, Path]:
    """The YAMLs of a config group by their names, sorted.

    >>> [name for name in option_files("logger")]
    ['csv', 'wandb']
    """
    found = {path.stem: path for place in (CONF, *_user_folders) for path in (place / group).glob("*.yaml")}
    return dict(sorted(found.items()))


def commit() -> str:
    """Commit of this checkout, with + where files differ from it; unknown outside of one."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() or "unknown"
