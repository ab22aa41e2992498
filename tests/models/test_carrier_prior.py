"""The carrier prior's coordinates, how it starts, and that it learns a constellation within seconds."""

import math

import torch

from rfsep.iq import to_channels
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.models.carrier_prior import CarrierPrior, symbol_transform
from rfsep.signals.diffusion_schedule import linear_schedule
from rfsep.signals.ofdm_modem import OfdmModem


def test_symbol_transform_is_orthonormal_and_shows_carriers() -> None:
    transform, modem = symbol_transform(80, 64), OfdmModem()
    assert torch.allclose(transform @ transform.T, torch.eye(160), atol=1e-5)
    waveform = modem.sample(3, 80, batch_generator(Purpose.TEST, 0)).waveform
    shown = transform @ to_channels(waveform).flatten(1).T  # [160, 3]
    values = torch.complex(shown[:80], shown[80:])[16:].T[:, modem.carriers]
    assert torch.allclose(values, modem.analyse(waveform), atol=1e-5)
    assert torch.equal(symbol_transform(16, 1), torch.eye(32))


def test_it_starts_as_the_best_estimate_of_a_white_gaussian_signal() -> None:
    schedule, generator = linear_schedule(), torch.Generator().manual_seed(0)
    model = CarrierPrior(8, 4)
    step = torch.tensor([3, 30, 49])
    noise = torch.randn((3, 2, 8000), generator=generator)
    noisy = schedule.noisy(torch.randn((3, 2, 8000), generator=generator), noise, step)
    found = model(noisy, step)
    assert torch.allclose(found, schedule.sigma[step][:, None, None] * noisy, atol=1e-5)
    assert torch.allclose((found - noise).square().mean((1, 2)), schedule.alpha_bar[step], atol=0.05)


def test_steps_between_two_lie_between_them() -> None:
    model = CarrierPrior(8, 4)
    amplitude, sigma = model._level(torch.tensor([7.0, 7.5, 8.0]))
    assert math.isclose(float(amplitude[1]), float(amplitude[0] + amplitude[2]) / 2, rel_tol=1e-6)
    assert torch.allclose(amplitude.square() + sigma.square(), torch.ones(3))


def test_tokens_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = CarrierPrior(16, 8)
    torch.nn.init.normal_(model.slicer.last.weight)
    noisy = torch.randn(1, 2, 160, requires_grad=True)
    model(noisy, torch.tensor([9]))[:, :, 64:80].square().sum().backward()
    assert noisy.grad is not None
    assert noisy.grad.abs().sum((0, 1)).view(10, 16).amax(1).nonzero().flatten().tolist() == [4]


def test_it_learns_a_constellation_within_seconds() -> None:
    """Below what the best linear estimate leaves at weak noise: that is decisions."""
    modem = OfdmModem("qpsk", fft_size=4, cyclic_prefix_length=1, num_guard_carriers=(0, 0), dc_null=False)
    schedule, generator = linear_schedule(), torch.Generator().manual_seed(1)
    torch.manual_seed(2)
    model = CarrierPrior(5, 4)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, betas=(0.9, 0.99))

    def loss(step: torch.Tensor) -> torch.Tensor:
        signal = to_channels(modem.sample(len(step), 40, generator).waveform)
        noise = torch.randn(signal.shape, generator=generator)
        return (model(schedule.noisy(signal, noise, step), step) - noise).square().mean((1, 2))

    for _ in range(400):
        optimizer.zero_grad()
        loss(torch.randint(5, 15, (64,), generator=generator)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert loss(torch.full((500,), 10)).mean() < 0.4  # four of five dimensions cannot be told linearly: 0.8


def test_what_the_network_finds_is_held_against_the_noise() -> None:
    """The same F weighs sqrt(alpha_bar) / sigma at every step, and no more than at sigma 0.05."""
    schedule, model = linear_schedule(), CarrierPrior(8, 4)
    torch.nn.init.ones_(model.slicer.last.bias)
    noisy, steps = torch.zeros(3, 2, 16), torch.tensor([0, 20, 49])
    with torch.no_grad():
        found = model(noisy, steps)
    weight = schedule.alpha_bar[steps].sqrt() / schedule.sigma[steps].clamp_min(0.05)
    torch.testing.assert_close(
        found / weight[:, None, None], found[:1].expand(3, -1, -1) / weight[0], rtol=1e-4, atol=1e-5
    )
    assert found.abs().max() > 1
