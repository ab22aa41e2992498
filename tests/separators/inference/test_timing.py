"""Timings by a network: perfect logits of pieces give the timing of any window, and pieces add up."""

import pytest
import torch
from torch import Tensor

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.timing_cnn import TimingCnn
from rfsep.separators.cyclic_lmmse import CyclicLmmse
from rfsep.separators.inference.interference import make_setup
from rfsep.separators.inference.timing import TimingNetwork, timing_input
from rfsep.separators.joint_detection import JointDetection
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.periodic_covariance import modem_periodic_covariance
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, MixtureBatch

QPSK, OFDM = LinearModem(), OfdmModem()
NOTHING = torch.zeros((0, 0), dtype=torch.complex64)
PERIOD, SIZE = 80, 640


class Reads(TimingCnn):
    """Reads the delay that a window's first sample has as its angle; all others have the logit ``-cost``."""

    def __init__(self, cost: float = 1e3, num_samples: int = SIZE, delays: int = PERIOD) -> None:
        super().__init__(num_samples, delays, kernel=4)
        self.cost = cost

    def forward(self, mixture: Tensor) -> Tensor:
        assert mixture.shape[1:] == (2, self.num_samples)
        angle = torch.atan2(mixture[:, 1, 0], mixture[:, 0, 0])  # unwrapped: a turn is a period
        delay = (angle / (2 * torch.pi) * self.delays).round().long() % self.delays
        return self.cost * (torch.nn.functional.one_hot(delay, self.delays) - 1.0)


def turning(offset: Tensor, length: int) -> Tensor:
    """Windows complex64 [B, T] that turn once a period and are ``offset`` samples into one at sample 0."""
    angle = 2 * torch.pi * (offset[:, None] + torch.arange(length)) / PERIOD
    return torch.polar(torch.ones_like(angle), angle)


@pytest.mark.parametrize("length", [640, 641, 719, 1280, 2560, 2575])
def test_perfect_logits_give_every_timing_in_windows_of_every_length(length: int) -> None:
    offset = torch.arange(PERIOD)
    found = TimingNetwork(Reads()).log_probability(turning(offset, length))
    assert torch.equal(found.argmax(1), offset)


def test_pieces_add_up_at_moved_delays() -> None:
    """Three pieces of 640 samples in 1,300, the last from sample 660 on: a numpy sum of their rolled logarithms."""
    torch.manual_seed(0)
    model = TimingCnn(folded=True).eval()
    mixture = torch.randn(3, 1300, dtype=torch.complex64)
    found = TimingNetwork(model).log_probability(mixture)
    expected = torch.zeros(3, PERIOD)
    with torch.no_grad():
        for start in (0, 640, 660):
            piece = mixture[:, start : start + SIZE]
            unit = piece / piece.abs().square().mean(1, keepdim=True).sqrt()
            logits = model(torch.stack((unit.real, unit.imag), 1))
            alone = logits - logits.exp().sum(1, keepdim=True).log()
            for delay in range(PERIOD):
                expected[:, delay] += alone[:, (delay + start) % PERIOD]
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_sure_piece_outvotes_an_unsure_one() -> None:
    """The second piece tells another timing than the first: nine to one in each, so that both are as likely."""
    offset = torch.tensor([13])
    first, second = turning(offset, SIZE), turning(offset + 7, SIZE)  # 640 samples are eight periods
    both = TimingNetwork(Reads(cost=2.0)).log_probability(torch.cat((first, second), 1))[0]
    top = both.topk(3)
    assert set(top.indices[:2].tolist()) == {13, 20}
    assert float(top.values[0] - top.values[1]) == pytest.approx(0, abs=1e-5)
    assert float(top.values[1] - top.values[2]) == pytest.approx(2, abs=1e-5)
    thrice = TimingNetwork(Reads(cost=2.0)).log_probability(torch.cat((first, second, first), 1))[0]
    assert int(thrice.argmax()) == 13


def test_a_level_is_no_timing() -> None:
    mixture = torch.randn(2, 640, dtype=torch.complex64)
    assert torch.allclose(timing_input(1e3 * mixture), timing_input(mixture), rtol=1e-5)
    assert torch.equal(timing_input(torch.zeros(1, 640, dtype=torch.complex64)), torch.zeros(1, 2, 640))


class Tells(TimingNetwork):
    """The true timings of one batch, where ``true`` differs from what the likelihood would find."""

    def __init__(self, true: Tensor) -> None:
        super().__init__(TimingCnn(kernel=4))
        self.true = true

    def log_probability(self, mixture: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(self.true[: len(mixture)], PERIOD).float()


def draw(sinr_db: float) -> MixtureBatch:
    mixer = Mixer(QPSK, RandomCrop(OFDM, power=56 / 64))
    return mixer.draw(torch.full((12,), sinr_db), 1280, batch_generator(Purpose.TEST, 5))


def test_the_synchroniser_keeps_the_networks_timing_and_refines_gain_and_noise() -> None:
    batch = draw(-18.0)
    known = {"begins": True, "ends": True, "timing_known": True, "noise_power": None}
    covariance = modem_periodic_covariance(OFDM)

    def found(timing: Tensor | None):  # type: ignore[no-untyped-def]
        network = None if timing is None else Tells(timing)
        setup = make_setup(QPSK, covariance, 1280, **known, timing_network=network)  # type: ignore[arg-type]
        return setup.synchroniser(batch.mixture)

    by_likelihood, told, mistaken = found(None), found(batch.interference_offset), found(torch.full((12,), 3))
    assert torch.equal(by_likelihood.interference_offset, batch.interference_offset)
    for one, other in zip(told, by_likelihood, strict=True):  # gain, noise and likelihood as well
        assert torch.allclose(one.double(), other.double(), rtol=1e-9)
    assert (mistaken.interference_offset == 3).all()
    wrong = batch.interference_offset != 3
    assert (mistaken.log_likelihood < told.log_likelihood)[wrong].all()
    assert wrong.sum() > 8


def test_separators_separate_at_the_timing_told() -> None:
    batch = MixtureBatch(*(field[:3] for field in draw(-18.0)))

    def error(kind: type[CyclicLmmse] | type[JointDetection], network: TimingNetwork | None) -> float:
        estimate = kind(QPSK, NOTHING, OFDM, timing_network=network).separate(batch.mixture).soi
        return float((estimate - batch.soi).abs().square().mean())

    right, wrong = Tells(batch.interference_offset), Tells((batch.interference_offset + 40) % PERIOD)
    for kind in (CyclicLmmse, JointDetection):
        assert error(kind, right) == pytest.approx(error(kind, None), rel=1e-6)
        assert error(kind, right) < 1e-4
    assert error(CyclicLmmse, wrong) > 0.1


def test_networks_that_do_not_fit_are_refused() -> None:
    other = TimingNetwork(TimingCnn(num_samples=320, delays=40, kernel=4))
    message = "timing_network tells 40 delays apart, and the interference repeats every 80 samples"
    for kind in (CyclicLmmse, JointDetection):
        with pytest.raises(InputError, match=message):
            kind(QPSK, NOTHING, OFDM, timing_network=other)
    with pytest.raises(InputError, match="timing_network needs interference="):
        CyclicLmmse(QPSK, torch.randn(4, 2000, dtype=torch.complex64), timing_network=other)
    with pytest.raises(InputError, match="timing_network sees 640 samples, and the mixture has 400"):
        TimingNetwork(Reads()).log_probability(turning(torch.tensor([1]), 400))
