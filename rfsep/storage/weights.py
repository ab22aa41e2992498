"""Weights: safetensors, Keras files, and Lightning's and published checkpoints, read without running them."""

import hashlib
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from rfsep.storage.atomic import write_atomically
from rfsep.storage.faults import fault, foreign, reason
from rfsep.storage.keras_weights import read_keras

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".h5", ".keras")
# Published checkpoints keep their settings in these classes and in the types that they name.
SETTINGS = re.compile(
    r"omegaconf\..*|typing\..*|collections\.defaultdict|_operator\.getitem|(?:\w+\.)*\w*Config"
    r"|builtins\.(?:bool|int|float|str|bytes|list|tuple|dict|NoneType)"
)
# Torch allows a pickle to call these, with any length.
MAKERS = ("bytearray", "encode")
KEYS = ("str", "bytes_or_str", "int", "bool", "int_or_bool", "float", "None")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name, on the CPU.

    These are all tensors of a .safetensors, the ``state_dict`` of a Lightning .ckpt, the ``model`` of a .pt, or the .pt
    itself if it is a dict of tensors. Keras files (.h5, .keras) give the names of `read_keras`.

    Raises:
        InputError: missing, truncated, hostile, no tensors in it, or another suffix.
    """
    if path.suffix in (".h5", ".keras"):
        return read_keras(path)
    if path.suffix == ".ckpt":
        return _tensors(path, read_checkpoint(path).get("state_dict"), "state_dict")
    if path.suffix == ".pt":
        content = read_checkpoint(path)
        return _tensors(path, content.get("model", content), "model")
    if path.suffix != ".safetensors":
        raise fault(path, f"suffix {path.suffix!r}, expected {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not path.is_file():
        raise fault(path, "no such file")
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise fault(path, f"cannot be read as safetensors: {reason(error)}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Returns the metadata of a .safetensors.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise fault(path, "no such file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise fault(path, f"cannot be read as safetensors: {reason(error)}") from error


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """Returns 16 hexadecimal digits that change with any name, type, shape or value, but not with the file format.

    >>> weights_digest({"a": torch.zeros(2)}) == weights_digest({"a": torch.zeros(1, 2)})
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class _Unread(dict[Any, Any]):
    """Replaces settings in a checkpoint, whose classes are not instantiated: accepts everything, keeps nothing."""

    def __new__(cls, *given: object) -> "_Unread":
        return super().__new__(cls)

    def __init__(self, *given: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Discards the state."""


def read_checkpoint(path: Path) -> dict[str, object]:
    """Reads a whole checkpoint on the CPU; only plain containers, numbers, text and tensors are ever created.

    Tensors are mapped, not loaded: do not write to the file while they are in use; replacing it is fine. Settings of
    other programs, such as the OmegaConf ``cfg`` of the RF Challenge's checkpoints, come as empty mappings.

    Raises:
        InputError: missing, truncated, or with anything else in it.
    """
    if not path.is_file():
        raise fault(path, "no such file")
    with foreign(path, "cannot be read as a checkpoint"):
        _check_archive(path)
    try:
        # Torch's advice on foreign pickles does not concern users.
        with warnings.catch_warnings(action="ignore"):
            strange = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            stand_ins: list[Any] = [(_Unread, name) for name in strange if SETTINGS.fullmatch(name)]
            with torch.serialization.safe_globals(stand_ins):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise fault(
            path, "cannot be read as a checkpoint of tensors and plain values; what else it holds was not run"
        ) from error
    except Exception as error:  # A foreign pickle can fail in any way, which is the file's fault.
        raise fault(path, f"cannot be read as a checkpoint: {reason(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise fault(path, f"holds a {type(content).__name__}, expected a checkpoint's dict")
    return content


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors and their metadata as .safetensors.

    Raises:
        InputError: the file cannot be written.
    """
    content = safetensors.torch.save({name: t.detach().contiguous() for name, t in tensors.items()}, dict(metadata))
    write_atomically(path, lambda file: _write(file.write(content), len(content)))


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a checkpoint as torch does; a killed process leaves the old one whole.

    Raises:
        InputError: the file cannot be written.
    """
    write_atomically(path, lambda file: _save(content, file))


def _save(content: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(dict(content), file)
    except RuntimeError as error:  # Torch still closes its archive, and reports that failure instead of the full disk.
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _check_archive(path: Path) -> None:
    """Refuses content that torch would unpack, build or hash without end, though it executes none of it.

    Raises:
        Exception: any fault of the archive or its pickle.
    """
    with zipfile.ZipFile(path) as archive:
        if packed := [member.filename for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED]:
            raise fault(path, f"cannot be read as a checkpoint: {packed[0]} is packed, which torch does not do")
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        stack: list[str] = []
        memo: dict[int, str] = {}
        for opcode, argument, _ in pickletools.genops(archive.read(pickles[0])):
            if opcode.name == "GLOBAL" and str(argument).split()[-1] in MAKERS:
                raise fault(path, f"cannot be read as a checkpoint: it calls {argument}, which was not run")
            _follow(opcode, argument, stack, memo)


def _follow(opcode: pickletools.OpcodeInfo, argument: Any, stack: list[str], memo: dict[int, str]) -> None:
    """Applies an opcode to kinds of values instead of values; keys may be numbers and text.

    A tuple of tuples of tuples, each twice the one before, takes a few bytes to write and for ever to hash.
    """
    mark = pickletools.markobject.name
    if "PUT" in opcode.name:
        memo[argument] = stack[-1]
        return
    if "GET" in opcode.name:
        stack.append(memo[argument])
        return
    before, taken = [kind.name for kind in opcode.stack_before], list[str]()
    if mark in before:
        while (kind := stack.pop()) != mark:
            taken.insert(0, kind)
        before = before[: before.index(mark)]
    for _ in before:
        taken.insert(0, stack.pop())
    if opcode.name in ("SETITEM", "SETITEMS", "DICT", "ADDITEMS", "FROZENSET"):
        keys = taken[1::2] if opcode.name.startswith("SET") else taken
        if strange := [kind for kind in keys if kind not in KEYS]:
            raise ValueError(f"a key is a {strange[0]}, expected text or a number")
    stack.extend(kind.name for kind in opcode.stack_after)


def _write(written: int, length: int) -> None:
    if written != length:
        raise OSError(f"{written} of {length} bytes written")


def _tensors(path: Path, state: object, key: str) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise fault(path, f"has no {key} of tensors")
    return dict(state)
