"""Trained networks where they are kept: run folders, exported ones, the zoo; opening them and writing them down."""

import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import yaml

from rfsep.app.config import CONFIG_ERRORS, instantiate, one_line, option, option_named, plain
from rfsep.app.export import fitting
from rfsep.app.trust import check_targets, checked, load_config
from rfsep.models.cost import forward_flops
from rfsep.separators.neural import FastNetwork
from rfsep.storage.atomic import write_text
from rfsep.storage.weights import read_checkpoint, read_metadata, read_weights, write_weights
from rfsep.types import InputError, Modem, Separator

ZOO = Path(__file__).parents[1] / "zoo"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Place(NamedTuple):
    """The two files of a network.

    Attributes:
        config: YAML with model.network, data.num_samples, guide and separator.
        weights: .safetensors or .ckpt.
    """

    config: Path
    weights: Path

    def missing(self) -> list[Path]:
        """Those that are not there."""
        return [path for path in self if not path.is_file()]


class Run(NamedTuple):
    """A training run opened again.

    Attributes:
        model: with the weights of the best checkpoint, in evaluation mode.
        config: the run's config, or as much of it as was exported.
        facts: what the run recorded of itself: steps, minutes, core minutes, FLOPs.
    """

    model: torch.nn.Module
    config: Any
    facts: dict[str, Any]


def locate(source: str, checkpoint: str = "best") -> Place:
    """The files of a network, whether they are there or not.

    Args:
        source: run folder, exported folder, ``zoo:NAME``, or a .safetensors with its .yaml beside it.
        checkpoint: of a run folder: best or last; an exported folder has the best one alone.
    """
    if source.startswith("zoo:"):
        name = source.removeprefix("zoo:")
        return Place(ZOO / f"{name}.yaml", ZOO / f"{name}.safetensors")
    path = Path(source)
    if path.suffix == ".safetensors":
        return Place(path.with_suffix(".yaml"), path)
    weights = path / "checkpoints" / f"{checkpoint}.ckpt"
    if checkpoint == "best" and not weights.is_file() and (path / "model.safetensors").is_file():
        weights = path / "model.safetensors"
    return Place(path / "config.yaml", weights)


def model_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a model by name: of a .safetensors, or the model's part of a Lightning checkpoint."""
    weights = read_weights(path)
    if path.suffix != ".ckpt":
        return weights
    return {key.removeprefix("model."): value for key, value in weights.items() if key.startswith("model.")}


def weights_of(source: str) -> dict[str, torch.Tensor]:
    """Weights of a run folder, ``zoo:NAME`` or a weights file, by name."""
    path = Path(source)
    return model_weights(path if path.suffix in (".safetensors", ".ckpt") else locate(source).weights)


