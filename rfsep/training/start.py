"""Prepares a network before its first step: copies weights of another one, and compiles."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rfsep.types import InputError

_SHOWN = 5  # names per line


class Taken(NamedTuple):
    """The extent to which weights of another model were copied.

    Attributes:
        copied: number of copied tensors.
        of: number of the model's tensors.
        left: names of given tensors without a match by name and shape.
    """

    copied: int
    of: int
    left: list[str]

    def told(self, source: str | Path) -> str:
        """Tells people what was copied from a source and what was not.

        >>> Taken(124, 126, ["head.weight", "head.bias"]).told("a.pt")
        '124 of 126 weights from a.pt; not taken: head.weight, head.bias'
        """
        shown = ", ".join(self.left[:_SHOWN]) + (f" and {len(self.left) - _SHOWN} more" if self.left[_SHOWN:] else "")
        return f"{self.copied} of {self.of} weights from {source}" + (f"; not taken: {shown}" if self.left else "")


def start_from(model: nn.Module, weights: Mapping[str, Tensor], source: str | Path, share: float = 1.0) -> Taken:
    """Copies weights of the same name and shape into a model.

    A network that has learned one thing for long learns another one more slowly than a fresh one does. With a share
    below 1 it starts from ``share * weight + (1 - share) * fresh weight`` and keeps what is useful (shrink and perturb,
    Ash & Adams, NeurIPS 2020).

    Args:
        model: the model to change, with its fresh weights.
        weights: weights of another model, by name.
        source: their origin, for the message.
        share: above 0 and up to 1.

    Raises:
        InputError: nothing matches, or the share is out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"init_share is {share:g}, expected more than 0 and at most 1")
    own = model.state_dict()
    matching = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not matching:
        raise InputError(
            f"init_from={source}: none of its {len(weights)} tensors has the name and shape of a weight here"
        )
    if share < 1:
        matching = {
            name: torch.lerp(own[name], value.to(own[name]), share) if value.is_floating_point() else value
            for name, value in matching.items()
        }
    model.load_state_dict(matching, strict=False)
    return Taken(len(matching), len(own), [name for name in weights if name not in matching])


def compile_model(model: nn.Module) -> None:
    """Compiles the methods that objectives call, in place, so that weights keep their names.

    Nothing happens before the first call. Models with a bit head are called through ``estimate_and_logits``.
    """
    model.compile()
    if (with_bits := getattr(model, "estimate_and_logits", None)) is not None:
        vars(model)["estimate_and_logits"] = torch.compile(with_bits)
