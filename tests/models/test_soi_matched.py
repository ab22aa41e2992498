"""SOI-matched heads: they can hold the true modulator, their logits are the modem's bits, stages."""

import pytest
import torch
from torch import Tensor

from rfsep.iq import from_channels, to_channels
from rfsep.models.soi_matched import OfdmHead, QpskHead, SoiMatched
from rfsep.models.wavenet import WaveNet
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem


def small(head: QpskHead | OfdmHead, stage: int = 3) -> SoiMatched:
    return SoiMatched(WaveNet(channels=8, blocks=3), head, stage)


def set_gray(head: QpskHead | OfdmHead) -> None:
    """The challenge's constellation: bit 0 is positive, a bit a part."""
    head.constellation.weight.data = -(2**0.5) * torch.eye(2)
    head.constellation.bias.data[:] = 0.5**0.5


def random_bits(modem: LinearModem | OfdmModem, num_samples: int) -> Tensor:
    return torch.randint(0, 2, (3, modem.num_bits(num_samples)), dtype=torch.uint8)


def test_qpsk_decoder_can_be_the_modulator() -> None:
    torch.manual_seed(0)
    modem, head = LinearModem(), QpskHead(8)
    set_gray(head)
    single = modem.modulate(torch.zeros((1, 2 * 9), dtype=torch.uint8)) - modem.modulate(
        torch.tensor([[0] * 8 + [1, 1] + [0] * 8], dtype=torch.uint8)
    )
    pulse = single.real[0] / 2**0.5  # the fifth symbol's alone, 72 samples in
    head.pulse.weight.data.zero_()
    head.pulse.weight.data[0, 0, :] = head.pulse.weight.data[1, 1, :] = pulse[72 - 64 : 72 + 65]
    bits = random_bits(modem, 320)
    assert torch.allclose(from_channels(head.decode(bits.float())), modem.modulate(bits), atol=1e-5)


def test_ofdm_decoder_can_be_the_modulator() -> None:
    torch.manual_seed(0)
    modem, head = OfdmModem(), OfdmHead(8)
    set_gray(head)
    carriers = modem.synthesise(torch.eye(56, dtype=torch.complex64), 80)  # [56, 80]
    columns = torch.stack((carriers, 1j * carriers), 1).flatten(0, 1)  # of real and imaginary parts: [112, 80]
    head.transform.weight.data = torch.view_as_real(columns).flatten(1).T.contiguous()  # [160, 112]
    bits = random_bits(modem, 320)
    assert torch.allclose(from_channels(head.decode(bits.float())), modem.modulate(bits), atol=1e-5)


@pytest.mark.parametrize("head", [QpskHead(8), OfdmHead(8)])
def test_logits_come_symbol_by_symbol(head: QpskHead | OfdmHead) -> None:
    """Those of symbol 5 see its samples (for QPSK, four kernels of 5 reach 30 to each side of its first)."""
    per, period = head.bits_per_symbol, head.symbol_period
    features = torch.randn(1, 8, 1, 10 * period, requires_grad=True)
    logits = head.encode(features)
    assert logits.shape == (1, 10 * per)
    logits[0, 5 * per : 6 * per].sum().backward()
    assert features.grad is not None
    reached = features.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    expected = (50, 110) if period == 16 else (400, 479)
    assert (int(reached.min()), int(reached.max())) == expected


@pytest.mark.parametrize("length", [160, 161, 168, 169, 200, 201, 640])
@pytest.mark.parametrize(("head", "modem"), [(QpskHead(8), LinearModem()), (OfdmHead(8), OfdmModem())])
def test_there_are_as_many_logits_as_bits(
    head: QpskHead | OfdmHead, modem: LinearModem | OfdmModem, length: int
) -> None:
    waveform, logits = small(head).estimate_and_logits(torch.randn(2, 2, length))
    assert waveform.shape == (2, 2, length)
    assert logits.shape == (2, modem.num_bits(length))
    assert waveform.dtype == logits.dtype == torch.float32


def test_waveform_has_the_amplitude_of_wavenets_own_estimate() -> None:
    """Twice the last convolution: half the logits, and the same soft bits twice as strong if the scale makes up."""
    torch.manual_seed(0)
    model, mixture = small(QpskHead(8)), torch.randn(2, 2, 160)
    torch.nn.init.normal_(model.backbone.head.weight)
    waveform, logits = model.estimate_and_logits(mixture)
    model.backbone.head.weight.data *= 2
    model.backbone.head.bias.data *= 2  # type: ignore[union-attr]
    model.scale.data *= 2
    twice, same = model.estimate_and_logits(mixture)
    assert torch.allclose(same, logits, rtol=1e-4)
    assert torch.allclose(twice, 2 * waveform, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", [QpskHead(8), OfdmHead(8)])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_stage_trains_its_part(head: QpskHead | OfdmHead, stage: int) -> None:
    torch.manual_seed(0)
    model, mixture = small(head, stage), torch.randn(2, 2, 160)
    torch.nn.init.normal_(model.backbone.head.weight)
    estimate = model(mixture)
    assert torch.equal(estimate, model.estimate_and_logits(mixture)[0])
    assert torch.equal(estimate, model.backbone(mixture)) == (stage == 1)
    estimate.square().mean().backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    every = {name for name, _ in model.named_parameters()}
    own = {name for name in every if name.startswith("backbone.")}
    assert moved == {1: own, 2: every - own, 3: every}[stage]
    assert every == {name for name, _ in small(head).named_parameters()}


def test_bfloat16_estimate_stays_near() -> None:
    torch.manual_seed(0)
    model, mixture = small(QpskHead(8)), to_channels(LinearModem().modulate(random_bits(LinearModem(), 320)))
    with torch.inference_mode():
        reference = model(mixture)
        with torch.autocast("cpu", torch.bfloat16):
            estimate = model(mixture)
    assert (estimate - reference).square().mean() < 1e-4 * reference.var()


def test_unknown_stage_is_named() -> None:
    with pytest.raises(ValueError, match="stage 4 is none of 1, 2, 3"):
        small(QpskHead(8), 4)
