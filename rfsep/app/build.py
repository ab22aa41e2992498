"""Builds separators from their YAMLs, networks, priors and example frames."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rfsep.app.channels import read_channel
from rfsep.app.config import (
    console,
    errors,
    example_frames,
    instantiate,
    interference_named,
    one_line,
    separator_named,
    separator_of,
)
from rfsep.app.failures import Failures
from rfsep.app.networks.kinds import exported, kind_of
from rfsep.app.networks.priors import open_beside
from rfsep.app.networks.runs import Run
from rfsep.app.settings import Frames, InterferenceOption, Node, SeparatorOption
from rfsep.app.trust import check_targets, read_interference
from rfsep.challenge.separate import SeparatorFactory
from rfsep.separators.selected import Selected
from rfsep.storage.mixture_files import MixtureFile
from rfsep.types import InputError, Modem


class Parts(NamedTuple):
    """A separator ready to be made, with facts for its card.

    Attributes:
        make: factory, see `SeparatorFactory`.
        oracle: the separator is told the SINR.
    """

    make: SeparatorFactory
    oracle: bool


def separator_parts(
    option: SeparatorOption,
    modem: Modem,
    examples: torch.Tensor,
    extra: Mapping[str, Any],
    failures: Failures | None = None,
) -> Parts:
    """Returns a separator's factory and facts.

    Args:
        option: option of the separator, see `completed`.
        modem: modem of the SOI.
        examples: frames of the interference, complex64 [F, T].
        extra: further constructor arguments: a model, a given autocorrelation, the interference's modem.
        failures: collects the candidates of a selection that broke; None to report each in a line.
    """
    oracle = option.method.get("sinr") == "known"
    arguments = dict(extra)
    if option.interference is not None:
        arguments["interference"] = read_interference(Path(option.interference))
    arguments |= {key: open_beside(key, run) for key, run in option.beside.items() if run is not None}

    def make(sinr_db: float | None) -> Any:
        if option.learned:
            raise InputError(f"separator {option.name} is in a folder of rfsep learn, which run= (--run) has to name")
        told = {"sinr_db": sinr_db} if oracle else {}
        made = instantiate(option.method, modem=modem, examples=examples, **arguments, **told)
        if isinstance(made, Selected):
            tried = ", ".join(f"{name} {error:.2f}" for name, error in made.errors_db.items())
            console.print(f"{option.name}: {made.chosen} ({tried} dB on trial)")
            for name, error in made.faults.items():
                if failures is None:
                    errors.print(f"{option.name}: {name} is left out: {type(error).__name__}: {one_line(error)}")
                else:
                    failures.note(f"{option.name}: {name}", error)
        return made

    return Parts(make, oracle)


def interference_in(mixtures: MixtureFile) -> InterferenceOption:
    """Returns the option of the interference in a test set's mixtures, through the channel that their file names.

    Raises:
        InputError: conf/interference does not know it, or the channel is none.
    """
    named = interference_named(mixtures.interference)
    if not mixtures.interference_channel:
        return named
    channel = read_channel(mixtures.interference_channel, mixtures.path)
    return replace(named, settings={**named.settings, "channel": channel})


def frames_to_learn_from(mixtures: MixtureFile, frames: Frames, needed: bool) -> torch.Tensor:
    """Returns frames of the interference in mixtures, through its channel; none for a separator that needs none."""
    if not needed:
        return torch.zeros((0, 0), dtype=torch.complex64)
    return example_frames(interference_in(mixtures), frames)


def completed(option: SeparatorOption, run: Run | None) -> SeparatorOption:
    """Returns a separator's option with its references filled in: the methods of its candidates, its run's separator.

    The separator that a run was trained for stands in place of the method; settings that the command line or an
    experiment changed in the method still hold. Such a separator may learn from examples. With ``fast: false`` the
    network runs as it is, whatever was exported.

    Args:
        option: option of the separator.
        run: None for a separator without a network.
    """
    if option.candidates:
        methods = {name: {**separator_of(name).method, "_partial_": True} for name in option.candidates}
        option = replace(option, method={**option.method, "candidates": methods})
    own = None if run is None else run.config.separator
    if own is not None:
        usual = separator_named(option.name).method
        changed = {key: value for key, value in option.method.items() if key not in usual or usual[key] != value}
        option = replace(option, method={**own, **changed}, learns=True)
    if not option.fast and run is not None and run.config.model.kind == "waveform":
        option = replace(option, method={**option.method, "fast": None})
    return option


def learns_from_examples(option: SeparatorOption, run: Run | None) -> bool:
    """Tells whether a separator, or the guide of its network, asks for example frames of the interference."""
    guide = None if run is None else run.config.guide
    return (option.learns and option.interference is None) or (guide is not None and separator_of(guide).learns)


def network_arguments(method: Node, run: Run | None, modem: Modem, examples: torch.Tensor) -> dict[str, Any]:
    """Returns a separator's arguments from a run, see `rfsep.app.networks.kinds.Kind.separator_arguments`.

    Args:
        method: the separator's ``_target_`` and arguments; arguments given here are left alone.
        run: None for a separator without a network.
        modem: modem of the SOI, for the guide.
        examples: frames of the interference, for the guide.
    """
    if run is None:
        return {}
    return kind_of(run.config).separator_arguments(run.config, run.model, method, modem, examples)


def export_name(option: SeparatorOption, run: Run | None) -> str | None:
    """Returns the name in provenance of the export that replaces a run's network; None where the network itself runs.

    Args:
        option: option of the separator.
        run: None for a separator without a network.
    """
    found = None if run is None else exported(run.config, run.model, completed(option, run).method)
    return None if found is None else found.name


def check_separator(node: Any, kind: str) -> None:
    """Checks before the training that a config's ``separator`` may be made around a network.

    Args:
        node: this part of the config, plain.
        kind: kind of the network.

    Raises:
        InputError: it is no separator of ours, or the network is shown neither mixtures nor tokens.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        raise InputError(f"separator is {node!r}, expected a mapping with _target_")
    if kind not in ("waveform", "tokens"):
        raise InputError(f"separator is given, and a model of kind {kind} goes into none of its own")
    check_targets(node, Path("separator"), ("rfsep.separators.",))
