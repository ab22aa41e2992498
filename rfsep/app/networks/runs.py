"""Opens and writes trained networks: run folders, exported ones, and the zoo."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import yaml

from rfsep.app.config import CONFIG_ERRORS, console, instantiate, one_line
from rfsep.app.networks.export import write_export
from rfsep.app.networks.kinds import kind_of
from rfsep.app.places import ZOO
from rfsep.app.settings import NetworkConfig, TrainSettings
from rfsep.app.trust import read_network
from rfsep.models.cost import forward_flops
from rfsep.models.official import from_official
from rfsep.storage.atomic import write_text
from rfsep.storage.weights import (
    SUFFIXES,
    read_checkpoint,
    read_metadata,
    read_weights,
    write_weights,
)
from rfsep.types import InputError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class NetworkFiles(NamedTuple):
    """The two files of a network.

    Attributes:
        config: YAML with model.network, data.num_samples, guide and separator.
        weights: .safetensors or .ckpt.
    """

    config: Path
    weights: Path

    def missing(self) -> list[Path]:
        """Returns the missing files."""
        return [path for path in self if not path.is_file()]


class Run(NamedTuple):
    """An opened training run.

    Attributes:
        model: the model with the weights of its checkpoint, in evaluation mode.
        config: the run's config, or the exported part of it.
        facts: the run's records: steps, minutes, core minutes, FLOPs.
    """

    model: torch.nn.Module
    config: NetworkConfig
    facts: dict[str, Any]


def locate(source: str, checkpoint: str = "best") -> NetworkFiles:
    """Returns the paths of a network's files, whether they exist or not.

    Args:
        source: run folder, exported folder, ``zoo:NAME``, or a .safetensors with its .yaml beside it.
        checkpoint: checkpoint of a run folder, best or last; an exported folder only has the best one.
    """
    if source.startswith("zoo:"):
        name = source.removeprefix("zoo:")
        return NetworkFiles(ZOO / f"{name}.yaml", ZOO / f"{name}.safetensors")
    path = Path(source)
    if path.suffix == ".safetensors":
        return NetworkFiles(path.with_suffix(".yaml"), path)
    weights = path / "checkpoints" / f"{checkpoint}.ckpt"
    if checkpoint == "best" and not weights.is_file() and (path / "model.safetensors").is_file():
        weights = path / "model.safetensors"
    return NetworkFiles(path / "config.yaml", weights)


def model_weights(path: Path) -> dict[str, torch.Tensor]:
    """Returns a model's tensors by name, from a .safetensors or the model's part of a Lightning checkpoint."""
    weights = read_weights(path)
    if path.suffix != ".ckpt":
        return weights
    return {key.removeprefix("model."): value for key, value in weights.items() if key.startswith("model.")}


def weights_of(source: str) -> dict[str, torch.Tensor]:
    """Returns the weights of a run folder, ``zoo:NAME`` or a weights file, by this package's names.

    The file may come from the challenge's organisers, from alpha-RGS or from Keras, see `rfsep.models.official`.
    """
    path = Path(source)
    return from_official(model_weights(path if path.suffix in SUFFIXES else locate(source).weights))


def _facts(place: NetworkFiles) -> dict[str, Any]:
    """Returns the total cost of a run up to its last checkpoint, as the best one was chosen among all."""
    if place.weights.suffix == ".safetensors":
        try:
            return dict(json.loads(read_metadata(place.weights).get("facts", "{}")))
        except (ValueError, TypeError):
            raise InputError(f"{place.weights}: its facts are no JSON mapping") from None
    last = place.weights.with_name("last.ckpt")
    whole = read_checkpoint(last if last.is_file() else place.weights).get("facts", {})
    own = read_checkpoint(place.weights).get("facts", {})
    return {**cast("dict[str, Any]", whole), "chosen_steps": cast("dict[str, Any]", own).get("steps")}


def open_run(source: str, checkpoint: str = "best") -> Run:
    """Loads the model of an untrusted run folder or of the zoo; nothing in it is executed.

    Args:
        source: see `locate`.
        checkpoint: best or last.

    Raises:
        InputError: no such run, a config that names foreign code, or weights that do not fit.
    """
    place = locate(source, checkpoint)
    if missing := place.missing():
        if source.startswith("zoo:"):
            names = ", ".join(sorted(path.stem for path in ZOO.glob("*.yaml"))) or "no network yet"
            raise InputError(f"{source}: {missing[0]} not found; the zoo has {names}")
        raise InputError(
            f"{missing[0]}: not found; a run folder has config.yaml and checkpoints/{checkpoint}.ckpt"
            " or model.safetensors"
        )
    config = read_network(place.config)
    try:
        model = instantiate(config.model.network)
    except CONFIG_ERRORS as error:
        raise InputError(f"{place.config}: model.network cannot be made: {one_line(error)}") from None
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"{place.config}: model.network is a {type(model).__name__}, no network")
    try:
        model.load_state_dict(model_weights(place.weights))
    except RuntimeError as error:
        raise InputError(
            f"{place.weights}: weights do not fit the model of {place.config}: {one_line(error)}"
        ) from None
    return Run(model.eval(), config, _facts(place))


def with_tokenizer(settings: TrainSettings) -> TrainSettings:
    """Returns training settings whose network holds the tokenizer that ``tokenizer`` names, where it holds one.

    Raises:
        InputError: none is named, one is named for another network, or it is not a tokenizer.
    """
    model, source = settings.network.model, settings.tokenizer
    if ("tokenizer" in model.network) != (source is not None):
        raise InputError(f"model {model.name} does not fit tokenizer={source}")
    if source is None:
        return settings
    inner = open_run(source).config.model.network
    if not str(inner.get("_target_")).endswith(".Tokenizer"):
        raise InputError(f"tokenizer={source} is {inner.get('_target_')}, expected a Tokenizer")
    content = yaml.safe_load(settings.text)
    content["model"]["network"]["tokenizer"] = inner
    identity = {**settings.identity, "model": {**settings.identity["model"], "network": content["model"]["network"]}}
    return replace(
        settings,
        network=replace(settings.network, model=replace(model, network={**model.network, "tokenizer": inner})),
        identity=identity,
        text=yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
    )


def take_tokenizer(settings: TrainSettings, model: torch.nn.Module) -> None:
    """Copies the weights of the tokenizer in the training settings, if any, into a network."""
    if settings.tokenizer is not None:
        cast(Any, model).tokenizer.load_state_dict(weights_of(settings.tokenizer))


def flops_per_sample(config: NetworkConfig, model: torch.nn.Module) -> float:
    """Returns the floating-point operations per sample of a forward pass over a training window."""
    return forward_flops(model, kind_of(config).inputs(config, model)) / config.num_samples


def _network_card(config: NetworkConfig, facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns a readable card of a network's training and results."""
    # This imports Lightning, which takes seconds.
    from rfsep.training.metrics_csv import read_metrics

    chosen = facts.get("chosen_steps")
    rows = [row for row in read_metrics(folder / "metrics.csv") if int(row["step"]) + 1 == chosen]
    return {
        "command": config.command,
        "seed": config.seed,
        "soi": None if config.soi is None else config.soi.get("name"),
        "interference": None if config.interference is None else config.interference.get("name"),
        **{key: facts.get(key) for key in ("minutes", "core_minutes", "steps", "flops")},
        "scores": {row["metric"]: float(row["value"]) for row in rows if row["metric"].startswith("val/")},
    }


