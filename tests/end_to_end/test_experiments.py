"""Every published comparison, two mixtures a level; what is kept of it, and what is asked for."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from shell import ROOT, command, fail, prepare, succeed

from rfsep.app.compare import run_comparison
from rfsep.app.doors import evaluate_settings
from rfsep.app.places import CONF
from rfsep.pages.studies.learning import learning_costs

OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)
SHORT = ["comparison.sir_db=[-12,0]", "comparison.examples.num_frames=20", "comparison.num_samples=640"]
NAMES = [f"csgaussian/{name}" for name in ("comm", "comm2", "qpskcomm")]
NAMES += ["args/ofdm_qpsk", "args/ofdm_qpsk_span8", "args/ofdm_bpsk", "sync/noiseless", "sync/snr10", "dnn_comparison"]
# folder of the published numbers as CSV; not part of this repository
REFERENCE = Path(os.environ.get("RFSEP_REFERENCE", ROOT.parent / "shared" / "reference"))


def run(name: str, out: Path, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("evaluate", overrides=[f"experiment={name}", "num_mixtures=2", f"out={out}", *overrides])
    settings = evaluate_settings(config)
    assert settings.comparison is not None
    run_comparison(settings, settings.comparison)
    content: dict[str, Any] = json.loads((out / "results.json").read_text())
    return content


@pytest.mark.parametrize("name", NAMES)
def test_every_comparison_runs(name: str, tmp_path: Path) -> None:

    content = run(name, tmp_path, *SHORT)
    comparison = OmegaConf.load(CONF / "experiment" / f"{name}.yaml").comparison
    expected = [*comparison.separators, *(comparison.get("bounds") or {})]
    assert [row["separator"] for row in content["rows"]] == expected
    for row in content["rows"]:
        assert row["sir_db"] == [-12.0, 0.0]
        assert row["bound"] == (row["separator"] in (comparison.get("bounds") or {}))
        assert not (row["bound"] and row["blind"])
        assert (row["ber"] is None) == ("gaussian" in comparison.soi)
    assert content["experiment"] == name
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_cyclostationary_example_runs(tmp_path: Path) -> None:
    content = run("csgaussian/cyclo", tmp_path)
    assert [row["separator"] for row in content["rows"]] == ["lmmse", "mmse:published", "mmse:exact", "sync_mmse"]
    assert all(row["bound"] and row["ber"] is None and len(row["mse_db"]) == 5 for row in content["rows"])


def test_a_second_command_keeps_what_the_first_computed(tmp_path: Path) -> None:
    """Killed after one of its rows, a comparison goes on; fresh=true starts again; other settings do not mix."""
    base = ["experiment=csgaussian/cyclo", "out=here", "comparison.sir_db=[-6,-3]"]
    first = succeed("evaluate.py", *base, "bounds=[lmmse]", "num_mixtures=4", cwd=tmp_path)
    assert "kept" not in first
    path = tmp_path / "here" / "results.json"
    row = json.loads(path.read_text())["rows"][0]
    both = succeed("evaluate.py", *base, "bounds=[lmmse,sync_mmse]", "num_mixtures=4", cwd=tmp_path)
    assert "lmmse: kept, same settings and code; fresh=true computes it again" in both
    rows = json.loads(path.read_text())["rows"]
    assert rows[0] == row
    assert [one["separator"] for one in rows] == ["lmmse", "sync_mmse"]
    assert "kept" not in succeed("evaluate.py", *base, "bounds=[lmmse]", "num_mixtures=4", "fresh=true", cwd=tmp_path)
    assert "kept" not in succeed("evaluate.py", *base, "bounds=[lmmse]", "num_mixtures=3", cwd=tmp_path)


def test_levels_side_by_side_are_levels_one_after_the_other(tmp_path: Path) -> None:
    short = ["experiment=args/ofdm_qpsk", "num_mixtures=2", "separator=cyclic_lmmse", *SHORT]
    rows = []
    for threads in ("1", "2"):
        out = tmp_path / threads
        done = command("evaluate.py", *short, f"out={out}", cwd=tmp_path, OMP_NUM_THREADS=threads)
        assert done.returncode == 0, done.stderr
        rows.append(json.loads((out / "results.json").read_text())["rows"])
        for row in rows[-1]:
            row.pop("seconds_per_mixture")
    assert rows[0] == rows[1]


def test_cost_of_learning_is_drawn(tmp_path: Path) -> None:
    content = run("learned", tmp_path, "comparison.sir_db=[-12,0]", "comparison.num_samples=640")
    costs = learning_costs(content["rows"], "cyclic_lmmse:known")
    assert [count for count, _ in costs[-12.0]] == [10, 30, 100, 300, 1000]
    assert costs[-12.0][0][1] > costs[-12.0][-1][1]
    assert (tmp_path / "learning.png").stat().st_size > 10_000


def test_bounds_stand_beside_a_submission(tmp_path: Path) -> None:
    prepare(tmp_path)
    words = ["separator=matched_filter", "testset=set", "out=ours", "bounds=[matched_filter_bound]"]
    assert "matched_filter_bound" in succeed("evaluate.py", *words, cwd=tmp_path)
    (bound,) = json.loads((tmp_path / "ours" / "scores.json").read_text())["bounds"]
    assert bound["separator"] == "matched_filter_bound"
    assert bound["bound"]
    assert not bound["blind"]
    assert bound["ber"] == [0.0, 0.0]
    assert "Thin dashes are bounds" in (tmp_path / "ours" / "index.html").read_text()


def test_an_identified_interference_takes_the_place_of_examples(tmp_path: Path) -> None:
    """What rfsep identify writes, for a separator that takes it; the true modem leaves hardly anything."""
    prepare(tmp_path)
    target = "modem: {_target_: rfsep.signals.ofdm_modem.OfdmModem, constellation_name: qpsk}"
    (tmp_path / "found.yaml").write_text(target)
    words = ["separator=cyclic_lmmse", "separator.interference=found.yaml", "testset=set", "out=ours"]
    succeed("evaluate.py", *words, cwd=tmp_path)
    scores = json.loads((tmp_path / "ours" / "scores.json").read_text())
    assert max(scores["results"][0]["mse_db"]) < -40
    assert "nowhere.yaml" in fail(
        "evaluate.py", *words[:1], "separator.interference=nowhere.yaml", *words[2:3], cwd=tmp_path
    )


def stored(name: str) -> dict[str, dict[str, Any]]:
    curves = OmegaConf.load(CONF / "experiment" / f"{name}.yaml").comparison.published
    return {curve["name"]: curve for curve in OmegaConf.to_container(curves)}  # type: ignore[union-attr, index, misc]


@pytest.mark.parametrize(
    ("name", "file", "names"),
    [
        ("csgaussian/cyclo", "csg_cyclo.csv", {"MMSE": "MMSE", "LMMSE": "LMMSE", "UnetK101": "U-Net, K = 101"}),
        ("csgaussian/comm", "csg_comm.csv", {"LMMSE": "LMMSE", "UnetK3": "U-Net, K = 3", "SyncMMSE": "SyncMMSE"}),
        ("csgaussian/qpskcomm", "csg_qpskcomm.csv", {"OracleSyncMMSE": "SyncMMSE", "MF": "matched filter"}),
        ("csgaussian/qpskcomm", "csg_qpskcomm.csv", {"UNetComm_K101": "U-Net on QPSK, K = 101"}),
    ],
)
def test_stored_curves_are_the_published_numbers(name: str, file: str, names: dict[str, str]) -> None:
    if not (REFERENCE / file).is_file():
        pytest.skip("RFSEP_REFERENCE is not set: no published numbers to compare with")
    with (REFERENCE / file).open() as stream:
        rows = list(csv.DictReader(stream))
    curves = stored(name)
    for column, curve in names.items():
        assert curves[curve]["sinr_db"] == [float(row["sir_db"]) for row in rows]
        for key in ("mse_db", "ber"):
            if f"{column}_{key}" in rows[0]:
                assert curves[curve][key] == pytest.approx([float(row[f"{column}_{key}"]) for row in rows], rel=1e-5)
            else:
                assert curves[curve][key] is None


def test_stored_curves_of_alpha_rgs_are_the_digitised_numbers() -> None:
    if not (REFERENCE / "args_digitised.csv").is_file():
        pytest.skip("RFSEP_REFERENCE is not set: no published numbers to compare with")
    lines = (REFERENCE / "args_digitised.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines[1:]) if row["interference"] == "ofdm_qpsk"]
    names = {"MF": "matched filter", "aRGS-analytic": "alpha-RGS, analytic SOI", "LMMSE": "LMMSE"}
    curves = stored("args/ofdm_qpsk")
    for row in rows:
        if row["method"] in names:
            curve = curves[names[row["method"]]]
            values = curve["ber" if row["metric"] == "BER" else "mse_db"]
            given = [row[f"{level:g}"] for level in curve["sinr_db"]]
            assert values == pytest.approx([float(value) if value else None for value in given])
