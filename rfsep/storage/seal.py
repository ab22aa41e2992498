"""Seals that distinguish the files of this host from those that came with a submission.

A seal is an HMAC-SHA-256 over a JSON object, under a key that never leaves the host. Anyone can write
scores into a submission; without the key they bear no seal of the host, and a leaderboard refuses them.
"""

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from rfsep.storage.atomic import write_private
from rfsep.storage.faults import fault
from rfsep.types import InputError

KEY_VARIABLE = "RFSEP_HOST_KEY"
SEAL = "seal"
_KEY_BYTES = 32


def key_path() -> Path:
    """Returns the path of the host's key: that in RFSEP_HOST_KEY, else one in the user's configuration."""
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "rfsep" / "host.key"


def host_key(make: bool) -> bytes | None:
    """Returns the host's key, 32 bytes; None where there is none and none should or can be made.

    Args:
        make: make one where there is none, from the operating system's randomness.

    Raises:
        InputError: the file has another length, or cannot be read.
    """
    path = key_path()
    if make and not path.is_file():
        try:
            write_private(path, secrets.token_bytes(_KEY_BYTES))
        except InputError:  # A host without a key can still score, without seals.
            return None
    if not path.is_file():
        return None
    try:
        key = path.read_bytes()
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}") from error
    if len(key) != _KEY_BYTES:
        raise fault(path, f"has {len(key)} bytes, a host's key has {_KEY_BYTES}")
    return key


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """Returns an object with this host's seal, or with None in its place where the host cannot keep a key.

    Args:
        value: values that JSON can hold, without NaN or infinity.
    """
    key = host_key(make=True)
    return {**value, SEAL: None if key is None else _code(value, key)}


def is_sealed(value: object) -> bool:
    """Tells whether a JSON value is an object that this host sealed and nobody has changed since."""
    if not isinstance(value, dict) or not isinstance(given := value.get(SEAL), str):
        return False
    key = host_key(make=False)
    try:
        return key is not None and hmac.compare_digest(given.encode(), _code(value, key).encode())
    except (ValueError, RecursionError):
        # Numbers beyond floats, lone surrogates or endless nesting never come from this host.
        return False


def _code(value: dict[str, Any], key: bytes) -> str:
    """Returns the HMAC of an object without its seal as 64 hexadecimal digits; the order of keys does not matter."""
    content = {name: part for name, part in value.items() if name != SEAL}
    text = json.dumps(content, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
