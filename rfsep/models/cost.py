"""The cost of a network."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(model: torch.nn.Module, inputs: Sequence[Tensor]) -> float:
    """Counts floating-point operations of a forward pass (a multiply-accumulate counts two)."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    model.train(was_training)
    return float(counter.get_total_flops())
