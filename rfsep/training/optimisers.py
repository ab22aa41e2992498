"""The optimiser and learning rate of every objective."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from pytorch_lightning.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from rfsep.types import InputError

Decay = Callable[[int], float]
"""Learning-rate factor of an optimiser step."""

Optimiser = Callable[..., torch.optim.Optimizer]
"""Makes an optimiser of parameters and ``lr``."""


def warmup_cosine(step: int, warmup_steps: int, max_steps: int) -> float:
    """Returns the learning-rate factor: linear over ``warmup_steps``, then half a cosine down to zero at ``max_steps``.

    >>> [round(warmup_cosine(s, 10, 110), 3) for s in (0, 9, 60, 110)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))))


def constant(step: int) -> float:
    """Returns 1, for no decay, as for the published WaveNets."""
    return 1.0


def step_decay(step: int, at: Sequence[int], factor: float) -> float:
    """Returns ``factor`` to the power of the reached steps of ``at``, as for the published SOI-matched heads.

    >>> [step_decay(s, [10, 20], 0.5) for s in (9, 10, 20)]
    [1.0, 0.5, 0.25]
    """
    return factor ** sum(step >= change for change in at)


def epoch_decay(step: int, steps_per_epoch: float, first_epoch: int, rate: float) -> float:
    """Returns ``exp(-rate)`` per epoch from ``first_epoch`` (counted from 0) on, as for the published U-Nets.

    Data are endless here, so an epoch is the number of steps in the published data set.

    >>> [round(epoch_decay(s, 100, 10, 0.04), 3) for s in (999, 1000, 1199, 1200)]
    [1.0, 0.961, 0.923, 0.887]
    """
    return math.exp(-rate * max(0, int(step / steps_per_epoch) - first_epoch + 1))


class Plateau(NamedTuple):
    """Lowers the rate when validation stops improving, as the RF Challenge's WaveNet does with torch's defaults.

    Attributes:
        factor: factor of the rate each time.
        patience: tolerated validations in a row without improvement; the next one lowers the rate.
        threshold: an improvement lowers the mean squared error (``val/mse``, not in dB) by this share.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4


class Optimisation(NamedTuple):
    """Settings of an objective's minimisation.

    Attributes:
        learning_rate: peak rate of AdamW, which is Adam if ``weight_decay`` is 0.
        warmup_steps: steps until the peak.
        max_steps: steps until the cosine reaches zero.
        weight_decay: weight decay of AdamW.
        decay: factor of each step after the warm-up; None for the cosine.
        optimiser: replaces AdamW.
        plateau: replaces warm-up and decay.
    """

    learning_rate: float
    warmup_steps: int
    max_steps: int
    weight_decay: float = 0.0
    decay: Decay | None = None
    optimiser: Optimiser | None = None
    plateau: Plateau | None = None

    def factor(self, step: int) -> float:
        """Returns the learning-rate factor of a step."""
        if self.decay is None or step < self.warmup_steps:
            return warmup_cosine(step, self.warmup_steps, self.max_steps)
        return self.decay(step)


def adamw(parameters: Iterable[nn.Parameter], optimisation: Optimisation) -> OptimizerLRSchedulerConfig:
    """Returns AdamW, or the given optimiser, for trainable parameters, with a rate set by step or validation.

    Raises:
        InputError: a plateau is combined with a warm-up or a decay.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if optimisation.optimiser is not None:
        optimiser = optimisation.optimiser(learning, lr=optimisation.learning_rate)
    else:
        optimiser = torch.optim.AdamW(learning, lr=optimisation.learning_rate, weight_decay=optimisation.weight_decay)
    if optimisation.plateau is not None:
        if optimisation.warmup_steps or optimisation.decay is not None:
            raise InputError("plateau takes the place of decay and warm-up: give decay=null and warmup_steps=0")
        return {"optimizer": optimiser, "lr_scheduler": _on_plateau(optimiser, optimisation.plateau)}
    # A plain function: LambdaLR would put the attributes of any other callable into every checkpoint.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: optimisation.factor(step))
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _on_plateau(optimiser: torch.optim.Optimizer, plateau: Plateau) -> LRSchedulerConfigType:
    """Returns a schedule whose state Lightning keeps, and which `rfsep.training.callbacks.PlateauSteps` steps."""
    return {
        "scheduler": ReduceLROnPlateau(optimiser, "min", plateau.factor, plateau.patience, plateau.threshold),
        "monitor": "val/mse",
        "interval": "epoch",
        "frequency": sys.maxsize,  # Lightning itself never steps it.
    }
