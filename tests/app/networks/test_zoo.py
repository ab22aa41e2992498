"""Networks that travel: exported folders, the zoo, separators of their own, their place in comparisons."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import rfsep.app.networks.runs
from rfsep.app.build import check_separator, completed, network_arguments
from rfsep.app.commands import main
from rfsep.app.compare import run_comparison
from rfsep.app.config import (
    build_modem,
    build_soi,
    build_source,
    instantiate,
    interference_named,
    separator_of,
    soi_named,
)
from rfsep.app.doors import evaluate_settings
from rfsep.app.networks.priors import check_prior
from rfsep.app.networks.runs import export, open_run
from rfsep.app.networks.timing import open_timing
from rfsep.app.networks.tokenizers import check_tokenizer
from rfsep.app.places import CONF, ROOT, ZOO
from rfsep.metrics import floored_db, row_mse
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.pages.studies.tokenizer_check import summary as tokenizer_summary
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.linear_modem import LinearModem
from rfsep.storage.weights import read_weights, weights_digest, write_weights
from rfsep.types import InputError

OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)
NETWORK = {
    "_target_": "rfsep.models.unet.UNet",
    "channels": 4,
    "first_kernel": 5,
    "decoder_divisors": [1] * 5,
    "normalise": "window",
}
NEURAL = "rfsep.separators.neural.Neural"
NOTHING = torch.zeros((0, 0), dtype=torch.complex64)


def shipped() -> list[str]:
    return sorted(path.stem for path in ZOO.glob("*.yaml"))


def test_the_zoo_is_small_and_whole() -> None:
    sizes = [path.stat().st_size for path in ZOO.glob("*.safetensors")]
    assert all(size <= 8e6 for size in sizes)
    assert sum(sizes) <= 40e6
    assert sorted(path.stem for path in ZOO.glob("*.safetensors")) == shipped()


def card_of(name: str) -> dict[str, Any]:
    card: dict[str, Any] = yaml.safe_load((ZOO / f"{name}.yaml").read_text())["card"]
    assert card["command"].startswith("python train.py ")
    assert card["minutes"] > 0
    assert card["core_minutes"] > 0
    assert isinstance(card["seed"], int)
    return card


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("prior_")])
def test_a_prior_of_the_zoo_knows_more_of_its_signal_than_any_gaussian(name: str) -> None:
    scores = card_of(name)["scores"]
    found = check_prior(f"zoo:{name}", 50, None).learned
    assert found.losses.mean() < 0.7 * found.gaussian_losses.mean()
    assert found.analytic_losses is not None
    assert 0 < found.analytic_losses.mean() < found.losses.mean()
    assert float(found.losses.mean()) == pytest.approx(scores["val/noise_mse"], rel=0.15)


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("tokenizer_")])
def test_a_tokenizer_of_the_zoo_loses_no_bit_and_uses_all_codes(name: str) -> None:
    scores = card_of(name)["scores"]
    found = tokenizer_summary(check_tokenizer(f"zoo:{name}", 20000, 2560).kept)
    assert found["bit_errors"] == 0
    assert found["num_bits"] >= 20000
    assert found["codes_used"] == found["codes_possible"]
    assert found["mse_db"] < -50
    assert found["mse_db"] == pytest.approx(scores["val/mse_db"], abs=3)


@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("timing_")])
def test_a_timing_network_of_the_zoo_tells_the_timing_at_every_level(name: str) -> None:
    card = card_of(name)
    assert card["scores"]["val/timing_error"] < 0.02
    soi, interference = soi_named(str(card["soi"])), interference_named(str(card["interference"]))
    mixer = Mixer(build_soi(soi), build_source(interference, "test"), random_phase=False)
    batch = mixer.draw(torch.tensor([-30.0, -12.0, 3.0] * 20), 1280, batch_generator(Purpose.TEST, 0))
    found = open_timing(f"zoo:{name}").log_probability(batch.mixture).argmax(1)
    assert (found != batch.interference_offset).sum() <= 1


@pytest.mark.parametrize(
    "name", [name for name in shipped() if not name.startswith(("prior_", "tokenizer_", "timing_"))]
)
def test_a_network_of_the_zoo_tells_how_it_was_made_and_runs(name: str) -> None:
    run = open_run(f"zoo:{name}")
    card = card_of(name)
    assert card["scores"]["val/mse_db"] < 0
    soi, interference = soi_named(card["soi"]), interference_named(card["interference"])
    source = build_source(interference, "train")
    own = run.config.separator or {}
    told = own.get("noise_power") or own.get("front", {}).get("noise_power")
    mixer = Mixer(build_soi(soi), source, random_phase=False, noise_power=told or 0.0)
    batch = mixer.draw(torch.full((8,), -15.0), run.config.num_samples, batch_generator(Purpose.TEST, 0))
    method = completed(separator_of("neural"), run).method
    examples = source.sample(100, 4096, batch_generator(Purpose.EXAMPLES)).waveform
    modem = build_modem(soi)
    made = instantiate(method, modem=modem, examples=examples, **network_arguments(method, run, modem, examples))
    error = torch.as_tensor(row_mse(made.separate(batch.mixture).soi.numpy(), batch.soi.numpy())).mean()
    if "Patches" in str(run.config.separator):  # told nothing of the interference
        filtered = MatchedFilter(modem, examples).separate(batch.mixture).soi
        assert error < 0.9 * torch.as_tensor(row_mse(filtered.numpy(), batch.soi.numpy())).mean()
    else:
        assert floored_db(float(error)) < -10  # the mixture itself stands at +15 dB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder as train.py leaves it, of an untrained network."""
    run = tmp_path / "runs" / "some" / "run"
    (run / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    model = instantiate(NETWORK)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    facts = {"steps": 20, "minutes": 3.0, "core_minutes": 5.0, "flops": 1e9}
    torch.save({"state_dict": state, "facts": facts}, run / "checkpoints" / "last.ckpt")
    torch.save({"state_dict": state, "facts": facts | {"steps": 10, "minutes": 1.5}}, run / "checkpoints" / "best.ckpt")
    (run / "metrics.csv").write_text("step,metric,value\n9,val/ber,0.25\n9,val/mse_db,-3.5\n19,val/mse_db,-3.0\n")
    config = {
        "command": "python train.py run=run",
        "name": "some",
        "soi": {"name": "QPSK"},
        "interference": {"name": "OFDMQPSK", "source": {"path": "${oc.env:NOT_SET}"}},
        "model": {"name": "Small", "network": NETWORK},
        "data": {"num_samples": 320, "batch_size": 4},
        "guide": None,
        "separator": None,
        "seed": 5,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


def outputs(run: rfsep.app.networks.runs.Run) -> torch.Tensor:
    with torch.no_grad():
        estimate: torch.Tensor = run.model(torch.linspace(-1, 1, 640).reshape(1, 2, 320))
    return estimate


@pytest.mark.parametrize("out", ["folder", "zoo/Small-1.safetensors"])
def test_an_exported_network_is_the_network(folder: Path, tmp_path: Path, out: str) -> None:
    before = open_run(str(folder))
    place = export(str(folder), tmp_path / out, "float32")
    after = open_run(str(tmp_path / out))
    assert torch.equal(outputs(before), outputs(after))
    facts = {"steps": 20, "minutes": 3.0, "core_minutes": 5.0, "flops": 1e9, "chosen_steps": 10}
    assert after.facts == before.facts == facts
    card = yaml.safe_load(place.config.read_text())
    assert card["card"] == {
        "command": "python train.py run=run",
        "seed": 5,
        "soi": "QPSK",
        "interference": "OFDMQPSK",
        "minutes": 3.0,
        "core_minutes": 5.0,
        "steps": 20,
        "flops": 1e9,
        "scores": {"val/ber": 0.25, "val/mse_db": -3.5},
    }
    again = export(str(tmp_path / out), tmp_path / "again", "float32")
    assert again.config.read_text() == place.config.read_text()
    assert str(tmp_path) not in place.config.read_text()


def test_half_the_bytes_of_half_precision(folder: Path, tmp_path: Path) -> None:
    sizes = {}
    for dtype in ("float32", "bfloat16", "float16"):
        place = export(str(folder), tmp_path / f"{dtype}.safetensors", dtype)
        sizes[dtype] = sum(value.nbytes for value in read_weights(place.weights).values())
        run = open_run(str(place.weights))
        assert {value.dtype for value in run.model.state_dict().values()} == {torch.float32}
        assert torch.allclose(outputs(run), outputs(open_run(str(folder))), atol=0.02)
    assert sizes["bfloat16"] == sizes["float16"] == sizes["float32"] / 2
    with pytest.raises(InputError, match="float32, bfloat16, float16"):
        export(str(folder), tmp_path / "x", "int8")


def test_a_zoo_opens_by_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfsep.app.networks.runs, "ZOO", tmp_path / "zoo")
    with pytest.raises(InputError, match=r"zoo:a: .*a\.yaml not found; the zoo has no network yet"):
        open_run("zoo:a")
    export(str(folder), tmp_path / "zoo" / "b.safetensors", "bfloat16")
    assert open_run("zoo:b").config.seed == 5
    with pytest.raises(InputError, match="the zoo has b"):
        open_run("zoo:a")


def test_foreign_code_in_a_card_is_refused(folder: Path, tmp_path: Path) -> None:
    place = export(str(folder), tmp_path / "a.safetensors", "float32")
    text = place.config.read_text()
    for strange in (
        text.replace("rfsep.models.unet.UNet", "os.system"),
        text.replace("separator: null", "separator: {_target_: os.system}"),
        text.replace("num_samples: 320", "x: 1"),
        text.replace("model:", "modle:"),
        "[1]",
    ):
        assert strange != text
        place.config.write_text(strange)
        with pytest.raises(InputError, match=r"a\.yaml") as refusal:
            open_run(str(place.weights))
        assert "\n" not in str(refusal.value)
    place.config.write_text(text)
    write_weights(place.weights, read_weights(place.weights), {"facts": "[nonsense"})
    with pytest.raises(InputError, match="JSON"):
        open_run(str(place.weights))


def test_a_run_folder_is_not_exported_into_itself(folder: Path) -> None:
    with pytest.raises(InputError, match="config of a training run"):
        export(str(folder), folder, "float32")


def test_digest_tells_weights_apart_but_not_files(folder: Path, tmp_path: Path) -> None:
    export(str(folder), tmp_path / "a", "float32")
    first, second = (open_run(str(one)).model.state_dict() for one in (folder, tmp_path / "a"))
    assert weights_digest(first) == weights_digest(second)
    first["head.bias"][0] += 1e-3
    assert weights_digest(first) != weights_digest(second)


def with_separator(folder: Path, node: dict[str, Any] | None, guide: str | None = None) -> rfsep.app.networks.runs.Run:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"separator": node, "guide": guide}))
    return open_run(str(folder))


