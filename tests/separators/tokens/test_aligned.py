"""Detection in tokens, and the separator around a network that is shown it."""

import math

import pytest
import torch

from rfsep.metrics import row_mse
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.token_transformer import TokenTransformer
from rfsep.separators.tokens.aligned import Aligned
from rfsep.separators.tokens.token_detection import Gaussians, TokenDetector, _Group
from rfsep.separators.tokens.tokens import TokenGrid
from rfsep.separators.tokens.views import Timing
from rfsep.signals.constellations import posterior_mean_and_variance
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch

NOTHING = torch.zeros((0, 0), dtype=torch.complex64)
DETECTION = 2 + 7 * 25


def separator(inputs: tuple[str, ...] = ("detection",), num_inputs: int = DETECTION, **changes: object) -> Aligned:
    torch.manual_seed(0)
    model = TokenTransformer(num_inputs, width=32, depth=1, heads=2).eval()
    return Aligned(LinearModem(), NOTHING, model, OfdmModem(), inputs=inputs, **changes)  # type: ignore[arg-type]


def mixtures(sinr_db: float, count: int, length: int = 1280) -> MixtureBatch:
    mixer = Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64))
    return mixer.draw(torch.full((count,), sinr_db), length, batch_generator(Purpose.TEST, 11))


@pytest.mark.parametrize("sinr_db", [-24.0, -12.0, 0.0])
def test_untrained_network_returns_what_detection_found(sinr_db: float) -> None:
    """Interference up to 24 dB above the SOI is removed down to its noise floor of -30 dB, window ends included."""
    batch = mixtures(sinr_db, 12)
    found = separator(iterations=8).separate(batch.mixture)
    assert float((found.bits != batch.bits).float().mean()) < 2e-3
    assert float(10 * torch.log10(torch.as_tensor(row_mse(found.soi.numpy(), batch.soi.numpy())).median())) < -40


def test_detection_follows_carrier_rays_and_fraction() -> None:
    """Beneath them it was as bad as the matched filter, with every tenth bit wrong."""
    received = OfdmModem().received(1e-3, [1.0, 0.0, 0.0, 0.5j], 0, 0.37)
    clean = mixtures(-12.0, 6)
    heard = RandomCrop(received, power=56 / 64 * 1.25).sample(6, 1280, torch.Generator().manual_seed(3)).waveform
    found = Aligned(LinearModem(), NOTHING, None, received).separate(clean.soi + 4 * heard)
    assert float((found.bits != clean.bits).float().mean()) < 0.01


def test_white_noise_alone_meets_the_closed_form() -> None:
    """Without interference bits fail as often as QPSK's do in noise, Q(sqrt(Es/N0)), and the ratios say so."""
    batch = mixtures(60.0, 24)
    generator = torch.Generator().manual_seed(1)
    noise_power = 3.2
    noise = noise_power**0.5 * torch.randn(batch.mixture.shape, dtype=torch.complex64, generator=generator)
    made = separator(iterations=10)
    at = Timing(batch.soi_offset, batch.interference_offset, torch.full((24,), noise_power))
    view = made.view(batch.soi + noise, at, True, True)
    ratios = view.prior.view(*view.prior.shape[:2], 5, 2)[made.grid.owned(view.tokens)].flatten()
    expected = 0.5 * math.erfc(math.sqrt(16 / noise_power / 2))  # pulses have energy 16
    wrong = (ratios > 0) != batch.bits.flatten().bool()
    assert float(wrong.float().mean()) == pytest.approx(expected, rel=0.35)
    assert float(torch.sigmoid(-ratios.abs()).mean()) == pytest.approx(expected, rel=0.25)


def test_message_and_site_have_the_moments_of_the_symbol() -> None:
    """Minka's moment matching: what a token says times its new site is the Gaussian of the discrete posterior."""
    grid = TokenGrid(LinearModem(), 80)
    detector = TokenDetector(grid, OfdmModem())
    generator = torch.Generator().manual_seed(3)
    shape = 6, detector.num_shown
    precision = 0.5 + 3 * torch.rand(shape, generator=generator)
    mean = torch.randn(shape, dtype=torch.complex64, generator=generator)
    message = Gaussians(precision, precision * mean)
    nothing = torch.zeros(shape, dtype=torch.complex64)
    rows = torch.arange(6)
    group = _Group(rows, 0 * rows, nothing, nothing, Gaussians(torch.ones(shape), nothing), torch.arange(shape[1]))
    exists = torch.ones((6, 1, grid.num_seen), dtype=torch.bool)
    site = detector._sites(group, message, message, exists, damping=1.0)
    expected = posterior_mean_and_variance(mean, LinearModem().constellation, 1 / precision)
    together = Gaussians(message.precision + site.precision, message.weighted + site.weighted)
    proper = 1 / expected[1] - precision > 1e-2  # elsewhere the prior widens what the token says: the old site stays
    assert float(proper.float().mean()) > 0.5
    assert torch.allclose(together.mean()[proper], expected[0][proper], atol=1e-3)
    assert torch.allclose(1 / together.precision[proper], expected[1][proper], rtol=1e-3)
    assert torch.equal(site.precision[~proper], torch.ones_like(site.precision[~proper]))


