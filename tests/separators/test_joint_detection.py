"""Joint detection: exact where it can be, nearly so in noise, and blind to what it cannot know."""

import math
from functools import cache

import pytest
import torch

from rfsep.mixtures.mix import Mixer
from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.joint_detection import JointDetection
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch, Separated, SignalSource

NONE = torch.zeros((0, 0), dtype=torch.complex64)
QPSK, OFDM = LinearModem(span=4), OfdmModem()


@cache
def detection(interference: OfdmModem = OFDM) -> JointDetection:
    return JointDetection(QPSK, NONE, interference)


def draw(
    sinr_db: float,
    count: int,
    num_samples: int = 1280,
    noise_power: float = 0.0,
    interference: OfdmModem = OFDM,
    soi: SignalSource = QPSK,
    seed: int = 0,
) -> MixtureBatch:
    mixer = Mixer(soi, RandomCrop(interference, power=interference.power), noise_power=noise_power)
    return mixer.draw(torch.full((count,), sinr_db), num_samples, torch.Generator().manual_seed(seed))


def ber(found: Separated, batch: MixtureBatch) -> float:
    return float((found.bits != batch.bits).double().mean())


def worst_db(found: Separated, batch: MixtureBatch) -> float:
    """MSE of the worst window."""
    return 10 * math.log10(float((found.soi - batch.soi).abs().square().mean(1).max()) + 1e-12)


@pytest.mark.parametrize("sinr_db", [-18.0, -6.0])
@pytest.mark.parametrize("name", ["bpsk", "qpsk", "qam16"])
def test_exact_without_noise(name: str, sinr_db: float) -> None:
    modem = OfdmModem(name)
    batch = draw(sinr_db, 3, interference=modem)
    found = detection(modem).separate(batch.mixture)
    assert torch.equal(found.bits, batch.bits)
    assert worst_db(found, batch) < -80


@pytest.mark.parametrize(("sinr_db", "linear"), [(-18.0, 0.02), (-6.0, 3e-4)])
def test_in_noise_much_better_than_any_linear_estimate(sinr_db: float, linear: float) -> None:
    batch = draw(sinr_db, 10, noise_power=0.01)
    found = detection().separate(batch.mixture)
    assert ber(found, batch) < (2e-3 if sinr_db < -12 else 1e-9)
    assert linear < ber(CyclicLmmse(QPSK, NONE, OFDM).separate(batch.mixture), batch)
    errors_db = 10 * torch.log10((found.soi - batch.soi).abs().square().mean(1) + 1e-12)
    assert errors_db.median() < -60  # decided, and so without the noise


def test_noise_that_is_known() -> None:
    """Single precision from a noise of 1e-3 on, and as good."""
    batch = draw(-12.0, 4, noise_power=0.01)
    found = JointDetection(QPSK, NONE, OFDM, noise_power=0.01).separate(batch.mixture)
    assert torch.equal(found.bits, batch.bits)
    assert worst_db(found, batch) < -60


def test_an_end_that_was_not_decided_does_not_speak_against_the_rest() -> None:
    """The linear estimate has an MSE of -5 to -8 dB in these windows, whose ends are cut from symbols of the SOI."""
    generator = torch.Generator().manual_seed(1)
    mixer = Mixer(RandomCrop(QPSK, random_phase=False), RandomCrop(OFDM, power=56 / 64))
    batch = mixer.draw(torch.full((40,), -24.0), 1280, generator)
    noisy = batch.mixture + 0.1 * torch.randn(batch.mixture.shape, dtype=torch.complex64, generator=generator)
    rows = [20, 24, 28, 29]
    found = JointDetection(QPSK, NONE, OFDM, "estimated", noise_power=0.01).separate(noisy[rows])
    errors = (found.soi - batch.soi[rows]).abs().square().mean(1)
    assert errors.max() < 0.02


@pytest.mark.parametrize(
    "interference",
    [
        OfdmModem("qpsk", 64, 8, (8, 7)),
        OfdmModem("qpsk", 32, 8, (3, 2)),
        OfdmModem("qpsk", 64, 0),
        OfdmModem("qpsk", 64, 16, (0, 0), dc_null=False),
    ],
    ids=["64-8-48", "32-8", "no-prefix", "all-carriers"],
)
@pytest.mark.parametrize("noise_power", [0.0, 0.01])
def test_other_layouts_of_the_interference(interference: OfdmModem, noise_power: float) -> None:
    batch = draw(-12.0, 3, 960, noise_power, interference)
    found = detection(interference).separate(batch.mixture)
    assert ber(found, batch) < 1e-9
    assert worst_db(found, batch) < -60


def test_modem_of_the_interference_is_learned_from_examples() -> None:
    examples = RandomCrop(OFDM, power=56 / 64).sample(30, 4096, torch.Generator().manual_seed(5)).waveform
    batch = draw(-18.0, 2)
    learned = JointDetection(QPSK, examples)
    assert torch.equal(learned.interference.carriers, OFDM.carriers)
    assert torch.equal(learned.separate(batch.mixture).bits, batch.bits)


