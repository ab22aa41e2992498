"""Periodic covariances against the closed form of modems, and what can be learned of them from frames."""

import pytest
import torch
from torch import Tensor

from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import (
    _learn_blocks,
    _Seen,
    align,
    learn_periodic_covariance,
    modem_periodic_covariance,
)
from rfsep.signals.random_crop import RandomCrop
from rfsep.signals.statistics import frames_autocorrelation, modem_covariance, toeplitz
from rfsep.types import InputError, Modem, Sampled

OFDM = RandomCrop(OfdmModem(), power=56 / 64)
CARRIER = RandomCrop(LinearModem(samples_per_symbol=8))


def draw(source: RandomCrop, num_frames: int, num_samples: int, seed: int = 0) -> Sampled:
    return source.sample(num_frames, num_samples, torch.Generator().manual_seed(seed))


def distance(found: Tensor, truth: Tensor) -> float:
    """Relative error in the Frobenius norm."""
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize(
    ("modem", "independent"),
    [
        (OfdmModem(), True),
        (OfdmModem(cyclic_prefix_length=15), True),
        (OfdmModem("bpsk", 32, 0, (3, 2), dc_null=False), True),
        (LinearModem(samples_per_symbol=8), False),
        (LinearModem(span=4), False),
        (LinearModem(samples_per_symbol=4, roll_off=0.3, num_taps=31), False),
    ],
)
def test_closed_form_at_every_phase(modem: Modem, independent: bool) -> None:
    """Slices of the covariance of a long window at unit mean power, whatever the phase: longer than every lag."""
    covariance = modem_periodic_covariance(modem)
    period = modem.symbol_period
    assert (covariance.independent, covariance.period) == (independent, period)
    length = 170 if independent else covariance.lags.shape[1] + period + 3
    truth = modem_covariance(modem, length + 2 * period, 17)
    truth = truth / truth.diagonal()[:period].real.mean()
    for phase in range(2 * period):  # the second round wraps
        window = covariance.window(phase, length)
        expected = truth[phase % period :, phase % period :][:length, :length]
        assert torch.allclose(window, expected, rtol=0, atol=2e-6), phase
        assert torch.equal(window, window.mH)


def test_periods_that_start_at_phase_zero_are_the_independent_ones() -> None:
    covariance = modem_periodic_covariance(OfdmModem()).window(0, 240)
    assert covariance[:80, 80:].abs().max() == 0
    assert modem_periodic_covariance(OfdmModem()).window(1, 240)[:80, 80:].abs().max() > 0.5


@pytest.mark.parametrize(
    ("source", "num_samples"),
    [(OFDM, 2560), (RandomCrop(OfdmModem("qam16", 32, 8, (3, 2)), power=26 / 32), 1000), (CARRIER, 4096)],
)
def test_alignment_up_to_one_common_shift(source: RandomCrop, num_samples: int) -> None:
    frames = draw(source, 30, num_samples)
    found = align(frames.waveform, source.modem.symbol_period)
    assert len(torch.unique((found - frames.offset) % source.modem.symbol_period)) == 1
    assert len(torch.unique(frames.offset)) > 5


def noise_and_spread(truth: Tensor, num_blocks: int) -> tuple[float, float]:
    """E|C_hat - C|^2 = tr(C)^2 / N of N Gaussian-like blocks (Wishart), and |C - mu P|^2 to equal power in the span."""
    values = torch.linalg.eigvalsh(truth)[24:]
    return 80**2 / num_blocks, float((values - values.mean()).square().sum())


def test_learned_ofdm_has_the_rank_and_the_error_of_its_frames() -> None:
    """Independent blocks start where OFDM symbols do, their null space is exact, the error falls as 1 / sqrt(F)."""
    truth = modem_periodic_covariance(OfdmModem()).window(0, 80)
    error = []
    for num_frames in (120, 480):
        covariance = learn_periodic_covariance(draw(OFDM, num_frames, 2560).waveform, 80, 256)
        assert covariance.independent
        assert covariance.lags[:, 0].real.mean() == pytest.approx(1)
        values = torch.linalg.eigvalsh(covariance.window(0, 80))
        assert (values[:24].abs() < 1e-9 * values[-1]).all()
        assert (values[24:] > 0.5).all()  # true ones are between 1.1 and 2.3
        error.append(distance(covariance.window(0, 80), truth))
        noise, spread = noise_and_spread(truth, num_frames * 31)
        assert error[-1] == pytest.approx((noise * spread / (noise + spread)) ** 0.5 / float(truth.norm()), rel=0.06)
    assert error[0] / error[1] == pytest.approx(2, rel=0.1)


