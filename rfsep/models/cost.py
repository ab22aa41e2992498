"""What a network costs."""

import torch
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(model: torch.nn.Module, num_samples: int, guided: bool) -> float:
    """Floating-point operations a sample of a forward pass over a window (a multiply-accumulate counts two)."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros((1, 4 if guided else 2, num_samples)))
    model.train(was_training)
    return float(counter.get_total_flops()) / num_samples
