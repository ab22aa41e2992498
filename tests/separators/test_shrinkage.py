"""LMMSE estimates are shrunk: the bits that the separator decides, and those of whoever demodulates its waveform."""

import math

import pytest
import torch

from rfsep.mixtures.mix import Mixer
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import ColouredNoise, WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import MixtureBatch, Modem, SignalSource

NOTHING = torch.zeros((0, 0), dtype=torch.complex64)
SHAPED = ColouredNoise(power_spectrum=[6.0, 3.0, 0.3, 0.1, 0.1, 0.1, 0.3, 3.0])


def drawn(modem: Modem, source: SignalSource, sinr_db: float, rows: int, length: int) -> MixtureBatch:
    return Mixer(modem, source).draw(torch.full((rows,), sinr_db), length, torch.Generator().manual_seed(9))


def rate(bits: torch.Tensor, sent: torch.Tensor) -> float:
    return float((bits != sent).double().mean())


def linear(modem: Modem, source: WhiteNoise | ColouredNoise, sinr_db: float) -> Lmmse:
    autocorrelation = source.autocorrelation(640)
    return Lmmse(modem, NOTHING, sinr="known", sinr_db=sinr_db, interference_autocorrelation=autocorrelation)


@pytest.mark.parametrize(("name", "sinr_db"), [("qam16", -3.0), ("qam16", 0.0), ("pam4", -9.0), ("qam64", 3.0)])
def test_in_white_noise_the_bits_are_nearly_as_good_as_the_matched_filters(name: str, sinr_db: float) -> None:
    """The matched filter is the best receiver there, and unbiased; undoing the gain wins most of the loss back."""
    modem = LinearModem(name)
    batch = drawn(modem, WhiteNoise(), sinr_db, 80, 10240)
    found = linear(modem, WhiteNoise(), sinr_db).separate(batch.mixture)
    best = rate(MatchedFilter(modem, NOTHING).separate(batch.mixture).bits, batch.bits)
    lost, lost_by_shrinking = (rate(bits, batch.bits) - best for bits in (found.bits, modem.decide(found.soi)))
    assert lost < 0.05 * best
    assert lost_by_shrinking > 3 * lost


@pytest.mark.parametrize("modem", [LinearModem("qam16"), OfdmModem("qam16")])
@pytest.mark.parametrize("length", [400, 4000])  # one block, and blocks that overlap
def test_the_gain_undone_is_that_of_the_truth(modem: LinearModem | OfdmModem, length: int) -> None:
    """Regression of the estimate's symbols on those sent, one gain a carrier, decides the same bits."""
    batch = drawn(modem, SHAPED, 6.0, 200, length)
    found = linear(modem, SHAPED, 6.0).separate(batch.mixture)
    estimated, sent = modem.analyse(found.soi), modem.analyse(batch.soi)
    carriers = (-1, len(modem.carriers) if isinstance(modem, OfdmModem) else 1)
    cross, energy = (estimated * sent.conj()).real.reshape(carriers), sent.abs().square().reshape(carriers)
    gain = cross.sum(0) / energy.sum(0)  # [D]
    told = modem.decide(found.soi, gain.repeat(estimated.shape[1] // len(gain)))
    assert rate(found.bits, told) < 0.01
    assert rate(found.bits, batch.bits) == pytest.approx(rate(told, batch.bits), rel=0.02)
    assert rate(modem.decide(found.soi), batch.bits) > 1.05 * rate(found.bits, batch.bits)
    if isinstance(modem, OfdmModem):
        assert gain.min() < 0.6 < 0.95 < gain.max()  # one gain for all carriers would not do
        assert rate(modem.decide(found.soi, gain.mean()), batch.bits) > 1.02 * rate(found.bits, batch.bits)


@pytest.mark.parametrize("modem", [LinearModem(), LinearModem("bpsk"), OfdmModem(), LinearModem("psk8")])
def test_bits_of_one_level_are_those_of_the_estimate_itself(modem: Modem) -> None:
    """Published LMMSE figures demodulate the raw estimate: of constellations of one magnitude nothing changed."""
    source = RandomCrop(OfdmModem(), power=56 / 64)
    examples = source.sample(50, 2048, torch.Generator().manual_seed(1)).waveform
    for sinr_db in (-24.0, -6.0):
        batch = drawn(modem, source, sinr_db, 10, 4000)
        found = Lmmse(modem, examples).separate(batch.mixture)
        assert torch.equal(found.bits, (modem.demodulate(found.soi) > 0).byte())


def test_the_estimate_stays_the_shrunk_one() -> None:
    """Its gain in white noise is the share of the SOI behind the matched filter, about 1 / (1 + N0 / 16)."""
    modem = LinearModem("qam16")
    batch = drawn(modem, WhiteNoise(), 0.0, 20, 5120)
    estimate = modem.analyse(linear(modem, WhiteNoise(), 0.0).separate(batch.mixture).soi)
    sent = modem.analyse(batch.soi)
    gain = float((estimate * sent.conj()).real.sum() / sent.abs().square().sum())
    assert math.isclose(gain, 1 / (1 + 1 / 16), rel_tol=0.03)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 41, 79, 81, 511, 513])
@pytest.mark.parametrize("modem", [LinearModem("qam16"), OfdmModem("qam16")])
def test_windows_of_any_length_have_their_bits(modem: Modem, length: int) -> None:
    mixture = torch.randn((3, length), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    bits = linear(modem, WhiteNoise(), 0.0).separate(mixture).bits
    assert bits.shape == (3, modem.num_bits(length))
