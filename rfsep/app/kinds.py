"""The kinds of network, by ``kind:`` in conf/model: which inputs each sees, and which arguments go with it.

A new kind is one class here, and its name in `KINDS`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from rfsep.app.config import build_guide, build_modem, example_frames, instantiate, option, plain
from rfsep.app.export import Exported, fitting
from rfsep.challenge.provenance import code_version, targets
from rfsep.training.views import Views
from rfsep.types import InputError, Modem, Separator


class Kind(Protocol):
    """One kind of network. Configs are those of training runs, or as much of one as was exported."""

    def inputs(self, config: Any, model: nn.Module) -> list[Tensor]:
        """Inputs of a forward pass over one training window, whose cost is counted."""
        ...

    def objective_arguments(self, config: Any, model: nn.Module) -> dict[str, Any]:
        """Arguments that the objective takes beside its network."""
        ...

    def separator_arguments(
        self, config: Any, model: nn.Module, method: Mapping[str, Any], modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """Arguments that the separator around the network takes beside modem and examples.

        Raises:
            InputError: networks of this kind separate nothing.
        """
        ...

    def signal(self, config: Any) -> dict[str, Any]:
        """Parts of the config that tell which signal the network learned; empty for networks that see mixtures."""
        ...


class Waveform:
    """Sees mixtures float32 [B, 2, T], or [B, 4, T] beside a guide's estimate, and gives the SOI's waveform."""

    def inputs(self, config: Any, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        channels = 2 if config.get("guide") is None else 4
        return [torch.zeros((1, channels, int(config.data.num_samples)))]

    def objective_arguments(self, config: Any, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        modem = build_modem(config.soi)
        if config.separator is not None:  # find out before the training whether it can be made
            nothing = torch.zeros((0, 0), dtype=torch.complex64)
            block = {} if "block" in config.separator else {"block": int(config.data.num_samples)}
            instantiate(config.separator, modem=modem, examples=nothing, model=model, **block)
        return {"modem": modem, "guide": build_guide(config)}

    def separator_arguments(
        self, config: Any, model: nn.Module, method: Mapping[str, Any], modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """Network, window, guide, and the network's export where there is one and ``fast`` does not decline it."""
        arguments: dict[str, Any] = {"model": model, "block": method.get("block") or int(config.data.num_samples)}
        if (guide := config.get("guide")) is not None:
            made = instantiate(option("separator", guide).method, modem=modem, examples=examples)
            arguments["guide"] = cast(Separator, made)
        if (found := exported(config, model, method)) is not None:
            arguments["fast"] = found
        return arguments

    def signal(self, config: Any) -> dict[str, Any]:
        """See `Kind`."""
        return {}


class Tokens:
    """Sees a mixture that a separator of its own has cut into tokens."""

    def inputs(self, config: Any, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        return _example_inputs(config, model)

    def objective_arguments(self, config: Any, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        if config.separator is None:
            name = config.model.name
            raise InputError(f"model {name} sees tokens: separator must say which, see conf/experiment/aligned")
        modem = build_modem(config.soi)
        examples = example_frames(config.interference, **config.examples)
        separator = instantiate(config.separator, modem=modem, examples=examples, model=model)
        return {"modem": modem, "separator": separator, "views": _kept_views(config)}

    def separator_arguments(
        self, config: Any, model: nn.Module, method: Mapping[str, Any], modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """See `Kind`."""
        if (guide := config.get("guide")) is not None:
            raise InputError(f"{method['_target_']} takes no guide, and the network was trained with guide={guide}")
        return {"model": model}

    def signal(self, config: Any) -> dict[str, Any]:
        """See `Kind`."""
        return {}


class Prior:
    """A diffusion prior: finds the noise in a signal, told its level."""

    def inputs(self, config: Any, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        return _example_inputs(config, model)

    def objective_arguments(self, config: Any, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        return {}

    def separator_arguments(
        self, config: Any, model: nn.Module, method: Mapping[str, Any], modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """See `Kind`."""
        raise InputError(f"model {config.model.name} is a prior of one signal, which separates nothing by itself")

    def signal(self, config: Any) -> dict[str, Any]:
        """Which signal it learned, the period at whose symbols it is aligned, and its noise levels."""
        return _signal(config, ("which", "period", "schedule"))


class Tokenizer:
    """A discrete autoencoder of one signal."""

    def inputs(self, config: Any, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        return [torch.zeros((1, 2, int(config.data.num_samples)))]

    def objective_arguments(self, config: Any, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        return {"fresh": config.init_from is None}

    def separator_arguments(
        self, config: Any, model: nn.Module, method: Mapping[str, Any], modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """See `Kind`."""
        raise InputError(f"model {config.model.name} makes tokens of one signal, and separates nothing by itself")

    def signal(self, config: Any) -> dict[str, Any]:
        """Which signal it learned."""
        return _signal(config, ("which",))


KINDS: dict[str, Kind] = {"waveform": Waveform(), "tokens": Tokens(), "prior": Prior(), "tokenizer": Tokenizer()}


def kind_of(config: Any) -> Kind:
    """The kind of a run's network.

    Raises:
        InputError: its model names none of `KINDS`.
    """
    name = config.model.get("kind")
    if name not in KINDS:
        raise InputError(f"model {config.model.get('name')} has kind: {name}; choose one of {', '.join(KINDS)}")
    return KINDS[name]


def learned_signal(config: Any, kind: str, source: str) -> dict[str, Any]:
    """Settings of the objective that a network of one signal learned by, with ``which``: soi or interference.

    Args:
        config: of a run, or an exported one.
        kind: that the network must be of: prior or tokenizer.
        source: where it comes from, for the refusal.

    Raises:
        InputError: it is of another kind.
    """
    if config.model.get("kind") != kind:
        learns = {"prior": "objective=ddpm", "tokenizer": "objective=tokenizer"}[kind]
        raise InputError(f"{source}: holds a network that is no {kind}, which {learns} trains")
    settings: dict[str, Any] = KINDS[kind].signal(config)["objective"]["module"]
    return settings


def exported(config: Any, model: nn.Module, method: Mapping[str, Any]) -> Exported | None:
    """The export that stands in for a run's network; None where there is none, or the separator declines it."""
    if config.model.kind != "waveform" or "fast" in method:
        return None
    return fitting(model, config, method.get("block") or int(config.data.num_samples))


def _example_inputs(config: Any, model: nn.Module) -> list[Tensor]:
    found: list[Tensor] = cast(Any, model).example_inputs(int(config.data.num_samples))
    return found


def _signal(config: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """Settings of an objective of one signal, and that signal's own config where the run has it."""
    module = plain(config.objective.module)
    settings = {key: module.get(key) for key in keys}
    which = settings["which"]
    own = {which: plain(config[which])} if which in config else {}
    return {"objective": {"module": settings}, **own}


def _kept_views(config: Any) -> Views | None:
    """Where guidance is kept, with everything that it follows from beside the mixture: guides, examples, their code."""
    if config.views is None:
        return None
    settings: dict[str, Any] = {key: plain(config[key], resolve=False) for key in ("soi", "interference", "examples")}
    settings["guides"] = plain(config.separator).get("guides")
    settings["code"] = code_version(targets(settings))
    return Views(Path(str(config.views)), settings)
