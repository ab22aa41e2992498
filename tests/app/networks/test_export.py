"""Networks exported for this machine: the same to rounding, faster, and used where they fit and nowhere else."""

import copy
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir

import rfsep.app.networks.export
from rfsep.app.build import completed, export_name, network_arguments
from rfsep.app.config import instantiate, register_resolvers, separator_of
from rfsep.app.doors import evaluate_settings
from rfsep.app.evaluate import separate_testset
from rfsep.app.networks.runs import Run, open_run
from rfsep.app.places import CONF
from rfsep.app.trust import read_network
from rfsep.challenge.provenance import code_version
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.separators.neural import Neural
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.storage.test_set import TestSetHeader, write_mixtures
from rfsep.types import InputError

NETWORK = {
    "_target_": "rfsep.models.unet.UNet",
    "channels": 8,
    "first_kernel": 5,
    "decoder_divisors": [1] * 5,
    "normalise": "window",
}
NOTHING = torch.zeros((0, 0), dtype=torch.complex64)
BLOCK = 320
RATE = "25e6"
Rfsep = Callable[..., tuple[int, str, str]]
pytestmark = [
    pytest.mark.xdist_group("export"),  # one network is exported for all
    pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs pip install rfsep[fast]"),
]


def run_folder(folder: Path, **changes: Any) -> Path:
    """A run folder as train.py leaves it, of an untrained network."""
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    model = instantiate(NETWORK)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "facts": {"steps": 1}}, folder / "checkpoints" / "best.ckpt")
    config = {
        "name": "tiny",
        "soi": {"name": "QPSK"},
        "interference": {"name": "OFDMQPSK", "source": {"path": "${oc.env:NOT_SET}"}},
        "model": {"name": "Tiny", "network": NETWORK},
        "data": {"num_samples": BLOCK},
        "guide": None,
        "separator": None,
        "seed": 5,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))
    return folder


class Made(NamedTuple):
    """A run, and a cache with its export."""

    run: Path
    cache: Path


@pytest.fixture(scope="session")
def exported_once(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = Made(run_folder(tmp_path_factory.mktemp("export") / "run"), tmp_path_factory.mktemp("cache"))
    register_resolvers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RFSEP_CACHE", str(made.cache))
        opened = open_run(str(made.run))
        rfsep.app.networks.export.write_export(opened.model, opened.config, "tiny", None, None, lambda what: None)
    return made


@pytest.fixture
def made(exported_once: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The export in a cache of the test's own, for it to spoil."""
    cache = tmp_path / "cache"
    shutil.copytree(exported_once.cache, cache)
    monkeypatch.setenv("RFSEP_CACHE", str(cache))
    return Made(exported_once.run, cache)


@pytest.fixture
def run(made: Made) -> Run:
    return open_run(str(made.run))


def mixtures(rows: int, num_samples: int) -> torch.Tensor:
    mixer = Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64))
    return mixer.draw(torch.full((rows,), -6.0), num_samples, batch_generator(Purpose.TEST, 3)).mixture


def separator(run: Run, **changes: Any) -> Neural:
    usual = separator_of("neural")
    fast = changes.pop("fast", True)
    option = replace(usual, fast=fast, method={**usual.method, **changes.pop("method", {})})
    assert not changes
    method, modem = completed(option, run).method, LinearModem()
    arguments = network_arguments(method, run, modem, NOTHING)
    made: Neural = instantiate(method, modem=modem, examples=NOTHING, **arguments)
    return made


def difference_db(first: Any, second: Any) -> float:
    first, second = np.asarray(first), np.asarray(second)
    return float(10 * np.log10((np.abs(first - second) ** 2).sum() / (np.abs(second) ** 2).sum() + 1e-30))


def only(cache: Path) -> Path:
    (folder,) = (cache / "exports").iterdir()
    return folder


