"""A network on aligned tokens from its training to a scored submission, by the commands of the README."""

import json
from pathlib import Path

from shell import TINY_TOKENS, fail, succeed

TINY = [
    "experiment=aligned/ofdm_qpsk",
    "model.network.width=32",
    "examples.num_frames=50",
    *TINY_TOKENS,
]


def test_trained_resumed_exported_and_scored(tmp_path: Path) -> None:
    command = [*TINY, "run=tiny"]
    assert "finished: best val/mse_db" in succeed("train.py", *command, cwd=tmp_path)
    assert "finished before" in succeed("train.py", *command, cwd=tmp_path)
    folder = tmp_path / "runs" / "aligned" / "ofdm_qpsk" / "tiny"
    assert (folder / "model.safetensors").is_file()
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert any(row.split(",")[1] == "val/ber/-12" for row in rows)
    sources = ("soi=qpsk_span4", "interference=ofdm_qpsk", "num_samples=640", "num_per_sinr=3", "sinr_db=[-12,0]")
    succeed("data/prepare.py", "testset", *sources, "seed=1", "out=set", cwd=tmp_path)
    succeed("evaluate.py", "separator=neural", f"run={folder}", "testset=set", "out=scores", cwd=tmp_path)
    (row,) = json.loads((tmp_path / "scores" / "scores.json").read_text())["results"]
    card = json.loads((tmp_path / "scores" / "card.json").read_text())
    assert max(row["ber"]) < 0.02  # what detection finds; four steps cannot spoil it
    assert card["macs_per_sample"] > 0
    assert card["blind"] is True


def test_a_network_of_tokens_needs_to_be_told_which(tmp_path: Path) -> None:
    line = fail("train.py", "model=token_transformer", "objective=token_bits", cwd=tmp_path)
    assert "sees tokens" in line
    wrong = fail("train.py", *TINY, "separator.inputs=[time]", cwd=tmp_path)
    assert "162 numbers per token; the model takes 177" in wrong
    unknown = fail("train.py", *TINY, "separator.window=3", cwd=tmp_path)
    assert "window" in unknown
