"""Separators made of what their YAMLs say, of networks, priors and example frames."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rfsep.app.config import console, errors, example_frames, instantiate, one_line, option, option_named, plain
from rfsep.app.failures import Failures
from rfsep.app.kinds import exported, kind_of
from rfsep.app.priors import PRIORS, open_prior
from rfsep.app.runs import Run
from rfsep.app.trust import check_targets, read_interference
from rfsep.challenge.separate import SeparatorFactory
from rfsep.separators.selected import Selected
from rfsep.types import InputError, Modem


class Parts(NamedTuple):
    """A separator ready to be made, and what its card tells.

    Attributes:
        make: factory, see `SeparatorFactory`.
        oracle: it is told the SINR.
    """

    make: SeparatorFactory
    oracle: bool


def separator_parts(
    config: Any, modem: Modem, examples: torch.Tensor, extra: Mapping[str, Any], failures: Failures | None = None
) -> Parts:
    """Factory of the separator that a conf/separator config names.

    Args:
        config: of the separator; ``interference`` of those that have it names a file of ``rfsep identify``, and its
            priors runs that learned them.
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T].
        extra: what else its constructor takes: a model, a given autocorrelation, the interference's modem.
        failures: told of candidates of a selection that broke; None: each is told in a line.
    """
    oracle = config.method.get("sinr") == "known"
    arguments = dict(extra)
    if (identified := config.get("interference")) is not None:
        arguments["interference"] = read_interference(Path(str(identified)))
    for name in PRIORS:
        if (run := config.get(name)) is not None:
            arguments[name] = open_prior(str(run)).prior

    def make(sinr_db: float | None) -> Any:
        told = {"sinr_db": sinr_db} if oracle else {}
        made = instantiate(config.method, modem=modem, examples=examples, **arguments, **told)
        if isinstance(made, Selected):
            tried = ", ".join(f"{name} {error:.2f}" for name, error in made.errors_db.items())
            console.print(f"{config.name}: {made.chosen} ({tried} dB on trial)")
            for name, error in made.faults.items():
                if failures is None:
                    errors.print(f"{config.name}: {name} is left out: {type(error).__name__}: {one_line(error)}")
                else:
                    failures.note(f"{config.name}: {name}", error)
        return made

    return Parts(make, oracle)


def frames_to_learn_from(config: Any, interference: str, needed: bool) -> torch.Tensor:
    """Frames of the interference for a separator that learns from them, none for others."""
    if not needed:
        return torch.zeros((0, 0), dtype=torch.complex64)
    return example_frames(option_named("interference", interference), **config.examples)


def completed(config: Any, run: Run | None) -> Any:
    """A conf/separator config with what it refers to: the methods of its candidates, the separator of its run.

    The separator that a run was trained for stands in place of the method; settings that the command line or an
    experiment changed in the method still hold. Such a separator may learn from examples. With ``fast: false`` the
    network runs as it is, whatever was exported.

    Args:
        config: of the separator, left as it is.
        run: None for a separator without a network.
    """
    if (names := config.get("candidates")) is not None:
        config = config.copy()
        methods = {str(name): plain(option("separator", str(name)).method) for name in names}
        config.method.candidates = {name: {**method, "_partial_": True} for name, method in methods.items()}
    own, plainly = None if run is None else run.config.get("separator"), not config.get("fast", True)
    if own is None and not plainly:
        return config
    usual = plain(option_named("separator", config.name).method)
    changed = {key: value for key, value in plain(config.method).items() if key not in usual or usual[key] != value}
    config = config.copy()
    if own is not None:
        config.method = {**plain(own), **changed}
        config.learns = True
    if plainly and run is not None and run.config.model.kind == "waveform":
        config.method = {**plain(config.method), "fast": None}
    return config


def learns_from_examples(config: Any, run: Run | None) -> bool:
    """Whether a separator, or the guide of its network, asks for example frames of the interference."""
    guide = None if run is None else run.config.get("guide")
    told = config.get("interference") is not None
    return (bool(config.learns) and not told) or (guide is not None and bool(option("separator", guide).learns))


def network_arguments(method: Any, run: Run | None, modem: Modem, examples: torch.Tensor) -> dict[str, Any]:
    """What the constructor of a separator takes of a run: see `rfsep.app.kinds.Kind.separator_arguments`.

    Args:
        method: of the separator, with ``_target_``; what it gives itself is left alone.
        run: None for a separator without a network.
        modem: of the SOI, for the guide.
        examples: of the interference, for the guide.
    """
    if run is None:
        return {}
    return kind_of(run.config).separator_arguments(run.config, run.model, plain(method), modem, examples)


def export_name(config: Any, run: Run | None) -> str | None:
    """What provenance calls the export that stands in for a run's network; None where the network itself runs.

    Args:
        config: of the separator.
        run: None for a separator without a network.
    """
    found = None if run is None else exported(run.config, run.model, plain(completed(config, run).method))
    return None if found is None else found.name


def check_separator(node: Any, kind: str) -> None:
    """Find out before the training whether a config's ``separator`` may be made around a network.

    Args:
        node: of the config, plain.
        kind: of the network.

    Raises:
        InputError: it is no separator of ours, or the network is shown neither mixtures nor tokens.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        raise InputError(f"separator is {node!r}, expected a mapping with _target_")
    if kind not in ("waveform", "tokens"):
        raise InputError(f"separator is given, and a model of kind {kind} goes into none of its own")
    check_targets(node, Path("separator"), ("rfsep.separators.",))