def _facts(place: Place) -> dict[str, Any]:
    """What a run cost in all, up to its last checkpoint, for the best one was chosen among all."""
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
    """Load the model of a run folder or of the zoo; nothing in it is executed, whoever wrote it.

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
    config = load_config(place.config)
    content = plain(config, resolve=False)
    parts = [content.get(key) if isinstance(content.get(key), dict) else {} for key in ("model", "data")]
    network = parts[0].get("network")
    if network is None or "num_samples" not in parts[1]:
        raise InputError(f"{place.config}: has no model.network and data.num_samples, which a run's config has")
    for part, key in ((config.model, "network"), (config, "separator")):  # from here on nothing in them leads elsewhere
        part[key] = checked(part.get(key), place.config)
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


def _writes_tokens(config: Any) -> bool:
    return "tokenizer" in config.model.network


def with_tokenizer(config: Any) -> Any:
    """A training config whose network holds the tokenizer that ``tokenizer`` names, where it holds one.

    Raises:
        InputError: none is named, one is named for another network, or it is no tokenizer.
    """
    if _writes_tokens(config) != (config.tokenizer is not None):
        raise InputError(f"model {config.model.name} does not fit tokenizer={config.tokenizer}")
    if config.tokenizer is None:
        return config
    network = plain(open_run(str(config.tokenizer)).config.model.network)
    if not str(network.get("_target_")).endswith(".Tokenizer"):
        raise InputError(f"tokenizer={config.tokenizer} is {network.get('_target_')}, expected a Tokenizer")
    config = config.copy()
    config.model.network.tokenizer = network
    return config


def take_tokenizer(config: Any, model: torch.nn.Module) -> None:
    """Give a network the weights of the tokenizer that its training config names, if it does."""
    if config.tokenizer is not None:
        cast(Any, model).tokenizer.load_state_dict(weights_of(str(config.tokenizer)))


def flops_per_sample(config: Any, model: torch.nn.Module) -> float:
    """Floating-point operations of a forward pass over a training window, a sample; config as of a run."""
    length = int(config.data.num_samples)
    if config.model.get("tokens", False) or config.model.get("prior", False):
        return forward_flops(model, cast(Any, model).example_inputs(length)) / length
    channels = 2 if config.get("guide") is None else 4
    return forward_flops(model, [torch.zeros((1, channels, length))]) / length


def prior_settings(config: Any, source: str) -> dict[str, Any]:
    """What a prior's network was trained on, of a run's config or an exported one: which, period, schedule.

    Raises:
        InputError: it is no prior's.
    """
    if not config.model.get("prior", False):
        raise InputError(f"{source}: holds a network that is no prior, which objective=ddpm trains")
    settings = plain(config.objective.module)
    return {key: settings.get(key) for key in ("which", "period", "schedule")}


def tokenizer_signal(config: Any, source: str) -> str:
    """Which signal's tokens a network makes, of a run's config or an exported one: soi or interference.

    Raises:
        InputError: it makes none.
    """
    if not config.model.get("tokenizer", False):
        raise InputError(f"{source}: holds a network that is no tokenizer, which objective=tokenizer trains")
    return str(config.objective.module.which)


def _signal_content(config: Any, source: str) -> dict[str, Any]:
    """What an exported prior or tokenizer has beside other networks: its settings, and the signal as it was learned."""
    if config.model.get("prior", False):
        settings = prior_settings(config, source)
    elif config.model.get("tokenizer", False):
        settings = {"which": tokenizer_signal(config, source)}
    else:
        return {}
    return {"objective": {"module": settings}, settings["which"]: plain(config[settings["which"]])}


def own_separator(config: Any, run: Run | None) -> Any:
    """A conf/separator config, with the separator that the run was trained for in place of its method.

    What the command line or an experiment changed in the method still holds. Such a separator may learn from examples.
    With ``fast: false`` the network runs as it is, whatever was exported.
    """
    own, plainly = None if run is None else run.config.get("separator"), not config.get("fast", True)
    if own is None and not plainly:
        return config
    usual = plain(option_named("separator", config.name).method)
    changed = {key: value for key, value in plain(config.method).items() if key not in usual or usual[key] != value}
    config = config.copy()
    if own is not None:
        config.method = {**plain(own), **changed}
        config.learns = True
    if plainly and "fast" in parameters_of(config.method["_target_"]):
        config.method = {**plain(config.method), "fast": None}
    return config


def parameters_of(target: str) -> Mapping[str, inspect.Parameter]:
    """What the constructor of a class takes."""
    module, _, name = target.rpartition(".")
    return inspect.signature(getattr(importlib.import_module(module), name)).parameters


def network_arguments(method: Any, run: Run | None, modem: Modem, examples: torch.Tensor) -> dict[str, Any]:
    """What the constructor of a separator takes of a run: its model, and where it asks for them window, guide, export.

    Args:
        method: of the separator, with ``_target_``; what it gives itself is left alone.
        run: None for a separator without a network.
        modem: of the SOI, for the guide.
        examples: of the interference, for the guide.
    """
    if run is None:
        return {}
    if run.config.model.get("prior", False):
        raise InputError(f"model {run.config.model.name} is a prior of one signal, which separates nothing by itself")
    if run.config.model.get("tokenizer", False):
        raise InputError(f"model {run.config.model.name} makes tokens of one signal, and separates nothing by itself")
    taken = set(parameters_of(method["_target_"])) - set(method)
    guide = run.config.get("guide")
    if guide is not None and "guide" not in taken:
        raise InputError(f"{method['_target_']} takes no guide, and the network was trained with guide={guide}")
    arguments: dict[str, Any] = {"model": run.model}
    if "block" in taken:
        arguments["block"] = run.config.data.num_samples
    if guide is not None:
        arguments["guide"] = cast(
            Separator, instantiate(option("separator", guide).method, modem=modem, examples=examples)
        )
    arguments |= _fast_network(method, run)
    return arguments


def _fast_network(method: Any, run: Run) -> dict[str, FastNetwork]:
    """The export of a run's network, where there is one and the separator takes it."""
    if "fast" not in set(parameters_of(method["_target_"])) - set(method):
        return {}
    found = fitting(run.model, run.config, method.get("block") or run.config.data.num_samples)
    return {} if found is None else {"fast": found}


