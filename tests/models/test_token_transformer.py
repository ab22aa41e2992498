"""An untrained network returns its prior; attention knows distances, and phases have maps of their own."""

import torch

from rfsep.models.token_transformer import TokenTransformer


def network(**changes: int) -> TokenTransformer:
    torch.manual_seed(0)
    return TokenTransformer(12, num_bits=6, **{"width": 32, "depth": 2, "heads": 4, "period": 20, **changes})


def tokens(count: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    phase = torch.randint(0, 16, (3, 1), generator=generator).expand(3, count)
    inputs, prior = torch.randn(3, count, 12, generator=generator), torch.randn(3, count, 6, generator=generator)
    return inputs, phase, torch.zeros((3, count), dtype=torch.int64), prior


def test_untrained_network_returns_its_prior() -> None:
    inputs, phase, edge, prior = tokens()
    assert torch.equal(network()(inputs, phase, edge, prior), prior)


def test_one_map_a_phase_whether_it_is_constant_or_not() -> None:
    model = network()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    inputs, phase, edge, prior = tokens()
    mixed = phase.clone()
    mixed[0, -1] = (mixed[0, -1] + 1) % 16  # the last token of one row: the general path is taken for all
    constant, varying = model(inputs, phase, edge, prior), model(inputs, mixed, edge, prior)
    assert torch.allclose(constant[1:], varying[1:], atol=1e-4)
    assert not torch.allclose(constant[0], varying[0], atol=1e-2)


def test_every_weight_learns_once_the_last_layers_do() -> None:
    model = network()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    inputs, phase, edge, prior = tokens()
    model(inputs, phase, edge, prior).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_only_distances_matter() -> None:
    """Tokens at the same distances give the same logits wherever they stand, beyond the reach of either end."""
    model = network(depth=1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    inputs, phase, edge, prior = tokens(5)
    alone = model(inputs, phase, edge, prior)
    twice = [torch.cat((field, field), 0) for field in (inputs, phase, edge, prior)]
    assert torch.allclose(model(*twice)[3:], alone, atol=1e-5)
    turned = [field.flip(1) for field in (inputs, phase, edge, prior)]
    assert not torch.allclose(model(*turned).flip(1), alone, atol=1e-3)  # left is not right
