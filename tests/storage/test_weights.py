"""Weights and checkpoints of strangers."""

import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open

from rfsep.storage.weights import read_checkpoint, read_weights, write_weights

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64)}


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def same(read: dict[str, torch.Tensor]) -> bool:
    return read.keys() == TENSORS.keys() and all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(path, {**TENSORS, "a.weight": TENSORS["a.weight"].T.contiguous().T.requires_grad_()}, {"k": "v"})
    assert same(read_weights(path))
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"k": "v"}
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    content = {"state_dict": TENSORS, "global_step": 7, "facts": {"minutes": 1.5, "names": ["x"]}}
    torch.save(content, path)
    assert same(read_weights(path))
    read = read_checkpoint(path)
    assert (read["global_step"], read["facts"]) == (7, content["facts"])


def test_checkpoint_replaced_while_in_use(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": TENSORS}, path)
    read = read_weights(path)
    torch.save({"state_dict": {}}, tmp_path / "b.ckpt")
    os.replace(tmp_path / "b.ckpt", path)
    assert same(read)


def test_hostile_checkpoints_do_not_run(tmp_path: Path, refused: Any) -> None:
    path, marker = tmp_path / "a.ckpt", tmp_path / "marker"
    for content in (Evil(marker), {"state_dict": Evil(marker)}):
        torch.save(content, path)
        with refused("a.ckpt", "checkpoint"):
            read_checkpoint(path)
        path.write_bytes(pickle.dumps(content))
        with refused("a.ckpt", "checkpoint"):
            read_weights(path)
    assert not marker.exists()


def test_damaged_files(tmp_path: Path, refused: Any) -> None:
    checkpoint, weights = tmp_path / "a.ckpt", tmp_path / "a.safetensors"
    torch.save({"state_dict": TENSORS}, checkpoint)
    write_weights(weights, TENSORS, {})
    for path, read in ((checkpoint, read_checkpoint), (weights, read_weights)):
        whole = path.read_bytes()
        for length in (0, 1, 7, 9, 100, len(whole) - 1):
            path.write_bytes(whole[:length])
            with refused(path.name, "cannot be read"):
                read(path)
        path.unlink()
        with refused(path.name, "no such file"):
            read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], ["list"]),
        ({1: 2}, ["dict"]),
        ({"weights": TENSORS}, ["no state_dict"]),
        ({"state_dict": {"a": 3}}, ["no state_dict"]),
    ],
)
def test_other_contents(tmp_path: Path, refused: Any, content: object, words: list[str]) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with refused("a.ckpt", *words):
        read_weights(tmp_path / "a.ckpt")


def test_other_suffix(tmp_path: Path, refused: Any) -> None:
    with refused("a.pth", "'.pth'", ".safetensors, .ckpt, .pt, .h5 or .keras"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [TENSORS, {"step": 2000, "model": TENSORS, "optimizer": {"state": {}}}])
def test_published_checkpoint(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(content, tmp_path / "weights-2000.pt")
    assert same(read_weights(tmp_path / "weights-2000.pt"))


def test_settings_beside_the_weights_are_left_unread(tmp_path: Path) -> None:
    """The organisers' ``cfg`` is OmegaConf's, of classes that nobody else has; torch alone refuses the whole file."""
    name = "settings_of_a_stranger"
    module, kind = types.ModuleType(name), type("ModelConfig", (), {"__module__": name})
    vars(module)["ModelConfig"] = kind
    sys.modules[name] = module
    config = OmegaConf.create({"model": {"channels": 3, "kinds": [1, 2]}})
    config._metadata.object_type = kind
    torch.save({"model": TENSORS, "cfg": {"model": config, "kind": kind}}, tmp_path / "a.pt")
    del sys.modules[name]
    before = torch.serialization.get_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pt", weights_only=True)
    assert same(read_weights(tmp_path / "a.pt"))
    read = cast(dict[str, Any], read_checkpoint(tmp_path / "a.pt"))
    assert read["cfg"]["model"] == {}
    assert name not in sys.modules
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_hostile_published_checkpoints_do_not_run(tmp_path: Path, refused: Any) -> None:
    path, marker = tmp_path / "a.pt", tmp_path / "marker"
    for content in (Evil(marker), {"model": TENSORS, "cfg": Evil(marker)}):
        torch.save(content, path)
        with refused("a.pt", "what else it holds was not run"):
            read_weights(path)
    assert not marker.exists()


def keras_file(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name.replace("__", "/")] = value
    return path


def test_keras_layers_by_number_of_the_variable(tmp_path: Path) -> None:
    kernel, bias = np.ones((3, 2, 4), "f4"), np.zeros(4, "f4")
    old = {"model_weights__conv1d_1__conv1d_1__kernel:0": kernel, "model_weights__conv1d_1__conv1d_1__bias:0": bias}
    new = {"layers__conv1d_1__vars__0": kernel, "layers__conv1d_1__vars__1": bias}
    optimiser = {"optimizer_weights__Adam__iter:0": np.int64(3), "optimizer__vars__0": np.int64(3)}
    for path in (
        keras_file(tmp_path / "old.h5", **old, **optimiser),
        keras_file(tmp_path / "new.weights.h5", **new, **optimiser),
    ):
        read = read_weights(path)
        assert {name: tuple(value.shape) for name, value in read.items()} == {
            "conv1d_1/0": (3, 2, 4),
            "conv1d_1/1": (4,),
        }
        assert read["conv1d_1/0"].dtype == torch.float32


def test_keras_files_that_are_none(tmp_path: Path, refused: Any) -> None:
    with refused("a.h5", "no weights of Keras layers"):
        read_weights(keras_file(tmp_path / "a.h5", dataset=np.zeros(3, "f4")))
    with refused("b.h5", "dtype <f8, expected <f4"):
        read_weights(keras_file(tmp_path / "b.h5", layers__conv1d__vars__0=np.zeros(3)))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["layers/conv1d/vars/0"] = h5py.ExternalLink("b.h5", "layers/conv1d/vars/0")
    with refused("c.h5", "no weights of Keras layers"):
        read_weights(tmp_path / "c.h5")
    for name in ("d.h5", "d.keras"):
        with refused(name, "no such file"):
            read_weights(tmp_path / name)
    (tmp_path / "e.keras").write_bytes(b"PK")
    with refused("e.keras", "cannot be read as a Keras archive"):
        read_weights(tmp_path / "e.keras")
    with zipfile.ZipFile(tmp_path / "f.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"no HDF5")
    with refused("f.keras: model.weights.h5: cannot be read as HDF5"):
        read_weights(tmp_path / "f.keras")


@pytest.mark.usefixtures("full_at_sync")
def test_full_disk(tmp_path: Path, refused: Any) -> None:
    with refused("a.safetensors", "No space left"):
        write_weights(tmp_path / "a.safetensors", TENSORS, {})
    assert os.listdir(tmp_path) == []