def export_name(config: Any, run: Run | None) -> str | None:
    """What provenance calls the export that stands in for a run's network; None where the network itself runs.

    Args:
        config: of the separator.
        run: None for a separator without a network.
    """
    found = None if run is None else _fast_network(own_separator(config, run).method, run).get("fast")
    return None if found is None else found.name


def check_separator(node: Any) -> None:
    """Find out before the training whether a config's ``separator`` can be made of a network.

    Raises:
        InputError: it is no separator of ours, or takes other arguments.
    """
    where = Path("separator")
    if not isinstance(node, dict) or "_target_" not in node:
        raise InputError(f"separator is {node!r}, expected a mapping with _target_")
    check_targets(node, where, ("rfsep.separators.",))
    given = {key for key in node if not str(key).startswith("_")} | {"modem", "examples", "model"}
    known = parameters_of(node["_target_"])
    needed = {name for name, one in known.items() if one.default is inspect.Parameter.empty} - {
        "block",
        "guide",
        "fast",
    }
    if wrong := sorted((given - set(known)) | (needed - given)):
        raise InputError(
            f"separator: {node['_target_']} and {', '.join(wrong)} do not fit; it takes {', '.join(known)}"
        )


def _card(config: Any, facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How a network came about and what it reached, for people to read."""
    from rfsep.training.metrics_csv import read_metrics  # Lightning takes seconds to import

    chosen = facts.get("chosen_steps")
    rows = [row for row in read_metrics(folder / "metrics.csv") if int(row["step"]) + 1 == chosen]
    return {
        "command": config.get("command"),
        "seed": config.get("seed"),
        "soi": None if "soi" not in config else config.soi.name,
        "interference": None if "interference" not in config else config.interference.name,
        **{key: facts.get(key) for key in ("minutes", "core_minutes", "steps", "flops")},
        "scores": {row["metric"]: float(row["value"]) for row in rows if row["metric"].startswith("val/")},
    }


def write_weights_of(run: Run, path: Path, dtype: str = "float32") -> None:
    """Write a network's weights and facts as .safetensors.

    Args:
        run: the network.
        path: of the file.
        dtype: in which floating-point weights are kept; they are float32 again when they are opened.
    """
    if dtype not in _DTYPES:
        raise InputError(f"dtype is '{dtype}'; choose one of {', '.join(_DTYPES)}")
    tensors = {
        name: value.to(_DTYPES[dtype] if value.dtype.is_floating_point else value.dtype, copy=True)
        for name, value in run.model.state_dict().items()
    }
    write_weights(path, tensors, {"format": "pt", "facts": json.dumps(run.facts)})


def export(source: str, out: Path, dtype: str) -> Place:
    """Write a network down so that two files are all of it: its weights, and the config to build it with its card.

    Args:
        source: see `locate`.
        out: a folder for config.yaml and model.safetensors, or NAME.safetensors for a pair as in the zoo.
        dtype: see `write_weights_of`.

    Raises:
        InputError: no such run, or a file that cannot be written.
    """
    run = open_run(source)
    config = run.config
    pair = Place(out.with_suffix(".yaml"), out) if out.suffix == ".safetensors" else None
    place = pair or Place(out / "config.yaml", out / "model.safetensors")
    content = {
        "name": str(config.get("name") or place.weights.stem),
        "model": plain(config.model),
        "data": {"num_samples": config.data.num_samples},
        "guide": config.get("guide"),
        "separator": plain(config.get("separator")),
        **_signal_content(config, source),
        "seed": config.get("seed"),
        "card": plain(config.card) if "card" in config else _card(config, run.facts, Path(source)),
    }
    if place.config.exists() and "card" not in load_config(place.config):
        raise InputError(f"{place.config}: is the config of a training run; give another out")
    write_weights_of(run, place.weights, dtype)
    write_text(place.config, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    return place
