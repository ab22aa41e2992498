"""What slow guides find in training mixtures, kept in files: it is found once, by whichever run comes first."""

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
    """A function of mixtures whose results are kept, a file a batch; what a run before found is read, not found again.

    Files appear whole or not at all, so any process may be killed at any moment, and several may fill one folder.

    Args:
        folder: of all kept results; those of other settings lie beside these.
        settings: all that the results follow from beside the mixtures, as JSON.
    """

    def __init__(self, folder: Path, settings: Any) -> None:
        self.folder = folder / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def __call__(self, mixture: Tensor, look: Callable[[Tensor], Tensor]) -> Tensor:
        """``look(mixture)``, of mixtures complex64 [B, T], kept or found now.

        Raises:
            InputError: what was found cannot be written.
        """
        path = self.folder / f"{weights_digest({'mixture': mixture})}.safetensors"
        kept = _read(path)
        if kept is not None:
            return kept
        found = look(mixture)
        write_weights(path, {_NAME: found}, {"digest": weights_digest({_NAME: found})})
        return found


def _read(path: Path) -> Tensor | None:
    """What a file holds; None where it is not there, or is damaged in any way."""
    try:
        tensors, digest = read_weights(path), read_metadata(path).get("digest")
    except InputError:
        return None
    return tensors.get(_NAME) if digest == weights_digest(tensors) else None
