"""Contracts over every YAML below conf/: names, sources, modems, separators, models, experiments."""

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from separator_contract import OF_ONE_KIND, Asked, asked, check_estimate, check_rows, made

from rfsep.app.build import completed
from rfsep.app.config import (
    build_modem,
    build_source,
    instantiate,
    interference_of,
    option,
    options,
    separator_of,
    soi_of,
)
from rfsep.app.networks.kinds import KINDS
from rfsep.app.places import CONF, ROOT
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError

NAME = re.compile(r"[A-Za-z0-9-]+")
OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)


def stems(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def experiments() -> list[str]:
    folder = CONF / "experiment"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def of_waveforms() -> list[str]:
    return models("waveform")


def models(kind: str) -> list[str]:
    return [name for name in stems("model") if option("model", name).kind == kind]


def source(name: str) -> Any:
    """Returns the source of an interference YAML, or a skip that says which recordings are missing."""
    lines = (CONF / "interference" / f"{name}.yaml").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    for variable in re.findall(r"oc\.env:(\w+)", text):
        if variable not in os.environ:
            pytest.skip(f"{variable} is not set: {name} needs recordings")
    return build_source(interference_of(name), "test")


@pytest.mark.parametrize("group", ["soi", "interference"])
def test_names_in_files_are_unique_and_plain(group: str) -> None:
    names = [config.name for config in options(group).values()]
    assert len(set(names)) == len(names)
    assert all(NAME.fullmatch(name) for name in names)


@pytest.mark.parametrize("name", stems("soi"))
def test_soi_modulates_its_bits_and_finds_them_again(name: str) -> None:
    modem = build_modem(soi_of(name))
    sampled = modem.sample(8, 4096, batch_generator(Purpose.TEST, 0))  # type: ignore[attr-defined]
    assert sampled.waveform.dtype == torch.complex64
    assert torch.equal(modem.decide(sampled.waveform), sampled.bits)
    row_power = sampled.waveform.abs().square().mean(1)
    # Cosines never end, so a window's power is that of its amplitudes.
    spread = float(row_power.std()) / math.sqrt(8)
    assert float(row_power.mean()) == pytest.approx(56 / 64 if name == "ofdm_qpsk" else 1.0, abs=4 * spread + 0.05)


@pytest.mark.parametrize("name", stems("interference"))
def test_interference_gives_reproducible_windows_of_unit_power(name: str) -> None:
    made = source(name)
    sampled = made.sample(256, 4096, batch_generator(Purpose.TEST, 1))
    assert sampled.waveform.shape == (256, 4096)
    assert sampled.waveform.dtype == torch.complex64
    assert sampled.offset.shape == sampled.origin.shape == (256,)
    assert torch.isfinite(torch.view_as_real(sampled.waveform)).all()
    again = made.sample(256, 4096, batch_generator(Purpose.TEST, 1))
    assert torch.equal(sampled.waveform, again.waveform)
    other = made.sample(2, 4096, batch_generator(Purpose.TEST, 2))
    assert not torch.equal(other.waveform, sampled.waveform[:2])
    row_power = sampled.waveform.abs().square().mean(1)
    spread = float(row_power.std()) / 16  # standard error over 256 windows
    # Recordings have few files, and the power of a split's windows differs from file to file.
    slack = 0.3 if bool((sampled.origin >= 0).all()) else 0.01
    assert float(row_power.mean()) == pytest.approx(1.0, abs=4 * spread + slack)


@pytest.fixture(scope="module", params=[("qpsk", 1, 1280, 0.1), ("ofdm_qpsk", 1, 640, 0.5)], ids=lambda param: param[0])
def question(request: pytest.FixtureRequest) -> Asked:
    """Mixtures of each SOI; the error is larger in OFDM-QPSK, where Wi-Fi separators confuse SOI and interference."""
    return asked(*request.param)


# These need a folder of rfsep learn, see tests/app/learn.
IN_A_FOLDER = ("learned",)


@pytest.mark.parametrize("name", OF_ONE_KIND)
def test_separator_of_one_kind_keeps_its_promises_there_and_refuses_another(name: str, question: Asked) -> None:
    own = asked("qpsk", 1, 1280, 0.1, OF_ONE_KIND[name])
    separator = made(name, own.modem, own.examples)
    found = separator.separate(own.batch.mixture)
    check_estimate(found, own)
    check_rows(separator, found, own)
    with pytest.raises(InstantiationException) as refused:
        made(name, question.modem, question.examples)
    assert isinstance(refused.value.__cause__, InputError)


@pytest.mark.parametrize("name", [name for name in stems("separator") if name not in (*OF_ONE_KIND, *IN_A_FOLDER)])
def test_separator_keeps_its_promises(name: str, question: Asked) -> None:
    if name in ("neural", "token_detection") and isinstance(question.modem, OfdmModem):
        with pytest.raises(InstantiationException, match="one data symbol per period; this has 56"):
            made(name, question.modem, question.examples)
        return
    separator = made(name, question.modem, question.examples)
    found = separator.separate(question.batch.mixture)
    # This separator treats the SOI as faint noise, and is only useful where the interference is strong.
    if name == "reverse_diffusion":
        with pytest.raises(AssertionError, match=r"BER 0\.[34]\d* at 20 dB"):
            check_estimate(found, question)
    else:
        check_estimate(found, question)
    check_rows(separator, found, question)


def test_candidates_are_the_separators_of_their_names() -> None:
    names = separator_of("selected").candidates
    method = completed(separator_of("selected"), None).method
    assert list(method["candidates"]) == list(names)
    assert method["candidates"]["joint_detection_wifi"] == {
        **separator_of("joint_detection_wifi").method,
        "_partial_": True,
    }


def test_models_and_objectives_are_of_known_kinds() -> None:
    for group in ("model", "objective"):
        assert {config.kind for config in options(group).values()} == set(KINDS)


@pytest.mark.parametrize("name", models("prior"))
def test_prior_finds_as_much_noise_as_it_is_shown_and_learns(name: str) -> None:
    torch.manual_seed(0)
    model = instantiate(option("model", name).network)
    noisy, step = torch.randn(2, 2, 160), torch.tensor([3, 49])
    noise = model(noisy, step)
    assert noise.shape == noisy.shape
    assert torch.equal(noise, model(noisy, step.float()))
    noise.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.example_inputs(400)[0].shape[2] in (400 // 80 * 80, 400)


@pytest.mark.parametrize("name", models("tokenizer"))
def test_tokenizer_gives_windows_for_windows_and_learns(name: str) -> None:
    torch.manual_seed(0)
    model = instantiate(option("model", name).network)
    found = model(torch.randn(2, 2, 4 * model.stride))
    assert found.waveform.shape == (2, 2, 4 * model.stride)
    assert found.codes.shape == (2, 4, len(model.sizes))
    (found.waveform.square().mean() + found.penalty).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", models("timing"))
def test_timing_network_tells_a_delay_a_window_and_learns(name: str) -> None:
    torch.manual_seed(0)
    model = instantiate(option("model", name).network)
    logits = model(torch.randn(2, 2, model.num_samples))
    assert logits.shape == (2, model.delays)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", of_waveforms())
def test_model_maps_windows_to_windows_and_learns(name: str) -> None:
    torch.manual_seed(0)
    model = instantiate(option("model", name).network)
    guided = option("model", name).network.get("guided", False)
    mixture = torch.randn(2, 4 if guided else 2, 160)
    estimate = model(mixture)
    assert estimate.shape == (2, 2, 160)
    assert not guided or torch.equal(estimate, mixture[:, 2:])
    estimate.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", experiments())
def test_experiment_composes(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    evaluated = any(f"\n{key}:" in text for key in ("comparison", "landscape", "timing_error"))
    config_name = "evaluate" if evaluated else "train"
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(config_name, overrides=[f"experiment={name}"])
    assert Path(config.name).as_posix().startswith(name.split("/")[0])
    if "learn" in config:
        assert set(config.learn) == {"examples", "minutes", "processes"}
    elif config_name == "train":
        assert config.trainer.max_steps % config.trainer.val_every == 0
        instantiate(config.model.network)
    elif "timing_error" in config:
        assert config.name == name
        assert set(config.timing_error.synchronisers) == {"likelihood", "timing_network"}
    elif "landscape" in config:
        assert config.name == name
        instantiate(config.landscape)
    else:
        assert config.name == name
        for group, key in (("separator", "separators"), ("bound", "bounds")):
            for entry in (config.comparison.get(key) or {}).values():
                assert "use" in entry or entry.method._target_.startswith("rfsep.bounds.")
                if "use" in entry:
                    option(group, entry.use)
        for curve in config.comparison.published:
            assert all(len(curve[key]) == len(curve.sinr_db) for key in ("mse_db", "ber") if curve[key] is not None)