def test_a_run_brings_its_own_separator(folder: Path) -> None:
    modem, usual = LinearModem(), separator_of("neural")
    run = with_separator(folder, None)
    assert completed(usual, run) is usual
    arguments = network_arguments(usual.method, run, modem, NOTHING)
    assert arguments == {"model": run.model, "block": 320}
    run = with_separator(folder, {"_target_": NEURAL, "block": 160, "margin": 32})
    own = completed(usual, run)
    assert own.learns
    made = instantiate(own.method, modem=modem, examples=NOTHING, **network_arguments(own.method, run, modem, NOTHING))
    assert (made.block, made.margin) == (160, 32)
    changed = replace(usual, method={**usual.method, "margin": 48})  # a margin given on the command line
    assert completed(changed, run).method["margin"] == 48
    run = with_separator(folder, None, "matched_filter")
    assert "guide" in network_arguments(usual.method, run, modem, NOTHING)
    config = replace(run.config, model=replace(run.config.model, kind="tokens"))
    method = {"_target_": "rfsep.separators.tokens.aligned.Aligned"}
    with pytest.raises(InputError, match="takes no guide"):
        network_arguments(method, run._replace(config=config), modem, NOTHING)


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ("neural", "mapping"),
        ({"_target_": "os.system"}, "os.system"),
        ({"_target_": "rfsep.models.unet.UNet"}, "no class of rfsep.separators"),
    ],
)
def test_a_separator_that_cannot_be_made_of_a_network_is_refused(node: Any, word: str) -> None:
    check_separator({"_target_": NEURAL, "margin": 3}, "waveform")
    with pytest.raises(InputError, match=word):
        check_separator(node, "waveform")
    with pytest.raises(InputError, match="kind prior goes into none"):
        check_separator({"_target_": NEURAL}, "prior")


