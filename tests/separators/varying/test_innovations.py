"""Detection in ringing pulses made with plain numpy."""

import numpy as np
import torch
from plain_waveforms import ringing

from rfsep.separators.lmmse import Lmmse
from rfsep.separators.varying.innovations import Fit, Ringing, filtered, reweighted
from rfsep.signals.linear_modem import LinearModem
from rfsep.types import Separator


def test_filters_run_over_earlier_samples() -> None:
    found = filtered(torch.tensor([[1.0 + 0j, 2, 0]]), torch.tensor([[1.0 + 0j, 1j]]))
    torch.testing.assert_close(found, torch.tensor([[1, 2 + 1j, 2j]], dtype=torch.complex64))


def test_the_resonance_is_found() -> None:
    waveform, filters = ringing(np.random.default_rng(0), 3, 1500)
    frames = waveform.to(torch.complex128)
    nothing = torch.zeros(frames.shape, dtype=torch.float64)
    fit = Fit(frames, nothing, torch.ones_like(nothing))
    taps, _ = reweighted(fit, 2, torch.eye(3, dtype=torch.complex128), torch.full((3,), 1e-4, dtype=torch.float64))
    torch.testing.assert_close(taps, filters, rtol=0, atol=1e-3)


def test_the_soi_is_seen_between_shocks() -> None:
    rng = np.random.default_rng(1)
    modem = LinearModem()
    examples, interference = ringing(rng, 12, 2560)[0], ringing(rng, 6, 1600)[0]
    separator = Ringing(modem, examples)
    soi = modem.sample(6, 1600, torch.Generator().manual_seed(5))

    def errors(separator: Separator) -> float:
        found = separator.separate(soi.waveform + 10**0.9 * interference)  # -18 dB
        return float((found.bits != soi.bits).double().mean())

    assert errors(separator) < 0.1
    assert errors(Lmmse(modem, examples)) > 0.2
