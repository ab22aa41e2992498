"""The envelope canceller on FM, FSK and chirps made with plain numpy: it finds what no linear estimate does."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.separators.envelope.canceller import EnvelopeCanceller
from rfsep.separators.envelope.detection import tilted
from rfsep.separators.envelope.flips import improved
from rfsep.separators.envelope.innovations import fit_innovations
from rfsep.separators.envelope.layout import Layout
from rfsep.separators.envelope.linearised import errors_of, linearise, rest_of
from rfsep.separators.envelope.nuisance import learn_nuisance
from rfsep.separators.envelope.polar import Polar, learn_polar
from rfsep.separators.lmmse import Lmmse
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError

QPSK = LinearModem()


def phase(kind: str, num_samples: int, random: np.random.Generator) -> np.ndarray:
    """Phases [num_samples] in radians."""
    time = np.arange(num_samples)
    if kind == "fm":
        taps = np.sinc(0.02 * np.arange(-200, 201)) * np.hamming(401)
        message = np.convolve(random.standard_normal(num_samples + 400), taps, "valid")
        frequency = 0.03 * message / message.std()
    elif kind == "msk":
        frequency = random.choice([-1, 1], num_samples // 8 + 1)[time // 8] / 32 + 0.01
    else:  # a chirp
        frequency = 0.3 * (((time + random.integers(1000)) % 1000) / 1000 - 0.5)
    return 2 * np.pi * (np.cumsum(frequency) + random.uniform())


def signal(kind: str, shape: tuple[int, int], seed: int, *, pauses: bool = False, noise: float = 0.05) -> Tensor:
    """Interference complex64 [F, T] of unit level."""
    random = np.random.default_rng(seed)
    frames = np.exp(1j * np.stack([phase(kind, shape[1], random) for _ in range(shape[0])]))
    if pauses:
        start = random.integers(400, 800, shape[0])[:, None]
        frames *= (np.arange(shape[1]) - start) % 2000 < 1500
    frames += noise / 2**0.5 * (random.standard_normal(shape) + 1j * random.standard_normal(shape))
    return torch.from_numpy(frames.astype(np.complex64))


@cache
def canceller(kind: str, pauses: bool = False) -> EnvelopeCanceller:
    return EnvelopeCanceller(QPSK, signal(kind, (10, 6000), 0, pauses=pauses))


def wrong(bits: Tensor, sent: Tensor) -> float:
    return float((bits != sent).double().mean())


@pytest.mark.parametrize("kind", ["fm", "msk", "chirp"])
@pytest.mark.parametrize("sinr_db", [-18, -9, 0])
def test_no_errors_where_linear_estimates_fail(kind: str, sinr_db: int) -> None:
    soi = QPSK.sample(3, 1280, torch.Generator().manual_seed(1))
    mixture = soi.waveform + 10 ** (-sinr_db / 20) * signal(kind, (3, 1280), 1)
    found = canceller(kind).separate(mixture)
    assert wrong(found.bits, soi.bits) <= 2e-3
    assert wrong(Lmmse(QPSK, signal(kind, (10, 6000), 0)).separate(mixture).bits, soi.bits) > 0.02
    errors = (found.soi - soi.waveform).abs().square().mean(1)
    assert errors.median() < 1e-4  # decided symbols hold none of the noise


def test_pauses_are_white_noise() -> None:
    soi = QPSK.sample(4, 2560, torch.Generator().manual_seed(2))
    mixture = soi.waveform + 4 * signal("msk", (4, 2560), 3, pauses=True)
    assert wrong(canceller("msk", pauses=True).separate(mixture).bits, soi.bits) < 0.01


def test_any_length_by_windows() -> None:
    separator = EnvelopeCanceller(QPSK, signal("fm", (10, 6000), 0), block=1280)
    for length in (3001, 40):
        soi = QPSK.sample(2, length, torch.Generator().manual_seed(3))
        found = separator.separate(soi.waveform + 4 * signal("fm", (2, length), 4))
        assert found.soi.shape == soi.waveform.shape
        assert wrong(found.bits, soi.bits) < (5e-3 if length > 1000 else 0.5)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    soi = QPSK.sample(3, 640, torch.Generator().manual_seed(4)).waveform
    mixture = soi + torch.tensor([[8.0], [1.0], [2.0]]) * signal("msk", (3, 640), 5)
    whole, separator = canceller("msk").separate(mixture), canceller("msk")
    for row in range(3):
        torch.testing.assert_close(separator.separate(mixture[row : row + 1]).soi, whole.soi[row : row + 1])


def test_levels_of_16_qam() -> None:
    modem = LinearModem("qam16")
    soi = modem.sample(3, 1280, torch.Generator().manual_seed(5))
    examples, mixture = (
        signal("fm", (10, 6000), 0, noise=0.01),
        soi.waveform + 4 * signal("fm", (3, 1280), 6, noise=0.01),
    )
    found = EnvelopeCanceller(modem, examples).separate(mixture)
    assert wrong(found.bits, soi.bits) < 0.08
    assert wrong(Lmmse(modem, examples).separate(mixture).bits, soi.bits) > 0.3


def test_linearisation_predicts_the_errors() -> None:
    """The moment is minus half the gradient of the weighted squared errors, for weights that stay: by differences."""
    model = canceller("fm")._model
    layout = Layout(QPSK, 320, begins=False, ends=True, order=len(model.envelope.taps) - 1)
    generator = torch.Generator().manual_seed(6)
    symbols = 0.3 * torch.randn((1, layout.num_symbols), generator=generator, dtype=torch.complex64)
    mixture = 3 * signal("fm", (1, 320), 7) + layout.synthesise(symbols, layout.pulse)
    terms, zero = model.nuisance.mean[None], torch.zeros((1, 320))

    def errors_at(change: complex) -> tuple[Tensor, Tensor]:
        moved = symbols.clone()
        moved[0, 7] += change
        soi = layout.synthesise(moved, layout.pulse)
        rest = rest_of(model, mixture, soi, terms, torch.full((1, 1), 3.0), 64)
        found = errors_of(model, rest, zero, 1.0)
        return (found.radial / found.radial_noise.sqrt()), (found.phase / found.phase_noise.sqrt())

    flat = model._replace(freedom=1e9)  # Gaussian weights
    rest = rest_of(flat, mixture, layout.synthesise(symbols, layout.pulse), terms, torch.full((1, 1), 3.0), 64)
    said = linearise(layout, flat, rest, errors_of(flat, rest, zero, 1.0), symbols, terms)
    about = said.moment - (said.gram @ torch.view_as_real(symbols).double().flatten()[:, None])[..., 0]
    for part, step in enumerate((0.01, 0.01j)):
        costs = [sum(float(e.double().square().sum()) for e in errors_at(sign * step)) for sign in (1, -1)]
        slope = (costs[0] - costs[1]) / 0.02
        assert float(about[0, 14 + part]) == pytest.approx(-slope / 2, rel=0.02, abs=0.02 * float(about.abs().max()))


def test_changes_of_pairs_mend_wrong_symbols() -> None:
    soi = QPSK.sample(1, 640, torch.Generator().manual_seed(7))
    model = canceller("fm")._model
    layout = Layout(QPSK, 640, begins=True, ends=True, order=len(model.envelope.taps) - 1)
    sent = QPSK.constellation[2 * soi.bits[:, ::2].long() + soi.bits[:, 1::2].long()]
    start = sent.clone()
    start[0, [10, 11, 30]] = -start[0, [10, 11, 30]]
    mixture = soi.waveform + signal("fm", (1, 640), 8)
    terms = model.nuisance.mean[None]
    rest = rest_of(model, mixture, layout.synthesise(start, layout.pulse), terms, torch.ones((1, 1)), 64)
    doubtful = torch.ones((1, layout.num_symbols), dtype=torch.bool)
    found = improved(layout, model, rest, start, QPSK.constellation, doubtful, 8)
    torch.testing.assert_close(found, sent)


def test_ac_coupling_is_learned() -> None:
    """y_t = u_t - sum_n e^{-n / 100} u_{t-n} / 100: a high-pass filter, and nothing else deviates."""
    clean = signal("fm", (30, 4560), 9, noise=0.0).to(torch.complex128)
    kernel = np.exp(-np.arange(2000) / 100) / 100
    slow = np.stack([np.convolve(row, kernel)[2000:4560] for row in clean.numpy()])
    frames = clean[:, 2000:] - torch.from_numpy(slow)
    nuisance, rest = learn_nuisance(frames / frames.abs().mean(1, keepdim=True))
    assert 100.0 in nuisance.terms.memories
    place = 2 * (len(nuisance.terms.slow) + len(nuisance.terms.harmonics) + nuisance.terms.memories.index(100.0))
    assert float(nuisance.mean[place]) == pytest.approx(-1, abs=0.1)
    assert float(rest.abs().std(1).median()) < 0.2 * float(frames.abs().std(1).median())


def test_innovations_of_a_known_process() -> None:
    random = np.random.default_rng(0)
    noise = 0.3 * random.standard_normal((10, 4000))
    process = np.zeros_like(noise)
    for t in range(2, 4000):
        process[:, t] = 1.2 * process[:, t - 1] - 0.6 * process[:, t - 2] + noise[:, t]
    found = fit_innovations(torch.from_numpy(process + 5), 2, 1e6)
    assert found.taps.tolist() == pytest.approx([1, -1.2, 0.6], abs=0.02)
    assert found.variance == pytest.approx(0.09, rel=0.03)
    assert found.mean == pytest.approx(5, abs=0.05)
    assert float(found.start[0]) == pytest.approx(process.var(), rel=0.1)  # nothing before it is known


def test_tilted_bpsk_is_a_hyperbolic_tangent() -> None:
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.0], [0.0, 2.0]], dtype=torch.float64)
    mean, variance = tilted(torch.tensor([[[0.3, 0.7]]], dtype=torch.float64), covariance[None, None], points)
    assert float(mean[0, 0, 0]) == pytest.approx(math.tanh(0.3 / 0.5))
    assert float(variance[0, 0, 0]) == pytest.approx(1 - math.tanh(0.6) ** 2)


def test_refusals() -> None:
    noise = torch.randn((10, 4096), generator=torch.Generator().manual_seed(8), dtype=torch.complex64)
    with pytest.raises(InputError, match=r"deviates by 5[123] % of its mean, more than 40 %"):
        EnvelopeCanceller(QPSK, noise)
    with pytest.raises(InputError, match="a linear modulation of one carrier"):
        EnvelopeCanceller(OfdmModem(), signal("fm", (10, 4096), 0))
    with pytest.raises(InputError, match="fewer than 8 stretches of 256 samples"):
        learn_polar(signal("fm", (2, 500), 0), 16, 4.0)


def test_the_model_of_a_clean_signal_is_its_noise() -> None:
    """White noise of power s^2 gives the radius half of it, of which Student's t with 4 degrees fits a share."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.softmax(-z.square() / 2, 0)
    share = 1.0
    for _ in range(50):  # the fixed point of the reweighted variance
        share = float((density * z.square() * 5 / (4 + z.square() / share)).sum())
    model: Polar = canceller("msk")._model
    assert model.envelope.variance == pytest.approx(share * 0.05**2 / 2, rel=0.1)
    assert model.floor is None
    assert canceller("msk", pauses=True)._model.floor == pytest.approx(0.05 * math.log(2) ** 0.5, rel=0.1)