def compared(out: Path, *overrides: str, entries: dict[str, Any]) -> dict[str, Any]:
    short = ["num_mixtures=2", "comparison.num_samples=640", "comparison.sir_db=[-12,0]", f"out={out}"]
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("evaluate", overrides=["experiment=args/ofdm_qpsk", *short, *overrides])
    config.comparison.separators = entries
    config.comparison.bounds = {}
    settings = evaluate_settings(config)
    assert settings.comparison is not None
    run_comparison(settings, settings.comparison)
    rows = json.loads((out / "results.json").read_text())["rows"]
    return {row["separator"]: row for row in rows}


def test_networks_in_a_comparison(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing one is left out, a present one computed once; other weights are computed again, and run= overrides."""
    entries = {
        "matched_filter": {"use": "matched_filter"},
        "neural": {"use": "neural", "run": str(folder), "margin": 64},
        "neural:zoo": {"use": "neural", "run": "zoo:not-there"},
    }
    out = tmp_path / "out"
    rows = compared(out, entries=entries)
    assert list(rows) == ["matched_filter", "neural"]
    network = rows["neural"]["network"]
    assert (network["train_minutes"], network["train_core_minutes"], network["train_flops"]) == (3.0, 5.0, 1e9)
    assert network["parameters"] == sum(one.numel() for one in open_run(str(folder)).model.parameters())
    assert "neural:zoo is left out: its network zoo:not-there is not here" in capsys.readouterr().out
    compared(out, entries=entries)
    assert "neural: kept" in capsys.readouterr().out
    other = tmp_path / "other"
    place = export(str(folder), other, "float32")
    weights = read_weights(place.weights)
    weights["head.bias"] += 0.5
    write_weights(place.weights, weights, {})
    again = compared(out, "separator=neural", f"run={other}", entries={**entries, "neural:zoo": {"use": "lmmse"}})
    assert "neural: kept" not in capsys.readouterr().out
    assert again["neural"]["mse_db"] != rows["neural"]["mse_db"]
    assert again["matched_filter"] == rows["matched_filter"]
    with pytest.raises(InputError, match="zoo:not-there"):
        compared(out, "separator=neural", entries=entries)
    with pytest.raises(InputError, match="needs separator=NAME of one network"):
        compared(out, f"run={other}", entries=entries)
    with pytest.raises(InputError, match="nothing to compare"):
        compared(out, entries={"neural": {"use": "neural", "run": "nowhere"}})


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of ``rfsep`` with these words."""
    monkeypatch.setattr(sys, "argv", ["rfsep", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code))


def test_commands_export_and_refuse(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert command(monkeypatch, "export", ".", "--out", "small.safetensors", "--dtype", "bfloat16") == 0
    assert capsys.readouterr().out.startswith("written: small.safetensors (0.0 MB), small.yaml")
    assert command(monkeypatch, "curves", ".", "--out", "x.png") == 0
    assert capsys.readouterr().out == "val/ber of 1 runs in x.png\n"
    for words, word in (
        (["export", "nowhere", "--out", "x"], "nowhere/config.yaml"),
        (["export", ".", "--num-samples", "640", "--out", "x"], "--num-samples"),
        (["curves", ".", "--out", "x.bmp"], "x.bmp"),
        (["curves", "nowhere", "--out", "x.png"], "nowhere/metrics.csv"),
    ):
        assert command(monkeypatch, *words) == 2
        refusal = capsys.readouterr().err
        assert word in refusal
        assert len(refusal.strip().splitlines()) == 1


def test_a_prior_whose_signal_is_foreign_code_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load((ZOO / "prior_ofdm_qpsk.yaml").read_text())
    content["interference"]["source"] = {"_target_": "os.system", "command": "true"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "model.safetensors").write_bytes((ZOO / "prior_ofdm_qpsk.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"_target_ 'os.system' is no class of rfsep.signals; refused"):
        check_prior(str(tmp_path), 1, 320)
