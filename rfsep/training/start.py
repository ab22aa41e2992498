"""Begin a run from another run's weights."""

from pathlib import Path

from torch import nn

from rfsep.storage.weights import read_weights
from rfsep.types import InputError


def load_start(model: nn.Module, weights: str | Path) -> None:
    """Copy the weights of another run of the same architecture into a model.

    Args:
        model: with its weights as they were drawn.
        weights: a run's .ckpt, or .safetensors.

    Raises:
        InputError: the file cannot be read, or holds other weights.
    """
    path = Path(weights)
    found = read_weights(path)
    if path.suffix == ".ckpt":
        found = {name.removeprefix("model."): w for name, w in found.items() if name.startswith("model.")}
    own = model.state_dict()
    differing = sorted(
        name
        for name in own.keys() | found.keys()
        if name not in own or name not in found or own[name].shape != found[name].shape
    )
    if differing:
        raise InputError(f"{path}: weights do not fit the model, the first of {len(differing)} is {differing[0]}")
    model.load_state_dict(found)
