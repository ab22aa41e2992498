"""The kinds of network, by ``kind:`` in conf/model: which inputs each sees, and which arguments go with it.

A new kind is one class here, and its name in `KINDS`.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from rfsep.app.config import build_modem, example_frames, instantiate, separator_of
from rfsep.app.networks.export import Exported, fitting
from rfsep.app.settings import NetworkConfig, Node, TrainSettings
from rfsep.challenge.provenance import code_version, targets
from rfsep.training.views import Views
from rfsep.types import InputError, Modem, Separator


class Kind(Protocol):
    """One kind of network."""

    def inputs(self, config: NetworkConfig, model: nn.Module) -> list[Tensor]:
        """Returns the inputs of a forward pass over one training window, to count its cost."""
        ...

    def objective_arguments(self, settings: TrainSettings, model: nn.Module) -> dict[str, Any]:
        """Returns the objective's arguments besides its network."""
        ...

    def separator_arguments(
        self, config: NetworkConfig, model: nn.Module, method: Node, modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """Returns the separator's arguments besides modem and examples.

        Raises:
            InputError: networks of this kind separate nothing.
        """
        ...

    def signal(self, config: NetworkConfig) -> Node:
        """Returns the parts of the config that name the learned signal; empty for networks that see mixtures."""
        ...


class Waveform:
    """Sees mixtures float32 [B, 2, T], or [B, 4, T] with a guide's estimate, and returns the SOI's waveform."""

    def inputs(self, config: NetworkConfig, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        channels = 2 if config.guide is None else 4
        return [torch.zeros((1, channels, config.num_samples))]

    def objective_arguments(self, settings: TrainSettings, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        config, modem = settings.network, build_modem(settings.mixing.soi)
        # Check before the training that the separator can be made.
        if config.separator is not None:
            nothing = torch.zeros((0, 0), dtype=torch.complex64)
            block = {} if "block" in config.separator else {"block": config.num_samples}
            instantiate(config.separator, modem=modem, examples=nothing, model=model, **block)
        guide = None
        if config.guide is not None:
            examples = example_frames(settings.mixing.interference, settings.examples)
            guide = _guide(config.guide, modem, examples)
        return {"modem": modem, "guide": guide}

    def separator_arguments(
        self, config: NetworkConfig, model: nn.Module, method: Node, modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """Returns network, window, guide, and the network's export if there is one and ``fast`` allows it."""
        arguments: dict[str, Any] = {"model": model, "block": method.get("block") or config.num_samples}
        if config.guide is not None:
            arguments["guide"] = _guide(config.guide, modem, examples)
        if (found := exported(config, model, method)) is not None:
            arguments["fast"] = found
        return arguments

    def signal(self, config: NetworkConfig) -> Node:
        """See `Kind`."""
        return {}


class Tokens:
    """Sees a mixture that its own separator has cut into tokens."""

    def inputs(self, config: NetworkConfig, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        return _example_inputs(config, model)

    def objective_arguments(self, settings: TrainSettings, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        config, modem = settings.network, build_modem(settings.mixing.soi)
        if config.separator is None:
            name = config.model.name
            raise InputError(f"model {name} sees tokens: separator must say which, see conf/experiment/aligned")
        examples = example_frames(settings.mixing.interference, settings.examples)
        separator = instantiate(config.separator, modem=modem, examples=examples, model=model)
        return {"modem": modem, "separator": separator, "views": _kept_views(settings)}

    def separator_arguments(
        self, config: NetworkConfig, model: nn.Module, method: Node, modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """See `Kind`."""
        if config.guide is not None:
            target = method["_target_"]
            raise InputError(f"{target} takes no guide, and the network was trained with guide={config.guide}")
        return {"model": model}

    def signal(self, config: NetworkConfig) -> Node:
        """See `Kind`."""
        return {}


class Prior:
    """A diffusion prior: finds the noise in a signal, given the noise level."""

    def inputs(self, config: NetworkConfig, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        return _example_inputs(config, model)

    def objective_arguments(self, settings: TrainSettings, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        return {}

    def separator_arguments(
        self, config: NetworkConfig, model: nn.Module, method: Node, modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """See `Kind`."""
        raise InputError(f"model {config.model.name} is a prior of one signal, which separates nothing by itself")

    def signal(self, config: NetworkConfig) -> Node:
        """Returns the learned signal, the symbol period that it is aligned to, and its noise levels."""
        return _signal(config, ("which", "period", "schedule"))


class Tokenizer:
    """A discrete autoencoder of one signal."""

    def inputs(self, config: NetworkConfig, model: nn.Module) -> list[Tensor]:
        """See `Kind`."""
        return [torch.zeros((1, 2, config.num_samples))]

    def objective_arguments(self, settings: TrainSettings, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        return {"fresh": settings.init_from is None}

    def separator_arguments(
        self, config: NetworkConfig, model: nn.Module, method: Node, modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """See `Kind`."""
        raise InputError(f"model {config.model.name} makes tokens of one signal, and separates nothing by itself")

    def signal(self, config: NetworkConfig) -> Node:
        """Returns the learned signal."""
        return _signal(config, ("which",))


class Timing:
    """Tells the interference's timing in windows of one length."""

    def inputs(self, config: NetworkConfig, model: nn.Module) -> list[Tensor]:
        """See `Kind`.

        Raises:
            InputError: the training windows have another length.
        """
        seen, given = int(cast(Any, model).num_samples), config.num_samples
        if seen != given:
            raise InputError(f"model {config.model.name} sees {seen} samples, and data.num_samples is {given}")
        return [torch.zeros((1, 2, given))]

    def objective_arguments(self, settings: TrainSettings, model: nn.Module) -> dict[str, Any]:
        """See `Kind`."""
        return {}

    def separator_arguments(
        self, config: NetworkConfig, model: nn.Module, method: Node, modem: Modem, examples: Tensor
    ) -> dict[str, Any]:
        """See `Kind`."""
        raise InputError(f"model {config.model.name} tells a timing, and separates nothing by itself")

    def signal(self, config: NetworkConfig) -> Node:
        """See `Kind`."""
        return {}


KINDS: dict[str, Kind] = {
    "waveform": Waveform(),
    "tokens": Tokens(),
    "prior": Prior(),
    "tokenizer": Tokenizer(),
    "timing": Timing(),
}


def kind_of(config: NetworkConfig) -> Kind:
    """Returns the kind of a network.

    Raises:
        InputError: its model names none of `KINDS`.
    """
    name = config.model.kind
    if name not in KINDS:
        raise InputError(f"model {config.model.name} has kind: {name}; choose one of {', '.join(KINDS)}")
    return KINDS[name]


def learned_signal(config: NetworkConfig, kind: str, source: str) -> Node:
    """Returns the objective's settings of a network of one signal, with ``which``: soi or interference.

    Args:
        config: config of a run or of an exported network.
        kind: kind that the network must have: prior or tokenizer.
        source: source of the network, for the error message.

    Raises:
        InputError: it is of another kind.
    """
    if config.model.kind != kind:
        learns = {"prior": "objective=ddpm", "tokenizer": "objective=tokenizer"}[kind]
        raise InputError(f"{source}: holds a network that is not a {kind}, which {learns} trains")
    settings: Node = KINDS[kind].signal(config)["objective"]["module"]
    return settings


def exported(config: NetworkConfig, model: nn.Module, method: Node) -> Exported | None:
    """Returns the export that replaces a run's network; None if there is none, or the separator declines it."""
    if config.model.kind != "waveform" or "fast" in method:
        return None
    return fitting(model, config, method.get("block") or config.num_samples)


def _guide(name: str, modem: Modem, examples: Tensor) -> Separator:
    return cast(Separator, instantiate(separator_of(name).method, modem=modem, examples=examples))


def _example_inputs(config: NetworkConfig, model: nn.Module) -> list[Tensor]:
    found: list[Tensor] = cast(Any, model).example_inputs(config.num_samples)
    return found


def _signal(config: NetworkConfig, keys: tuple[str, ...]) -> Node:
    """Returns the settings of an objective of one signal, and that signal's own settings where the run has them."""
    settings = {key: config.objective.get(key) for key in keys}
    which = str(settings["which"])
    own = config.signal(which)
    return {"objective": {"module": settings}} | ({} if own is None else {which: own})


def _kept_views(settings: TrainSettings) -> Views | None:
    """Returns the cache of guidance, keyed by everything besides the mixture: guides, examples, their code."""
    if settings.views is None:
        return None
    known: Node = {key: settings.identity[key] for key in ("soi", "interference", "examples")}
    known["guides"] = (settings.network.separator or {}).get("guides")
    known["code"] = code_version(targets(known))
    return Views(settings.views, known)
