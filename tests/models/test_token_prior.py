"""What a token of the token prior sees."""

import pytest
import torch

from rfsep.models.token_prior import TokenPrior


@pytest.mark.parametrize("kernel", [1, 3])
def test_tokens_apart_do_not_see_each_other(kernel: int) -> None:
    torch.manual_seed(0)
    model = TokenPrior(16, width=40, depth=1, kernel=kernel)
    for layer in (model.enter, model.leave, model.blocks[0].down):
        torch.nn.init.normal_(layer.weight, std=0.1)  # type: ignore[arg-type]
    noisy = torch.randn(1, 2, 160, requires_grad=True)
    model(noisy, torch.tensor([9]))[:, :, 64:80].square().sum().backward()
    assert noisy.grad is not None
    seen = noisy.grad.abs().sum((0, 1)).view(10, 16).amax(1).nonzero().flatten().tolist()
    assert seen == ([4] if kernel == 1 else list(range(1, 8)))


def test_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match="width 30 is too narrow for tokens of 16 complex samples"):
        TokenPrior(16, width=30)