def write_weights_of(run: Run, path: Path, dtype: str = "float32") -> None:
    """Writes a network's weights and facts as .safetensors.

    Args:
        run: the network.
        path: path of the file.
        dtype: type of the stored floating-point weights; they become float32 again when opened.
    """
    if dtype not in _DTYPES:
        raise InputError(f"dtype is '{dtype}'; choose one of {', '.join(_DTYPES)}")
    tensors = {
        name: value.to(_DTYPES[dtype] if value.dtype.is_floating_point else value.dtype, copy=True)
        for name, value in run.model.state_dict().items()
    }
    write_weights(path, tensors, {"format": "pt", "facts": json.dumps(run.facts)})


def export(source: str, out: Path, dtype: str) -> NetworkFiles:
    """Writes a network as two self-contained files: its weights, and the config to build it with its card.

    Args:
        source: see `locate`.
        out: a folder for config.yaml and model.safetensors, or NAME.safetensors for a pair as in the zoo.
        dtype: see `write_weights_of`.

    Raises:
        InputError: no such run, or a file that cannot be written.
    """
    run = open_run(source)
    config = run.config
    pair = NetworkFiles(out.with_suffix(".yaml"), out) if out.suffix == ".safetensors" else None
    place = pair or NetworkFiles(out / "config.yaml", out / "model.safetensors")
    content = {
        "name": config.name or place.weights.stem,
        "model": asdict(config.model),
        "data": {"num_samples": config.num_samples},
        "guide": config.guide,
        "separator": config.separator,
        **kind_of(config).signal(config),
        "seed": config.seed,
        "card": _network_card(config, run.facts, Path(source)) if config.card is None else config.card,
    }
    if place.config.exists() and read_network(place.config).card is None:
        raise InputError(f"{place.config}: is the config of a training run; give another out")
    write_weights_of(run, place.weights, dtype)
    write_text(place.config, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    return place


def export_network(source: str, out: Path | None, dtype: str | None, num_samples: int | None) -> None:
    """Carries out ``rfsep export``, and reports where the export is.

    Args:
        source: see `locate`.
        out: see `export`; None: make the network faster for this machine, see `rfsep.app.networks.export.write_export`.
        dtype: type of the stored weights, or of the network's computation.
        num_samples: samples per window of a faster network.

    Raises:
        InputError: no such run, or one that cannot be exported in this way.
    """
    if out is not None:
        if num_samples is not None:
            raise InputError("--num-samples is of a network exported for speed, without --out")
        place = export(source, out, dtype or "float32")
        megabytes = place.weights.stat().st_size / 1e6
        console.print(f"written: {place.weights} ({megabytes:.1f} MB), {place.config}", markup=False, soft_wrap=True)
        return
    opened = open_run(source)
    with console.status("") as status:
        folder, found = write_export(opened.model, opened.config, source, dtype, num_samples, status.update)
    console.print(
        f"{source}: {found.speed_up:.1f} x as fast; differs by {found.error_db:.1f} dB, {found.margin_db:.1f} dB"
        f" below its own error on {found.mixtures}; written: {folder}",
        markup=False,
        soft_wrap=True,
    )
