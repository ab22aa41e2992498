"""Keeps the estimates of slow guides for training mixtures in files, so that they are computed once."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from rfsep.storage.weights import read_metadata, read_weights, weights_digest, write_weights
from rfsep.types import InputError

_NAME = "guidance"


class Views:
    """A function of mixtures whose results are kept, one file per batch; later runs read them.

    Files appear whole or not at all, so any process may be killed at any moment, and several may fill one folder.

    Args:
        folder: folder of all kept results, including those of other settings.
        settings: everything that determines the results beside the mixtures, as JSON.
    """

    def __init__(self, folder: Path, settings: Any) -> None:
        self.folder = folder / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def __call__(self, mixture: Tensor, look: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns ``look(mixture)`` for mixtures complex64 [B, T], as kept or computed now.

        Raises:
            InputError: a result cannot be written.
        """
        path = self.folder / f"{weights_digest({'mixture': mixture})}.safetensors"
        kept = _read(path)
        if kept is not None:
            return kept
        found = look(mixture)
        write_weights(path, {_NAME: found}, {"digest": weights_digest({_NAME: found})})
        return found


def _read(path: Path) -> Tensor | None:
    """Reads a file; None if it is missing, or damaged in any way."""
    try:
        tensors, digest = read_weights(path), read_metadata(path).get("digest")
    except InputError:
        return None
    return tensors.get(_NAME) if digest == weights_digest(tensors) else None
