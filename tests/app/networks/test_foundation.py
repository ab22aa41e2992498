"""The network of zoo:foundation separates interference that it was never shown."""

import math

import numpy as np
import torch

from rfsep.app.api import load_soi
from rfsep.app.networks.runs import open_run
from rfsep.iq import mix
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.neural import Neural
from rfsep.types import Separator


def error_rate(separator: Separator, mixture: torch.Tensor, bits: torch.Tensor) -> float:
    return float((separator.separate(mixture).bits != bits).double().mean())


def test_a_video_carrier_in_plain_numpy_is_separated_without_any_training() -> None:
    """A carrier modulated in frequency by lines of random brightness, 12 dB above the SOI, with noise at 25 dB."""
    random = np.random.default_rng(0)
    lines = np.repeat(random.uniform(-1, 1, (20, 2560 // 40)), 40, axis=1)  # brightness of 40 samples each
    smooth = np.apply_along_axis(np.convolve, 1, lines, np.ones(8) / 8, "same")
    video = np.exp(2j * np.pi * np.cumsum(0.03 + 0.05 * smooth, axis=1))
    noise = random.normal(size=(20, 2560, 2)) @ [1, 1j] * math.sqrt(10**-2.5 / 2)
    interference = torch.from_numpy((video + noise).astype(np.complex64))
    modem = load_soi("qpsk")
    soi = modem.sample(20, 2560, torch.Generator().manual_seed(0))
    mixture = mix(soi.waveform, interference, torch.full((20,), -12.0), torch.zeros(20)).mixture
    nothing = torch.zeros((0, 0), dtype=torch.complex64)
    network = Neural(modem, nothing, open_run("zoo:foundation").model, block=1280)
    assert error_rate(MatchedFilter(modem, nothing), mixture, soi.bits) > 0.05
    assert error_rate(network, mixture, soi.bits) < 0.01
