"""Error rates told without the truth, against those counted, on symbols of plain NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.separators.inference.evidence import Fallback, heard, standing, tempered
from rfsep.signals.constellations import constellation, hard_bits
from rfsep.signals.linear_modem import LinearModem

QPSK = constellation("qpsk")
NUM_SYMBOLS = 4000


def sent(variance: float) -> tuple[Tensor, Tensor]:
    """Returns symbols in noise complex64 [1, S] and their bits uint8 [1, 2 S]; bit 0 lies on the positive side."""
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2, (NUM_SYMBOLS, 2))
    noise = rng.normal(size=(NUM_SYMBOLS, 2)) * np.sqrt(variance / 2)
    parts = (1 - 2 * bits) / np.sqrt(2) + noise
    symbols = torch.tensor(parts[:, 0] + 1j * parts[:, 1]).to(torch.complex64)[None]
    return symbols, torch.tensor(bits.ravel()).to(torch.uint8)[None]


@pytest.mark.parametrize("variance", [0.1, 0.5, 2.0])
def test_variance_of_an_error(variance: float) -> None:
    symbols, _ = sent(variance)
    assert float(heard(symbols, QPSK).variance.mean()) == pytest.approx(variance, rel=0.08)


@pytest.mark.parametrize("variance", [0.3, 1.0])
@pytest.mark.parametrize("spoilt", [0.0, 0.1, 0.4])
def test_error_rates_are_those_counted(variance: float, spoilt: float) -> None:
    symbols, bits = sent(variance)
    flips = torch.tensor(np.random.default_rng(5).random(bits.shape) < spoilt)
    told = standing(heard(symbols, QPSK), QPSK, bits ^ flips.byte())
    assert float(told.structured) == pytest.approx(float(flips.double().mean()), abs=0.05)
    assert float(told.linear) == pytest.approx(float((hard_bits(symbols, QPSK) != bits).double().mean()), abs=0.01)


def test_a_copy_of_the_linear_bits_has_their_error_rate() -> None:
    symbols, _ = sent(1.0)
    told = standing(heard(symbols, QPSK), QPSK, hard_bits(symbols, QPSK))
    assert float(told.structured) == pytest.approx(float(told.linear), abs=0.02)


def test_wrong_estimates_are_replaced_and_right_ones_are_kept() -> None:
    """In white noise; wrong estimates are those of other rows."""
    modem, rng = LinearModem(), np.random.default_rng(6)
    soi = modem.sample(6, 2560, torch.Generator().manual_seed(1)).waveform
    noise = rng.normal(size=(6, 2560, 2)) * np.sqrt(8.0)  # variance 1 behind the matched filter
    mixture = soi + torch.view_as_complex(torch.tensor(noise, dtype=torch.float32).contiguous())
    fallback = Fallback(modem, torch.zeros((0, 0), dtype=torch.complex64))
    estimate = torch.cat((soi[:3], soi[3:].roll(1, 0)))
    found = fallback.honest(mixture, estimate)
    assert torch.equal(found[:3], soi[:3])
    matched = modem.decide(mixture)
    assert torch.equal(modem.decide(found)[3:], matched[3:])


@pytest.mark.parametrize("surer", [1.0, 5.0])
def test_ratios_that_are_too_sure_are_tempered(surer: float) -> None:
    """Bits told with probability p are right with probability p, within .05 in every tenth, by counting."""
    rng = np.random.default_rng(7)
    symbols, bits = sent(0.5)
    seen = (1 - 2 * bits.double().numpy()) + rng.normal(size=bits.shape) * np.sqrt(0.6)  # other errors than the linear
    ratio = torch.tensor(-2 * seen / 0.6 * surer).float()
    found = tempered(ratio, heard(symbols, QPSK), QPSK)
    told, right = found.abs().sigmoid(), (found > 0) == bits.bool()
    for low in (0.5, 0.6, 0.7, 0.8, 0.9):
        chosen = (told >= low) & (told < low + 0.1)
        assert chosen.sum() > 200
        assert float(right[chosen].double().mean()) == pytest.approx(float(told[chosen].mean()), abs=0.05)
    assert torch.equal(found > 0, ratio > 0)
