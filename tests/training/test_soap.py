"""SOAP: turned axes, a first step that only measures, problems on which Adam is slow, and resuming."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rfsep.training.soap import Soap, _follow, _turned


def test_turning_and_back_is_nothing() -> None:
    torch.manual_seed(0)
    values = torch.randn(3, 7, 4)
    turns = [torch.linalg.qr(torch.randn(3, 3))[0], None, torch.linalg.qr(torch.randn(4, 4))[0]]
    turned = _turned(values, turns)
    assert torch.allclose(turned, torch.einsum("ijk,ia,kb->ajb", values, turns[0], turns[2]), atol=1e-5)
    assert torch.allclose(_turned(turned, turns, back=True), values, atol=1e-5)


def regression(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]) -> float:
    """Error after 200 steps of regression on what tells inputs apart that are nearly the same, relative to none."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(20, 3, generator=generator)
    weight = nn.Parameter(torch.zeros(3, 20))
    optimiser = make([weight])
    for _ in range(200):
        inputs = torch.randn(64, 1, generator=generator) + 0.05 * torch.randn(64, 20, generator=generator)
        targets = (inputs - inputs.mean(1, keepdim=True)) @ truth  # [64, 3]
        optimiser.zero_grad()
        loss = (inputs @ weight.T - targets).square().mean()
        loss.backward()
        optimiser.step()
    return float(loss.detach() / targets.square().mean())


def test_inputs_that_are_nearly_the_same_are_told_apart_sooner_than_by_adam() -> None:
    assert regression(lambda weights: Soap(weights, lr=0.03)) < 0.02
    assert regression(lambda weights: torch.optim.Adam(weights, lr=0.03, betas=(0.95, 0.95))) > 0.5


def steps(weight: nn.Parameter, optimiser: Soap, count: int, first: int = 0) -> Tensor:
    for step in range(first, first + count):
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
        optimiser.step()
    return weight.detach().clone()


def test_the_first_step_only_measures_and_a_resumed_run_is_the_same() -> None:
    whole, half = nn.Parameter(torch.zeros(4, 6, 1, 3)), nn.Parameter(torch.zeros(4, 6, 1, 3))
    optimiser = Soap([whole], lr=0.1, every=4)
    assert not steps(whole, optimiser, 1).any()
    end = steps(whole, optimiser, 9, 1)
    before = Soap([half], lr=0.1, every=4)
    steps(half, before, 5)
    after = Soap([half], lr=0.1, every=4)
    after.load_state_dict(before.state_dict())
    assert torch.equal(steps(half, after, 5, 5), end)
    assert end.abs().max() > 0.1


def test_mean_squares_go_with_their_eigenvectors() -> None:
    covariance = torch.diag(torch.tensor([1.0, 5.0]))
    square = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    state = {"covariances": [covariance, None], "turns": [torch.eye(2), None], "square": square}
    _follow(state)
    assert state["turns"][0].abs().tolist() == [[0.0, 1.0], [1.0, 0.0]]  # the larger one in front
    assert state["square"].tolist() == [[2.0, 2.0], [1.0, 1.0]]