def test_each_window_takes_the_constellation_that_it_holds() -> None:
    """As good as when each is told; told the one of most frames, the others have wrong bits."""
    kinds = [OfdmModem("qpsk"), OfdmModem("qam64")]
    sources = [RandomCrop(modem, power=modem.power) for modem in kinds]
    frames = [
        source.sample(number, 4096, torch.Generator().manual_seed(5)).waveform
        for source, number in zip(sources, (24, 8), strict=True)
    ]
    learned = JointDetection(QPSK, torch.cat(frames))
    assert sorted(len(modem.constellation) for modem in learned.interferences) == [4, 64]
    drawn = [draw(-18.0, 3, noise_power=0.01, interference=modem) for modem in kinds]
    found = learned.separate(torch.cat([batch.mixture for batch in drawn]))
    told = [JointDetection(QPSK, NONE, modem).separate(part.mixture) for modem, part in zip(kinds, drawn, strict=True)]
    assert torch.equal(found.bits, torch.cat([one.bits for one in told]))
    assert torch.equal(found.bits, torch.cat([batch.bits for batch in drawn]))
    assert ber(detection(kinds[0]).separate(drawn[1].mixture), drawn[1]) > 0.02
    order = torch.tensor([4, 0, 2, 5, 1, 3])
    shuffled = learned.separate(torch.cat([batch.mixture for batch in drawn])[order])
    assert torch.equal(shuffled.bits, found.bits[order])


@pytest.mark.parametrize("noise_power", [0.0, 0.01])
def test_ofdm_in_ofdm_of_the_same_kind(noise_power: float) -> None:
    """Where linear estimates have every third bit wrong."""
    batch = draw(-24.0, 3, 800, noise_power, soi=OFDM)
    found = JointDetection(OFDM, NONE, OFDM).separate(batch.mixture)
    assert ber(found, batch) < 1e-3
    assert ber(CyclicLmmse(OFDM, NONE, OFDM).separate(batch.mixture), batch) > 0.2


def test_timing_of_the_soi_need_not_be_known() -> None:
    modem = LinearModem()
    batch = draw(-18.0, 4, noise_power=0.01, soi=RandomCrop(modem, random_phase=False))
    found = JointDetection(modem, NONE, OFDM, "estimated").separate(batch.mixture)
    # ends, where symbols of both are half outside, are the weak spot
    inner = (found.soi - batch.soi)[:, 160:-160].abs().square().mean(1)
    assert 10 * math.log10(float(inner.max()) + 1e-12) < -50
    assert worst_db(found, batch) < -20


def test_long_mixtures() -> None:
    """Five windows; seams leave no trace."""
    batch = draw(-18.0, 1, 4000, 0.01)
    found = JointDetection(QPSK, NONE, OFDM, block=1280).separate(batch.mixture)
    assert torch.equal(found.bits, batch.bits)
    assert worst_db(found, batch) < -60


def test_phase_of_the_interference_changes_nothing() -> None:
    """By 90 degrees, which its constellation hides, and by any other angle."""
    batch = draw(-12.0, 3, noise_power=0.01)
    expected = detection().separate(batch.mixture)
    assert torch.equal(expected.bits, batch.bits)
    for degrees in (90.0, 180.0, 270.0, 37.0):
        turn = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees))) - 1
        found = detection().separate(batch.mixture + turn * batch.interference)
        assert torch.equal(found.bits, expected.bits)
        assert torch.allclose(found.soi, expected.soi, rtol=0, atol=1e-3)


def test_rows_do_not_see_their_neighbours() -> None:
    mixture = torch.cat([draw(level, 1, 900, 0.01, seed=3).mixture for level in (-24.0, -12.0, 3.0)])
    together = detection().separate(mixture)
    for row in range(3):
        alone = detection().separate(mixture[row : row + 1])
        assert torch.allclose(together.soi[row], alone.soi[0], rtol=0, atol=1e-4)
        assert torch.equal(together.bits[row], alone.bits[0])


def test_interference_that_is_no_ofdm_is_refused() -> None:
    expected = r"^the interference is no OFDM whose symbols are known; give interference=$"
    noise = torch.randn((30, 4096), dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    for examples, modem in ((NONE, LinearModem()), (noise, None)):
        with pytest.raises(InputError, match=expected):
            JointDetection(QPSK, examples, modem)


@pytest.mark.parametrize("length", [1, 8, 57, 400, 1000])
def test_silence_and_short_mixtures_stay_finite(length: int) -> None:
    silence = torch.zeros((2, length), dtype=torch.complex64)
    silence[1] = 1e-3
    for separator in (detection(), JointDetection(QPSK, NONE, OFDM, "estimated")):
        found = separator.separate(silence)
        assert found.soi.shape == silence.shape
        assert found.soi.isfinite().all()
        assert found.bits.shape == (2, QPSK.num_bits(length))