def test_an_export_is_the_network_to_rounding(made: Made, run: Run) -> None:
    """On mixtures that it was not checked on, and on other numbers of windows than it was converted with."""
    facts = json.loads((only(made.cache) / "export.json").read_text())
    lossy = facts["dtype"] == "bfloat16"
    assert facts["error_db"] < (-40 if lossy else -100)
    assert facts["margin_db"] > 20
    assert facts["speed_up"] > 1
    assert facts["mixtures"] == "QPSK in OFDMQPSK"
    fast = rfsep.app.networks.export.fitting(run.model, run.config, BLOCK)
    assert fast is not None
    for rows in (1, 3, 40):
        inputs = torch.view_as_real(mixtures(rows, BLOCK)).transpose(1, 2)  # not contiguous
        with torch.inference_mode():
            expected, found = run.model(inputs), fast(inputs)
        assert found.dtype == torch.float32
        error = difference_db(found, expected)
        assert error < (-40 if lossy else -100)
        assert error > (-70 if lossy else -200), "bfloat16 rounds more than this: it was not what ran"


def test_a_separator_uses_it_for_windows_of_its_length(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    mixture, plain, fast = mixtures(2, 1000), separator(run, fast=False), separator(run)
    assert plain.fast is None
    assert fast.fast is not None
    assert len(re.findall("tiny runs as exported: OpenVINO", capsys.readouterr().out)) <= 1
    lengths = list[int]()

    def spied(inputs: torch.Tensor) -> torch.Tensor:
        lengths.append(inputs.shape[2])
        estimate: torch.Tensor = run.model.forward(inputs)
        return estimate

    fast.model = spied  # type: ignore[assignment]
    expected, found = plain.separate(mixture), fast.separate(mixture)
    assert lengths == [BLOCK + 1000 % 16], "only the last window, which is longer"
    assert -200 < difference_db(found.soi, expected.soi) < -40
    assert (found.bits == expected.bits).float().mean() > 0.98
    assert separator(run._replace(config=replace(run.config))).fast is not None
    assert export_name(separator_of("neural"), run) == fast.fast.name
    assert export_name(separator_of("matched_filter"), None) is None


def test_another_network_has_no_export(made: Made, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with torch.no_grad():
        next(run.model.parameters()).mul_(1.001)
    assert rfsep.app.networks.export.fitting(run.model, run.config, BLOCK) is None
    run = open_run(str(made.run))
    assert rfsep.app.networks.export.fitting(run.model, run.config, 2 * BLOCK) is None
    run.config.model.network["channels"] = 9
    assert rfsep.app.networks.export.fitting(run.model, run.config, BLOCK) is None
    assert capsys.readouterr().out == "", "nobody exported them, so there is nothing to say"


def ignored(run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    """Why: the one line that is said of it."""
    capsys.readouterr()
    assert separator(run).fast is None
    (line,) = capsys.readouterr().out.splitlines()
    start = "an export is ignored, the network runs as it is: "
    assert line.startswith(start)
    return str(line.removeprefix(start))


@pytest.mark.parametrize("key", ["code", "torch", "openvino", "processor"])
def test_a_stale_export_is_ignored(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = rfsep.app.networks.export._circumstances(NETWORK)
    assert here["code"] == code_version(["rfsep.models.unet"])
    assert all(here.values())
    monkeypatch.setattr(rfsep.app.networks.export, "_circumstances", lambda network: here | {key: "another"})
    assert f"{key} was {here[key]}, is another" in ignored(run, capsys)


def test_a_spoilt_or_foreign_export_is_ignored(
    made: Made, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, cache = only(made.cache), lambda: rfsep.app.networks.export._opened.cache_clear()
    cache()
    manifest, numbers = folder / "export.json", folder / "network.bin"
    sound = {path: path.read_bytes() for path in (manifest, numbers)}
    spoilt = bytearray(sound[numbers])
    spoilt[100] ^= 1
    numbers.write_bytes(spoilt)
    assert "network.bin: is not what was exported" in ignored(run, capsys)
    numbers.unlink()
    assert "cannot be read: No such file" in ignored(run, capsys)
    numbers.write_bytes(sound[numbers])
    facts = json.loads(sound[manifest])
    manifest.write_text(json.dumps(facts | {"error_db": -90.0}))
    assert "no seal" in ignored(run, capsys)
    manifest.write_text("[1]")
    assert "no seal" in ignored(run, capsys)
    manifest.write_bytes(sound[manifest][:100])
    assert "not valid JSON" in ignored(run, capsys)
    manifest.write_bytes(sound[manifest])
    monkeypatch.setenv("RFSEP_HOST_KEY", str(tmp_path / "another.key"))
    assert "no seal" in ignored(run, capsys), "somebody else's cache"
    monkeypatch.undo()
    monkeypatch.setenv("RFSEP_CACHE", str(made.cache))
    assert separator(run).fast is not None


def test_an_export_of_one_network_does_not_serve_for_another(
    made: Made, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moved to the other's place, sealed as it is."""
    with torch.no_grad():
        next(run.model.parameters()).mul_(1.5)
    other = rfsep.app.networks.export._folder(rfsep.app.networks.export._identity(run.model, run.config, BLOCK))
    only(made.cache).rename(other)
    assert "no seal" in ignored(run, capsys)


def test_a_run_folder_brings_no_export(made: Made, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever a stranger puts beside his network."""
    foreign = tmp_path / "foreign"
    shutil.copytree(made.run, foreign)
    for path in only(made.cache).iterdir():
        shutil.copy(path, foreign)
        shutil.copy(path, foreign / "checkpoints")
    monkeypatch.setenv("RFSEP_CACHE", str(tmp_path / "empty"))
    assert separator(open_run(str(foreign))).fast is None


def test_without_openvino_the_network_runs(
    made: Made, run: Run, rfsep_command: Rfsep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rfsep.app.networks.export._opened.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "pip install 'rfsep[fast]'" in ignored(run, capsys)
    status, _, complaint = rfsep_command("export", str(made.run))
    assert (status, len(complaint.splitlines())) == (2, 1)
    assert "pip install 'rfsep[fast]'" in complaint


def test_what_cannot_be_exported_is_refused_in_a_line(
    made: Made, rfsep_command: Rfsep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RFSEP_CACHE", str(tmp_path / "none"))
    tiny = str(made.run)
    for arguments, word in (
        (("zoo:qpskcomm",), "sees no waveforms"),
        (("zoo:prior_qpsk",), "(prior)"),
        (("zoo:nothing",), "not found"),
        ((tiny, "--dtype", "float16"), "bfloat16 or float32"),
        ((tiny, "--dtype", "int8", "--out", str(tmp_path / "x")), "float16"),
        ((tiny, "--num-samples", "640", "--out", str(tmp_path / "x")), "--num-samples"),
        ((tiny, "--num-samples", "0"), "num-samples"),
        ((str(tmp_path),), "config.yaml"),
    ):
        status, said, complaint = rfsep_command("export", *arguments)
        assert (status, len(complaint.splitlines())) == (2, 1), (arguments, said, complaint)
        assert word in complaint
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "x").exists()


def test_an_export_that_is_not_the_network_or_is_slow_is_not_written(
    made: Made, rfsep_command: Rfsep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RFSEP_CACHE", str(tmp_path / "none"))
    convert = rfsep.app.networks.export.converted

    def another(model: torch.nn.Module, example: torch.Tensor) -> tuple[bytes, bytes]:
        with torch.no_grad():
            model = copy.deepcopy(model)
            next(model.parameters()).mul_(1.2)
        return convert(model, example)

    monkeypatch.setattr(rfsep.app.networks.export, "converted", another)
    status, said, complaint = rfsep_command("export", str(made.run), "--dtype", "float32")
    assert status == 2, said
    assert float(re.findall(r"differs by (\S+) dB", complaint)[0]) > -60
    parts = tuple((only(made.cache) / name).read_bytes() for name in ("network.xml", "network.bin"))
    monkeypatch.setattr(rfsep.app.networks.export, "converted", lambda model, example: parts)
    seconds = iter([1.0, 1.25])
    monkeypatch.setattr(rfsep.app.networks.export, "_processor_seconds", lambda network, inputs: next(seconds))
    status, _, complaint = rfsep_command("export", str(made.run))
    assert status == 2
    assert "slower, 0.80 x" in complaint
    assert not (tmp_path / "none").exists()
    seconds = iter([3.0, 1.0])
    status, said, complaint = rfsep_command("export", str(made.run))
    assert status == 0, complaint
    assert "3.0 x as fast" in said
    assert len(list(only(tmp_path / "none").iterdir())) == 3, "nothing half-written is left"


@pytest.mark.parametrize(
    ("changes", "mixtures", "channels"),
    [
        ({}, "QPSK in OFDMQPSK", 2),
        ({"card": {"soi": "QPSK", "interference": "EMIBursts"}}, "QPSK in EMIBursts", 2),
        ({"interference": {"name": "Unheard"}}, "QPSK in OFDMQPSK", 2),
        ({"soi": "qpsk", "card": [1]}, "QPSK in OFDMQPSK", 2),
        ({"guide": "matched_filter"}, "QPSK in OFDMQPSK", 4),
    ],
)
def test_it_is_checked_on_what_the_network_learned(
    tmp_path: Path, changes: dict[str, Any], mixtures: str, channels: int
) -> None:
    register_resolvers()
    config = read_network(run_folder(tmp_path / "run", **changes) / "config.yaml")
    examples = rfsep.app.networks.export._examples(config, BLOCK)
    assert examples.mixtures == mixtures
    assert examples.inputs.shape == (12, channels, BLOCK)
    power = examples.inputs[:, :2].square().sum(1).mean(1).view(3, 4).mean(1)
    assert "EMI" in mixtures or power[0] > 3 * power[1] > 9 * power[2], "SINR rises from level to level"


def test_own_error_bounds_the_difference() -> None:
    """A network that errs little has to be exported better than one that errs much."""
    checked = rfsep.app.networks.export.ExportCheck(-45.0, 15.0, 2.0, "QPSK in OFDMQPSK")
    with pytest.raises(InputError, match=r"differs by -45\.0 dB, 15\.0 dB below its own error .* --dtype float32"):
        rfsep.app.networks.export._refuse_difference("x", checked, "bfloat16")
    rfsep.app.networks.export._refuse_difference("x", checked._replace(margin_db=21.0), "bfloat16")
    with pytest.raises(InputError, match="differs by nan dB"):
        rfsep.app.networks.export._refuse_difference(
            "x", checked._replace(error_db=float("nan"), margin_db=21.0), "float32"
        )


def test_a_recording_is_separated_by_a_network(
    made: Made, run: Run, rfsep_command: Rfsep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the separator does it in one piece, with the export and without; provenance tells which."""
    monkeypatch.chdir(tmp_path)
    mixture = mixtures(1, 4007)
    np.save("heard.npy", mixture[0].numpy())
    common = ("separate", "heard.npy", "--sample-rate", RATE, "--run", str(made.run), "--chunk-samples", "1000")
    common = (*common, "--soi-power-db", "0", "--soi-start", "0", "--keep-dc")
    estimates = []
    for out, options, fast in (("plain", ("--set", "fast=false"), False), ("fast", (), True)):
        status, _, complaint = rfsep_command(*common, *options, "--out", out)
        assert status == 0, complaint
        expected = separator(run, fast=fast).separate(mixture)
        found = np.fromfile(f"{out}/soi.sigmf-data", "<c8")
        assert difference_db(found, expected.soi[0].numpy()) < -100
        assert np.array_equal(np.load(f"{out}/bits.npy"), expected.bits[0].numpy())
        facts = json.loads(Path(out, "separate.json").read_text())
        meta = json.loads(Path(out, "soi.sigmf-meta").read_text())
        named = facts["identity"]["export"]
        assert json.dumps(named) in json.dumps(meta), "provenance of the SigMF"
        assert (named is not None) == fast
        assert not fast or re.fullmatch(r"OpenVINO \S+ \w+, -\S+ dB from the network, [0-9a-f]{32}", named)
        estimates.append(found)
    assert -200 < difference_db(*estimates) < -40
    status, _, complaint = rfsep_command(*common, "--set", "fast=false", "--out", "fast")
    assert status == 2, "the same folder holds the export's estimate"
    assert "holds another run" in complaint


def test_evaluation_uses_it(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, testset = [], tmp_path / "set"
    mixer = Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64))
    header = TestSetHeader("QPSK", "OFDMQPSK", 4, 640, 80, 20e6, "0" * 32, 1, {})
    batch = mixer.draw(torch.tensor([-12.0, -12.0, 0.0, 0.0]), 640, batch_generator(Purpose.TEST, 1))
    write_mixtures(testset, header, [batch])
    for fast in ("true", "false"):
        overrides = [
            "separator=neural",
            f"separator.fast={fast}",
            f"run={made.run}",
            f"testset={testset}",
            f"out={fast}",
        ]
        with initialize_config_dir(str(CONF), version_base=None):
            settings = evaluate_settings(compose("evaluate", ["separator=neural", *overrides]))
        folder = separate_testset(settings, settings.separator, testset).folder
        (path,) = folder.glob("*_soi_*.npy")
        found.append(np.load(path))
    assert -200 < difference_db(*found) < -40
