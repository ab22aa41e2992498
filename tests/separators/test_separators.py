"""Separators against closed forms, published rows and each other."""

import numpy as np
import pytest
import torch

from rfsep.metrics import row_mse
from rfsep.mixtures.mix import Mixer
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.neural import Neural
from rfsep.separators.passthrough import Passthrough
from rfsep.separators.windows import overlapped
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.statistics import modem_autocorrelation, modem_covariance, toeplitz
from rfsep.types import InputError, Separator

NONE = torch.zeros((0, 0), dtype=torch.complex64)


@pytest.fixture
def ofdm() -> RandomCrop:
    return RandomCrop(OfdmModem(), power=56 / 64)


def db(mse: np.ndarray) -> float:
    return float(10 * np.log10(mse.mean()))


@pytest.mark.parametrize(
    ("sir_db", "matched_ber", "lmmse_mse_db"),
    [(-24.0, 0.3964, -0.53), (-18.0, 0.3041, -1.55), (-12.0, 0.1484, -3.78), (-6.0, 0.0137, -7.70)],
)
def test_published_rows_of_alpha_rgs(ofdm: RandomCrop, sir_db: float, matched_ber: float, lmmse_mse_db: float) -> None:
    """systems.md 1.7, 4,000 mixtures there; here 600, within 3 combined standard errors and the printed digits."""
    soi, assumed = LinearModem(span=4), LinearModem(span=8)
    batch = Mixer(soi, ofdm).draw(torch.full((600,), sir_db), 2560, torch.Generator().manual_seed(1))
    rates = (MatchedFilter(soi, NONE).separate(batch.mixture).bits != batch.bits).double().mean(1).numpy()
    widen = np.sqrt(1 + 600 / 4000)
    assert abs(rates.mean() - matched_ber) < 3 * widen * rates.std() / np.sqrt(600) + 5e-5
    lmmse = Lmmse(
        assumed,
        NONE,
        soi_covariance="synchronous",
        sinr="known",
        sinr_db=sir_db,
        interference_autocorrelation=ofdm.autocorrelation(640),
        block=640,
    )
    # a quarter of the window: the block's edges weigh more, by less than the tolerance stated in dB
    mse = row_mse(lmmse.separate(batch.mixture[:, :640]).soi.numpy(), batch.soi[:, :640].numpy())
    assert db(mse) == pytest.approx(lmmse_mse_db, abs=3 * widen * 4.34 * mse.std() / mse.mean() / np.sqrt(600) + 0.06)


def test_published_lmmse_at_its_own_window_of_2560_samples(ofdm: RandomCrop) -> None:
    """systems.md 1.7: -3.78 dB at SIR -12 dB, 4,000 mixtures there and 800 here."""
    batch = Mixer(LinearModem(span=4), ofdm).draw(torch.full((800,), -12.0), 2560, torch.Generator().manual_seed(2))
    lags = ofdm.autocorrelation(2560)
    lmmse = Lmmse(LinearModem(), NONE, "synchronous", "known", -12.0, lags, block=2560)
    mse = row_mse(lmmse.separate(batch.mixture).soi.numpy(), batch.soi.numpy())
    standard_error = mse.std() / np.sqrt(800) * np.sqrt(1 + 800 / 4000)
    assert abs(mse.mean() - 10**-0.378) < 3 * standard_error + 10**-0.378 * 0.0012  # half the last printed digit


def test_lmmse_is_the_textbook_solution(ofdm: RandomCrop) -> None:
    """Against a dense solve of C_s (C_s + k^2 C_b)^-1 y at three SINRs with one factorisation."""
    modem = LinearModem()
    batch = Mixer(modem, ofdm).draw(torch.tensor([-20.0, -10.0, 0.0]), 320, torch.Generator().manual_seed(0))
    soi = modem_covariance(modem, 320, 0)
    interference = toeplitz(ofdm.autocorrelation(320))
    for row, level in enumerate((-20.0, -10.0, 0.0)):
        lmmse = Lmmse(modem, NONE, "synchronous", "known", level, ofdm.autocorrelation(320), block=320)
        total = soi + 10 ** (-level / 10) * interference + 1e-8 * torch.eye(320)
        expected = soi @ torch.linalg.solve(total, batch.mixture[row].to(torch.complex128))
        error = (lmmse.separate(batch.mixture).soi[row] - expected).abs().square().mean()
        assert 10 * torch.log10(error).item() < -50


def test_lmmse_learned_from_examples_comes_close_to_the_given_covariance(ofdm: RandomCrop) -> None:
    modem, generator = LinearModem(), torch.Generator().manual_seed(0)
    examples = ofdm.sample(100, 8192, generator).waveform
    batch = Mixer(modem, ofdm).draw(torch.full((100,), -12.0), 2560, generator)
    learned = row_mse(Lmmse(modem, examples).separate(batch.mixture).soi.numpy(), batch.soi.numpy())
    given = Lmmse(modem, NONE, interference_autocorrelation=ofdm.autocorrelation(512))
    assert db(learned) == pytest.approx(
        db(row_mse(given.separate(batch.mixture).soi.numpy(), batch.soi.numpy())), abs=0.05
    )
    assert db(learned) < -3.2  # blind and stationary: -3.37; the oracle has -3.78


