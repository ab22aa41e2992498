"""Reads Keras weights from .h5, .weights.h5 and .keras as numbers; no layer is instantiated."""

import re
import tempfile
import zipfile
from pathlib import Path

import h5py
import torch
from torch import Tensor

from rfsep.storage.faults import fault, foreign
from rfsep.storage.hdf5 import open_hdf5, read_dataset
from rfsep.types import InputError

MEMBER = "model.weights.h5"  # name of the weights inside a .keras
MAX_BYTES = 4 << 30
VARIABLES = {"kernel": 0, "bias": 1, "gamma": 0, "beta": 1, "moving_mean": 2, "moving_variance": 3}
_OLD = re.compile(rf"(?:model_weights/)?([^/]+)/(?:[^/]+/)*({'|'.join(VARIABLES)})(?::0)?")  # Keras 2
_NEW = re.compile(r"(?:layers|_layer_checkpoint_dependencies)/([^/]+)/vars/(\d+)")  # Keras 3, and Keras 2 from 2.12 on


def read_keras(path: Path) -> dict[str, Tensor]:
    """Reads tensors by layer and variable number: ``conv1d_3/0`` is a kernel [K, in, out], ``conv1d_3/1`` its bias.

    The variables of a batch normalisation are scale, shift, mean and variance. Those of an optimiser are left out.

    Raises:
        InputError: missing, damaged, no weights in it, or weights that are not float32.
    """
    if path.suffix != ".keras":
        return _read(path)
    if not path.is_file():
        raise fault(path, "no such file")
    with tempfile.TemporaryDirectory() as name:
        unpacked = Path(name, MEMBER)
        with foreign(path, "cannot be read as a Keras archive"), zipfile.ZipFile(path) as archive:
            with archive.open(MEMBER) as member:
                content = member.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise fault(path, f"{MEMBER} unpacks to more than the limit of {MAX_BYTES} bytes")
            unpacked.write_bytes(content)
        try:
            return _read(unpacked)
        except InputError as error:
            raise fault(path, str(error).removeprefix(f"{name}/")) from error


def _read(path: Path) -> dict[str, Tensor]:
    names: dict[str, int] = {}

    def note(name: str, found: object) -> None:
        if isinstance(found, h5py.Dataset):
            names[name] = found.ndim

    weights = {}
    with open_hdf5(path) as file:
        with foreign(path, "cannot be read as Keras weights"):
            file.visititems(note)  # This follows no links.
        for name, ndim in names.items():
            if label := _label(name):
                weights[label] = torch.from_numpy(read_dataset(file, name, ("<f4",), ndim).copy())
    if not weights:
        raise fault(path, "holds no weights of Keras layers")
    return weights


def _label(name: str) -> str | None:
    """Returns a variable's layer and number from its dataset's name; None if it belongs to no layer."""
    if found := _NEW.fullmatch(name):
        return f"{found.group(1)}/{found.group(2)}"
    if found := _OLD.fullmatch(name):
        return f"{found.group(1)}/{VARIABLES[found.group(2)]}"
    return None
