"""Adam in the eigenbasis of the gradients, for layers with similar inputs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_LONGEST = 600  # longest axis that is turned; the cost of a step grows with weights times axis
_EPSILON = 1e-8  # added to root mean squares, as in Adam


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of the gradient's covariances, one covariance per axis of a weight tensor.

    The inputs of a layer may be nearly equal, such as one cosine over neighbouring thresholds. Their difference then
    has small gradients that large ones hide from Adam. In the eigenbasis it is an axis of its own (Vyas et al., "SOAP:
    improving and stabilizing Shampoo using Adam", arXiv 2409.11321, algorithm 3, with a covariance for each axis of a
    convolution). Biases are not turned. The first step only measures.

    Args:
        parameters: trainable parameters.
        lr: step size.
        decay: decay of the moving averages of gradient, its square and covariances.
        every: steps between updates of the eigenvectors by a step of the power method.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, decay: float = 0.95, every: int = 20) -> None:
        super().__init__(parameters, {"lr": lr, "decay": decay, "every": every})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Makes a step, after the closure that computes the gradients, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    direction = _direction(
                        self.state[parameter], parameter.grad.squeeze(), group["decay"], group["every"]
                    )
                    parameter.sub_(direction.reshape(parameter.shape), alpha=group["lr"])
        return loss


def _direction(state: dict[str, Any], gradient: Tensor, decay: float, every: int) -> Tensor:
    """Returns the step float [...] of a gradient; the state holds ``covariances`` and ``turns`` per axis."""
    if not state:
        turned = [gradient.ndim > 1 and length <= _LONGEST for length in gradient.shape]
        state.update(steps=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
        state["covariances"] = [_covariance(gradient, axis) if turn else None for axis, turn in enumerate(turned)]
        state["turns"] = [None if one is None else torch.linalg.eigh(one)[1].flip(1) for one in state["covariances"]]
        return torch.zeros_like(gradient)
    state["steps"] += 1
    state["mean"].lerp_(gradient, 1 - decay)
    for axis, covariance in enumerate(state["covariances"]):
        if covariance is not None:
            covariance.lerp_(_covariance(gradient, axis), 1 - decay)
    state["square"].lerp_(_turned(gradient, state["turns"]).square(), 1 - decay)
    unbiased = 1 - decay ** state["steps"]
    scale = (state["square"] / unbiased).sqrt_().add_(_EPSILON)
    step = _turned(_turned(state["mean"] / unbiased, state["turns"]) / scale, state["turns"], back=True)
    if state["steps"] % every == 0:
        _follow(state)
    return step


def _covariance(gradient: Tensor, axis: int) -> Tensor:
    """Sums products over all other axes: float [L, L] of an axis of length L."""
    rows = gradient.movedim(axis, 0).flatten(1)  # [L, ...]
    return rows @ rows.T


def _turned(values: Tensor, turns: list[Tensor | None], back: bool = False) -> Tensor:
    """Turns every axis into the basis of its eigenvectors, columns of ``turns``, or back; axes without are kept."""
    for turn in turns:  # The first axis goes last each time, so that all are turned in order.
        values = values.movedim(0, -1) if turn is None else torch.tensordot(values, turn, ([0], [int(back)]))
    return values


def _follow(state: dict[str, Any]) -> None:
    """Updates the eigenvectors towards those of the present covariances, the largest first."""
    for axis, (covariance, turn) in enumerate(zip(state["covariances"], state["turns"], strict=True)):
        if covariance is not None:
            ahead = covariance @ turn  # [L, L]
            order = (turn * ahead).sum(0).argsort(descending=True)
            state["square"] = state["square"].index_select(axis, order)
            state["turns"][axis] = torch.linalg.qr(ahead[:, order])[0]