def test_learned_single_carrier_has_no_independent_periods() -> None:
    """Close to the truth at one shift (which phase is called 0 cannot be learned), and at one only."""
    truth = modem_periodic_covariance(CARRIER.modem).lags
    error = []
    for num_frames in (25, 400):
        each = []
        for seed in range(4):
            learned = learn_periodic_covariance(draw(CARRIER, num_frames, 2048, seed).waveform, 8, 128)
            assert not learned.independent
            assert learned.lags.shape == (8, 128)
            shifted = [distance(learned.lags[:, :70].roll(shift, 0), truth[:, :70]) for shift in range(8)]
            each.append(min(shifted))
            assert sorted(shifted)[1] > 3 * each[-1]
            # lags beyond the pulse's, and of all phases, are the noise of the estimate
            assert float(learned.lags[:, 74:].norm()) < 2 * each[-1] * float(truth.norm())
        error.append(sum(each) / 4)
    assert error[1] < 0.02
    assert 3 < error[0] / error[1] < 5.5  # 4 for 16 times the frames


def test_period_one_is_the_stationary_autocorrelation() -> None:
    frames = draw(OFDM, 10, 1000).waveform
    learned = learn_periodic_covariance(3 * frames, 1, 100)
    assert (learned.independent, learned.period) == (False, 1)
    lags = frames_autocorrelation(frames, 100)
    for phase in (0, 7):
        assert torch.allclose(learned.window(phase, 100), toeplitz(lags / lags[0].real), rtol=0, atol=1e-6)
    beyond = learned.window(0, 150)
    assert beyond[:50, 149].abs().max() == 0  # lags from 100 on
    assert learn_periodic_covariance(frames, 1, 5000).lags.shape == (1, 1000)


def test_shrinkage_helps_where_frames_are_few() -> None:
    """Ledoit-Wolf: error^2 = noise * spread / (noise + spread), 0.6 of that of the blocks' plain average here."""
    truth = modem_periodic_covariance(OfdmModem()).window(0, 80)
    for seed in range(3):
        frames = draw(OFDM, 10, 2560, seed)
        blocks = torch.stack(
            [
                row[at : at + 80]
                for row, offset in zip(frames.waveform, frames.offset.tolist(), strict=True)
                for at in range(-offset % 80, 2560 - 79, 80)  # where they truly start
            ]
        ).to(torch.complex128)
        plain = blocks.T @ blocks.conj() / len(blocks)
        learned = learn_periodic_covariance(frames.waveform, 80, 256)
        noise, spread = noise_and_spread(truth, len(blocks))
        gained = distance(learned.window(0, 80), truth) / distance(plain / plain.diagonal().real.mean(), truth)
        assert gained == pytest.approx((spread / (noise + spread)) ** 0.5, rel=0.06)
        assert gained < 0.68


def test_crops_of_one_stream_count_their_samples_once() -> None:
    """Random crops overlap by half: periods are still seen to be independent, and the error is that of the stream."""
    truth = modem_periodic_covariance(OfdmModem()).window(0, 80)
    stream = draw(OFDM, 1, 200_000, 4).waveform[0]
    starts = torch.randint(200_000 - 4095, (50,), generator=torch.Generator().manual_seed(2)).tolist()
    crops = torch.stack([stream[start : start + 4096] for start in starts])
    found = learn_periodic_covariance(crops, 80, 256)
    apart = learn_periodic_covariance(stream[: 48 * 4096].view(48, 4096), 80, 256)
    assert found.independent
    covered = len(set().union(*(range(start, start + 4096) for start in starts)))
    noise, spread = noise_and_spread(truth, covered // 80)
    error = distance(found.window(0, 80), truth)
    assert error == pytest.approx((noise * spread / (noise + spread)) ** 0.5 / float(truth.norm()), rel=0.08)
    assert error > distance(apart.window(0, 80), truth)
    again = learn_periodic_covariance(crops.repeat(3, 1), 80, 256)
    assert torch.allclose(again.lags, found.lags, rtol=0, atol=1e-6)


def test_fewer_samples_than_the_covariance_has_unknowns_are_refused() -> None:
    frame = draw(RandomCrop(OfdmModem("qpsk", 256, 64, (16, 15))), 1, 5 * 320).waveform
    with pytest.raises(InputError, match="320 samples has 102400 unknowns, but the example frames hold 5 distinct"):
        _learn_blocks(_Seen(frame, torch.ones(frame.shape, dtype=torch.bool)), torch.zeros(1, dtype=torch.int64), 320)


def test_frames_shorter_than_three_periods_are_refused() -> None:
    frames = draw(OFDM, 20, 239).waveform
    with pytest.raises(InputError, match="frames of 239 samples are too short for a period of 80"):
        learn_periodic_covariance(frames, 80, 256)
    learn_periodic_covariance(draw(OFDM, 20, 400).waveform, 80, 256)
