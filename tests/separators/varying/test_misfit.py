"""Evidence of changing interference against Gaussian interference, by closed forms and with plain numpy."""

import numpy as np
import torch
from plain_waveforms import noise, ringing
from scipy.stats import norm

from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.varying.innovations import Ringing
from rfsep.separators.varying.learning import without_line
from rfsep.separators.varying.misfit import changing_evidence, gaussian_evidence
from rfsep.separators.varying.states import Seen, States
from rfsep.signals.linear_modem import LinearModem


def gaussian(seed: int, rows: int, length: int) -> np.ndarray:
    return np.stack([noise(length, seed + row) for row in range(rows)])


def test_gaussian_evidence_is_that_of_each_piece_at_its_likeliest_power() -> None:
    waveform = gaussian(0, 2, 150) * np.where(np.arange(150) < 64, 3.0, 0.5)
    expected = np.zeros(2)
    for start in (0, 64):  # the last 22 samples do not count
        piece = waveform[:, start : start + 64]
        scale = np.sqrt((np.abs(piece) ** 2).mean(1, keepdims=True) / 2)  # of either part
        expected += (norm.logpdf(piece.real, scale=scale) + norm.logpdf(piece.imag, scale=scale)).sum(1)
        expected -= 0.5 * np.log(64)
    found = gaussian_evidence(torch.from_numpy(waveform))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_changing_evidence_of_a_single_state_is_gaussian() -> None:
    waveform = gaussian(2, 2, 640)
    one = torch.ones(1)
    states = States(torch.ones(1, 1), one, 0 * one, one / 2, one / 2)
    parts = torch.from_numpy(waveform).to(torch.complex64)
    nothing = torch.zeros(parts.shape)
    seen = Seen(parts.real, parts.imag, nothing, nothing)
    found = changing_evidence(seen, states, torch.full((2,), 0.8), without_line(parts))
    scale = np.sqrt((np.abs(waveform) ** 2).mean(1, keepdims=True) / 2)
    expected = (norm.logpdf(waveform.real, scale=scale) + norm.logpdf(waveform.imag, scale=scale)).sum(1)
    # Steps towards the likeliest gain come within a percent of it, where the likelihood is flat.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.1)


def test_what_learned_ringing_leaves_white_noise_to_linear_estimators() -> None:
    rng = np.random.default_rng(2)
    modem = LinearModem()
    examples = ringing(rng, 12, 2560)[0]
    separator = Ringing(modem, examples)
    soi = modem.sample(6, 2560, torch.Generator().manual_seed(3))
    mixture = soi.waveform + 2 * torch.from_numpy(gaussian(4, 6, 2560).astype(np.complex64))  # -6 dB
    found = separator.separate(mixture).bits
    linear = [one.separate(mixture).bits for one in (MatchedFilter(modem, examples), Lmmse(modem, examples))]
    for row in range(6):
        assert any(torch.equal(found[row], one[row]) for one in linear)


def test_what_learned_ringing_keeps_it() -> None:
    rng = np.random.default_rng(4)
    modem = LinearModem()
    separator = Ringing(modem, ringing(rng, 12, 2560)[0])
    soi = modem.sample(6, 2560, torch.Generator().manual_seed(5))
    found = separator.separate(soi.waveform + 10**0.9 * ringing(rng, 6, 2560)[0])  # -18 dB
    assert float((found.bits != soi.bits).double().mean()) < 0.05
