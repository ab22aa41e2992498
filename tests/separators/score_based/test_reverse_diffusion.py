"""Reverse diffusion with a network that is exact: what it leaves is the SOI."""

import math

import pytest
import torch
from torch import Tensor, nn

from rfsep.iq import from_channels, to_channels
from rfsep.mixtures.mix import Mixer
from rfsep.separators.score_based.learned_prior import LearnedPrior
from rfsep.separators.score_based.reverse_diffusion import ReverseDiffusion
from rfsep.signals.constellations import decide
from rfsep.signals.diffusion_schedule import linear_schedule
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError

SOI, INTERFERENCE = LinearModem("qpsk", span=4), OfdmModem("qpsk")
NOTHING = torch.zeros((0, 0), dtype=torch.complex64)
UNIT = math.sqrt(56 / 64)


class Decisions(nn.Module):
    """The noise that decided carriers leave, of windows that begin on a symbol."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = linear_schedule()
        self.asked: list[float] = []

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        self.asked.append(float(step[0]))
        low = step.long()
        amplitude = torch.lerp(self.schedule.alpha_bar.sqrt()[low], self.schedule.alpha_bar.sqrt()[low + 1], step - low)
        windows, amplitude = from_channels(noisy), amplitude[:, None]
        carriers = decide(INTERFERENCE.analyse(windows) * UNIT / amplitude, INTERFERENCE.constellation)
        clean = INTERFERENCE.synthesise(carriers, windows.shape[1]) / UNIT
        return to_channels((windows - amplitude * clean) / (1 - amplitude.square()).sqrt())


def test_strong_interference_is_taken_away() -> None:
    mixer = Mixer(SOI, RandomCrop(INTERFERENCE, power=56 / 64))
    batch = mixer.draw(torch.full((4,), -24.0), 1280, torch.Generator().manual_seed(0))
    model = Decisions()
    prior = LearnedPrior(model, linear_schedule(), period=80)
    separator = ReverseDiffusion(SOI, NOTHING, prior, INTERFERENCE)
    found = separator.separate(batch.mixture)
    inner = slice(12, -12)  # bits, away from the symbols that the window cuts off
    assert (found.bits != batch.bits)[:, inner].sum() == 0
    assert model.asked[:10] == sorted(model.asked[:10], reverse=True)  # from the most noise to the least
    assert 2 < model.asked[0] < 3  # alpha_bar 0.99451 of ten levels lies between two of the fifty
    alone = separator.separate(batch.mixture[2:3])
    torch.testing.assert_close(found.soi[2:3], alone.soi, rtol=1e-4, atol=1e-4)


def test_no_prior_is_refused() -> None:
    with pytest.raises(InputError, match="reverse_diffusion needs interference_prior"):
        ReverseDiffusion(SOI, NOTHING, None, INTERFERENCE)
