"""A network that corrects guides from its training to a scored submission, by the commands of the README."""

import json
from pathlib import Path

from shell import TINY_TOKENS, fail, succeed

GUIDE = "{{_target_:rfsep.separators.{},_partial_:true}}"
GUIDES = ",".join(GUIDE.format(name) for name in ("lmmse.Lmmse", "matched_filter.MatchedFilter"))
TINY = [
    "experiment=corrected/wifi",
    "interference=ofdm_qpsk",  # no recordings
    f"separator.guides=[{GUIDES}]",
    "data.repeat_after=2",
    "examples.num_frames=20",
    *TINY_TOKENS,
]


def kept(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "runs" / "views").rglob("*.safetensors")}


def test_trained_from_kept_views_and_scored(tmp_path: Path) -> None:
    command = [*TINY, "model.network.num_inputs=105"]
    assert "finished: best val/mse_db" in succeed(
        "train.py", *command, "run=one", "model.network.width=16", cwd=tmp_path
    )
    before = kept(tmp_path)
    assert len(before) == 4  # two batches that come again, and one a level of validation
    succeed("train.py", *command, "run=two", "model.network.width=32", cwd=tmp_path)
    assert kept(tmp_path) == before
    sources = ("soi=qpsk", "interference=ofdm_qpsk", "num_samples=640", "num_per_sinr=3", "sinr_db=[-12,0]")
    succeed("data/prepare.py", "testset", *sources, "seed=1", "out=set", cwd=tmp_path)
    folder = tmp_path / "runs" / "corrected" / "wifi" / "two"
    succeed("evaluate.py", "separator=neural", f"run={folder}", "testset=set", "out=scores", cwd=tmp_path)
    content = json.loads((tmp_path / "scores" / "scores.json").read_text())
    (row,) = content["results"]
    (lmmse,) = [one for one in content["baselines"] if one["separator"] == "lmmse"]
    assert max(abs(a - b) for a, b in zip(row["ber"], lmmse["ber"], strict=True)) < 0.05  # four steps cannot spoil it


def test_a_network_of_other_guides_is_refused(tmp_path: Path) -> None:
    wrong = fail("train.py", *TINY, cwd=tmp_path)
    assert "what 2 guides find and the mixture are 105 numbers per token; the model takes 144" in wrong
    assert "data.repeat_after is 0" in fail("train.py", *TINY, "data.repeat_after=0", cwd=tmp_path)
