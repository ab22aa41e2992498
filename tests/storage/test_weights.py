"""Weights and checkpoints of strangers."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
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
    with refused("a.pth", "'.pth'", ".safetensors or .ckpt"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.usefixtures("full_at_sync")
def test_full_disk(tmp_path: Path, refused: Any) -> None:
    with refused("a.safetensors", "No space left"):
        write_weights(tmp_path / "a.safetensors", TENSORS, {})
    assert os.listdir(tmp_path) == []
