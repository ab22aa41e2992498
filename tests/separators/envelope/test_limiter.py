"""A weak SOI comes out of interference of a steady envelope at its own level, whatever the phase of that does."""

import numpy as np
import torch

from rfsep.separators.envelope.limiter import Limiter
from rfsep.signals.linear_modem import LinearModem

LENGTH = 20_480


def test_the_weaker_signal_comes_out_with_its_image() -> None:
    modem, draw = LinearModem(), np.random.default_rng(1)
    soi = modem.sample(1, LENGTH, torch.Generator().manual_seed(2)).waveform[0].numpy().astype(np.complex128)
    strong = 30 * np.exp(1j * np.cumsum(draw.uniform(-1.5, 1.5, LENGTH)))  # its phase wanders over the whole band
    found = Limiter(modem, torch.zeros((0, 0))).separate(torch.from_numpy((soi + strong).astype(np.complex64))[None])
    found_soi = found.soi[0].numpy().astype(np.complex128)
    # To first order: the SOI, and its image, which is no more like it than noise is.
    image = soi.conj() * (strong / 30) ** 2
    assert np.mean(np.abs(found_soi - soi - image) ** 2) < 0.05 * np.mean(np.abs(soi) ** 2)
    assert abs(np.vdot(soi, found_soi) / np.vdot(soi, soi) - 1) < 0.05
    symbols = modem.analyse(found.soi)[0].numpy()
    sent = modem.analyse(torch.from_numpy(soi.astype(np.complex64))[None])[0].numpy()
    # The image is spread over the band, of which the SOI has a sixteenth: 12 dB below.
    assert np.mean(np.abs(symbols - sent) ** 2) < 0.12