def test_windows_with_a_token_behind_their_end() -> None:
    """At 1,300 samples most rows have one; what it does not know must not stand in for its neighbour's symbols."""
    soi = RandomCrop(LinearModem("qpsk_axes", num_taps=127, unit_energy=False), random_phase=False)
    mixer = Mixer(soi, RandomCrop(OfdmModem(), power=56 / 64), noise_power=0.01)
    batch = mixer.draw(torch.full((12,), -6.0), 1300, batch_generator(Purpose.TEST, 13))
    made = Aligned(soi.modem, NOTHING, None, OfdmModem(), soi_timing="estimated", noise_power=0.01)
    error = (made.separate(batch.mixture).soi - batch.soi)[:, -32:]
    assert float(10 * torch.log10(error.abs().square().mean())) < -20


@pytest.mark.parametrize(("fft_size", "samples_per_symbol"), [(256, 16), (64, 4)])
def test_carriers_beside_the_soi_follow_its_band(fft_size: int, samples_per_symbol: int) -> None:
    modem = LinearModem(samples_per_symbol=samples_per_symbol)
    interference = OfdmModem("qpsk", fft_size, fft_size // 4, (fft_size // 16, fft_size // 16 - 1))
    mixer = Mixer(modem, RandomCrop(interference, power=interference.power), noise_power=0.01)
    batch = mixer.draw(torch.full((6,), -12.0), 1280, batch_generator(Purpose.TEST, 14))
    made = Aligned(modem, NOTHING, None, interference, noise_power=0.01)
    assert float((made.separate(batch.mixture).bits != batch.bits).float().mean()) < 0.03


def test_without_a_network_the_bits_are_those_of_detection() -> None:
    batch = mixtures(-12.0, 3)
    plain = Aligned(LinearModem(), NOTHING, None, OfdmModem())
    assert torch.allclose(plain.separate(batch.mixture).soi, separator().separate(batch.mixture).soi, atol=1e-5)


def test_rows_do_not_see_each_other() -> None:
    batch = mixtures(-12.0, 3)
    made = separator()
    together, alone = made.separate(batch.mixture).soi, made.separate(batch.mixture[1:2]).soi
    assert torch.allclose(together[1], alone[0], atol=1e-4)


def test_long_mixtures_are_cut_into_windows() -> None:
    batch = mixtures(-18.0, 1, 6000)
    found = separator().separate(batch.mixture)
    assert found.soi.shape == (1, 6000)
    assert float((found.bits != batch.bits).float().mean()) < 5e-3


def test_soi_at_any_offset_is_found() -> None:
    soi = RandomCrop(LinearModem("qpsk_axes", num_taps=127, unit_energy=False), random_phase=False)
    mixer = Mixer(soi, RandomCrop(OfdmModem(), power=56 / 64), noise_power=0.01)
    batch = mixer.draw(torch.full((8,), -15.0), 1280, batch_generator(Purpose.TEST, 12))
    model = TokenTransformer(DETECTION, width=32, depth=1, heads=2)
    made = Aligned(soi.modem, NOTHING, model, OfdmModem(), soi_timing="estimated", noise_power=0.01)
    error = torch.as_tensor(row_mse(made.separate(batch.mixture).soi.numpy(), batch.soi.numpy())).median()
    assert float(10 * torch.log10(error)) < -30


@pytest.mark.parametrize(
    ("inputs", "count"),
    [(("time",), 2 + 160), (("band",), 2 + 4 * 13), (("carriers",), 2 + 24), (("band", "detection"), 229)],
)
def test_any_inputs_can_be_shown(inputs: tuple[str, ...], count: int) -> None:
    made = separator(inputs, count)
    batch = mixtures(-6.0, 2, 640)
    at = Timing(batch.soi_offset, batch.interference_offset, torch.zeros(2))
    view = made.view(batch.mixture, at, True, True)
    assert view.inputs.shape == (2, made.grid.num_tokens(640), count)
    assert torch.isfinite(view.inputs).all()
    louder = made.view(8 * batch.mixture, at, True, True).inputs
    if "detection" not in inputs:  # the level is one number of its own; all others are relative to it
        assert torch.allclose(louder[:, :, 1:], view.inputs[:, :, 1:], atol=1e-5)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(InputError, match="unknown inputs fft; choose from time, band, carriers, detection"):
        separator(("fft",), 2)
    with pytest.raises(InputError, match="without a model there are no bits but those of the inputs detection"):
        Aligned(LinearModem(), NOTHING, None, OfdmModem(), inputs=("time",)).separate(mixtures(0.0, 1).mixture)
    model = TokenTransformer(DETECTION, width=32, depth=1, heads=2)
    with pytest.raises(InputError, match=r"num_bits is 10, this SOI in this interference needs 20"):
        Aligned(LinearModem("qam16"), NOTHING, model, OfdmModem())
    with pytest.raises(InputError, match="a window of 100 samples may hold no whole token; 159 always do"):
        separator().separate(torch.ones(1, 100, dtype=torch.complex64))
    with pytest.raises(InputError, match="all carriers of FFT 8 lie beside"):
        Aligned(LinearModem(samples_per_symbol=4), NOTHING, None, OfdmModem("qpsk", 8, 2, (1, 1)))
    with pytest.raises(InputError, match="iterations is 0"):
        separator(iterations=0)
    with pytest.raises(InputError, match="inputs time are 162 numbers per token; the model takes 10"):
        separator(("time",), 10)