def test_lmmse_in_white_noise_is_the_wiener_filter_of_the_matched_band() -> None:
    """No separator can be better than LMMSE among the linear ones; the matched filter's symbols are as good here."""
    modem = LinearModem()
    white = torch.zeros(512, dtype=torch.complex128)
    white[0] = 1
    closed = modem_autocorrelation(modem, 512)
    spectrum = torch.fft.fft(torch.cat((closed, closed[1:].flip(0).conj()))).real.clamp_min(0)
    expected = float((spectrum / (spectrum + 1)).mean())  # Wiener: mean of S N / (S + N) with N = 1
    generator = torch.Generator().manual_seed(0)
    soi = modem.sample(50, 4096, generator).waveform
    mixture = soi + torch.randn(soi.shape, dtype=torch.complex64, generator=generator)
    lmmse = Lmmse(modem, NONE, sinr="known", sinr_db=0.0, interference_autocorrelation=white)
    mse = row_mse(lmmse.separate(mixture).soi.numpy()[:, 64:-64], soi.numpy()[:, 64:-64])
    assert mse.mean() == pytest.approx(expected, rel=0.03)


def test_overlapped_windows_equal_one_long_filter() -> None:
    """For a filter no longer than the margin, cutting must change nothing, whatever the length."""
    kernel = torch.randn(31, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)

    def filtered(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv1d(x[:, None], kernel[None, None], padding=15)[:, 0]

    for length in (100, 128, 129, 143, 144, 145, 1000, 1001):
        x = torch.randn((2, length), generator=torch.Generator().manual_seed(1), dtype=torch.complex64)
        assert torch.allclose(overlapped(filtered, x, 128, 16, 16), filtered(x), atol=1e-4), length


def test_windows_start_on_symbols() -> None:
    seen: list[torch.Tensor] = []

    def spy(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    ramp = torch.arange(1013.0)[None].to(torch.complex64)
    assert torch.equal(overlapped(spy, ramp, 200, 20, 16), ramp)
    assert all(int(start) % 16 == 0 for windows in seen for start in windows[:, 0].real)


def test_overlapping_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="block 64 leaves nothing between two margins of 32"):
        overlapped(lambda x: x, torch.zeros((1, 100), dtype=torch.complex64), 64, 32, 16)


@pytest.mark.parametrize("modem", [LinearModem(), LinearModem("qam16"), OfdmModem()])
def test_matched_filter_remodulation(modem: LinearModem | OfdmModem) -> None:
    """Hard is exact where nothing is wrong; soft is never worse than silence and better than hard in the noise."""
    generator = torch.Generator().manual_seed(0)
    sampled = modem.sample(20, 2560, generator)
    hard, soft = (MatchedFilter(modem, NONE, kind) for kind in ("hard", "soft"))  # type: ignore[arg-type]
    assert row_mse(hard.separate(sampled.waveform).soi.numpy(), sampled.waveform.numpy()).max() < 1e-10
    noise = 6 * torch.randn(sampled.waveform.shape, dtype=torch.complex64, generator=generator)
    errors = [
        db(row_mse(s.separate(sampled.waveform + noise).soi.numpy(), sampled.waveform.numpy())) for s in (soft, hard)
    ]
    assert errors[0] < 0.0
    assert errors[1] > errors[0] + 1


def test_passthrough_returns_its_input() -> None:
    modem = LinearModem()
    sampled = modem.sample(2, 320, torch.Generator().manual_seed(0))
    estimate = Passthrough(modem, NONE).separate(sampled.waveform)
    assert torch.equal(estimate.soi, sampled.waveform)
    assert torch.equal(estimate.bits, sampled.bits)


class Halves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def separators() -> list[Separator]:
    modem = LinearModem()
    examples = RandomCrop(OfdmModem(), 56 / 64).sample(20, 2048, torch.Generator().manual_seed(0)).waveform
    return [
        Passthrough(modem, examples),
        MatchedFilter(modem, examples),
        Lmmse(modem, examples, block=256, margin=64),
        Neural(modem, examples, Halves(), block=256, margin=64),
    ]


@pytest.mark.parametrize("separator", separators(), ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("length", [16, 250, 256, 1000])
def test_rows_have_the_right_bits_and_do_not_see_their_neighbours(separator: Separator, length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    sampled = LinearModem().sample(3, length, generator)
    mixture = sampled.waveform + 0.1 * torch.randn((3, length), dtype=torch.complex64, generator=generator)
    mixture[1] *= 30
    together = separator.separate(mixture)
    assert torch.equal(together.bits[::2], sampled.bits[::2])  # a separator may take the loud row for interference
    for row in range(3):
        alone = separator.separate(mixture[row : row + 1])
        assert torch.allclose(together.soi[row], alone.soi[0], rtol=1e-3, atol=1e-4)
        assert torch.equal(together.bits[row], alone.bits[0])


def test_known_sinr_must_be_given() -> None:
    with pytest.raises(InputError, match="sinr_db is not given"):
        Lmmse(LinearModem(), NONE, sinr="known")


def test_given_autocorrelation_must_reach_over_a_block() -> None:
    lmmse = Lmmse(LinearModem(), NONE, interference_autocorrelation=torch.ones(10), block=64)
    with pytest.raises(InputError, match="has 10 lags, fewer than a block: 64"):
        lmmse.separate(torch.zeros((1, 64), dtype=torch.complex64))
