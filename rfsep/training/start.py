"""What is done to a network before its first step: weights of another one, compilation."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rfsep.types import InputError


_SHOWN = 5  # names in a line


class Taken(NamedTuple):
    """How much of a model came from another one.

    Attributes:
        copied: tensors that were copied.
        of: tensors that the model has.
        left: names of those given that have no place in it, by name and shape.
    """

    copied: int
    of: int
    left: list[str]

    def told(self, source: str | Path) -> str:
        """What was copied from a source and what was not, for people.

        >>> Taken(124, 126, ["head.weight", "head.bias"]).told("a.pt")
        '124 of 126 weights from a.pt; not taken: head.weight, head.bias'
        """
        shown = ", ".join(self.left[:_SHOWN]) + (f" and {len(self.left) - _SHOWN} more" if self.left[_SHOWN:] else "")
        return f"{self.copied} of {self.of} weights from {source}" + (f"; not taken: {shown}" if self.left else "")


def start_from(model: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> Taken:
    """Copy into a model the weights that it has too: those of the same name and shape.

    Args:
        model: is changed.
        weights: of another model, by name.
        source: where they come from, for the refusal.

    Raises:
        InputError: nothing matches.
    """
    own = model.state_dict()
    matching = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not matching:
        raise InputError(
            f"init_from={source}: none of its {len(weights)} tensors has the name and shape of a weight here"
        )
    model.load_state_dict(matching, strict=False)
    return Taken(len(matching), len(own), [name for name in weights if name not in matching])


def compile_model(model: nn.Module) -> None:
    """Compile what objectives call of a model, in place, so that its weights keep their names.

    Nothing happens before the first call. Models with a bit head are called through ``estimate_and_logits``.
    """
    model.compile()
    if (with_bits := getattr(model, "estimate_and_logits", None)) is not None:
        vars(model)["estimate_and_logits"] = torch.compile(with_bits)
