"""Augmented interference is changed as said, and by nothing but the generator."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rfsep.app.config import instantiate, option
from rfsep.iq import power
from rfsep.mixtures import augment
from rfsep.mixtures.augment import Augmentation
from rfsep.mixtures.endless import EndlessMixtures, Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, Sampled

EVERYTHING = Augmentation(phase=True, frequency_std=0.01, magnitude_db=(-3, 3), time_shift=True, remix=True)


def generator(key: int = 0) -> torch.Generator:
    return batch_generator(Purpose.TEST, key)


def sampled(rows: int, length: int) -> Sampled:
    return RandomCrop(OfdmModem(), power=56 / 64).sample(rows, length, generator())


def tone(rows: int, length: int, cycles: int) -> Tensor:
    turns = cycles * torch.arange(length) / length
    return torch.polar(torch.ones(length), 2 * math.pi * turns).repeat(rows, 1)


def test_rotation_keeps_every_magnitude_and_covers_the_circle() -> None:
    waveform = sampled(2000, 32).waveform
    rotated = augment.rotate(waveform, generator(1))
    assert torch.allclose(rotated.abs(), waveform.abs(), atol=1e-6)
    turns = (rotated * waveform.conj()).sum(1).angle() / (2 * math.pi)
    one_a_row = waveform * torch.exp(2j * math.pi * turns)[:, None]
    assert torch.allclose(rotated, one_a_row, atol=1e-5)
    spread = turns.sort().values - torch.linspace(-0.5, 0.5, 2000)
    assert spread.abs().max() < 1.63 / math.sqrt(2000)  # Kolmogorov-Smirnov at 1 %


def test_frequency_offset_moves_a_tone_by_exactly_its_draw() -> None:
    """Over windows as long as the challenge's, where float32 phases would be off by their rounding."""
    length, std = 40960, 0.01
    moved = augment.shift_frequency(tone(20, length, 1000), std, generator(2))
    drawn = std * torch.randn(20, dtype=torch.float64, generator=generator(2))
    place = torch.arange(length, dtype=torch.float64)
    expected = torch.exp(2j * math.pi * (1000 / length + drawn)[:, None] * place)
    assert (moved - expected).abs().max() < 1e-3
    peaks = torch.fft.fft(moved).abs().argmax(1)
    assert torch.equal(peaks, ((1000 + drawn * length).round().long()) % length)
    assert drawn.abs().max() > 0.01


def test_magnitude_is_uniform_in_decibels() -> None:
    waveform = sampled(2000, 16).waveform
    scaled = augment.scale(waveform, -6, 2, generator(3))
    ratio = power(scaled) / power(waveform)
    assert torch.allclose(scaled, waveform * ratio.sqrt()[:, None], atol=1e-5)
    level = (10 * torch.log10(ratio)).sort().values
    assert (level - torch.linspace(-6, 2, 2000)).abs().max() < 8 * 1.63 / math.sqrt(2000)


def test_roll_is_cyclic_and_reaches_every_place() -> None:
    ramp = torch.arange(8.0).to(torch.complex64).repeat(500, 1)
    rolled = augment.roll(ramp, generator(4))
    assert set(rolled[:, 0].real.tolist()) == set(range(8))
    assert ((rolled[:, 1:] - rolled[:, :-1]).real % 8 == 1).all()


def test_batch_goes_through_in_one_piece() -> None:
    """Remixing keeps a row's waveform, offset and origin together; only a time shift loses the offset."""
    before = sampled(40, 64)._replace(origin=torch.arange(40))
    after = Augmentation(remix=True)(before, generator(5))
    assert not torch.equal(after.origin, before.origin)
    assert torch.equal(after.origin.sort().values, before.origin)
    assert torch.equal(after.waveform, before.waveform[after.origin])
    assert torch.equal(after.offset, before.offset[after.origin])
    kept = Augmentation(phase=True, frequency_std=0.1, magnitude_db=(1, 2))(before, generator(5))
    assert torch.equal(kept.offset, before.offset)
    assert (Augmentation(time_shift=True)(before, generator(5)).offset == -1).all()


def test_nothing_asked_changes_nothing_and_draws_nothing() -> None:
    before, source = sampled(4, 64), generator(6)
    after = Augmentation()(before, source)
    assert torch.equal(after.waveform, before.waveform)
    assert torch.equal(torch.rand(3, generator=source), torch.rand(3, generator=generator(6)))
    with pytest.raises(InputError, match="magnitude_db"):
        Augmentation(magnitude_db=(3, -3))
    with pytest.raises(InputError, match="frequency_std"):
        Augmentation(frequency_std=-0.1)


def mixer(augmentation: Augmentation | None) -> Mixer:
    return Mixer(LinearModem(), RandomCrop(OfdmModem(), power=56 / 64), random_phase=False, augment=augmentation)


def test_mixture_holds_the_augmented_interference_and_the_same_soi() -> None:
    level = torch.full((50,), -12.0)
    plain, augmented = (mixer(which).draw(level, 160, generator(7)) for which in (None, EVERYTHING))
    assert torch.equal(plain.soi, augmented.soi)
    assert torch.equal(plain.bits, augmented.bits)
    assert torch.allclose(augmented.mixture - augmented.soi, augmented.interference, atol=1e-4)
    gain_db = 10 * torch.log10(power(augmented.interference)).sort().values - 12
    other_db = 10 * torch.log10(power(plain.interference)).sort().values - 12
    assert gain_db.std() > other_db.std() + 0.5
    assert (augmented.interference_offset == -1).all()
    assert (plain.interference_offset >= 0).all()


def test_augmented_batches_do_not_depend_on_the_number_of_workers() -> None:
    def take(workers: int) -> list[Tensor]:
        loader = DataLoader(EndlessMixtures(mixer(EVERYTHING), 3, 160, (-30.0, 0.0), 0), None, num_workers=workers)
        return [batch.mixture for _, batch in zip(range(4), loader, strict=False)]

    alone, two = take(0), take(2)
    assert all(torch.equal(a, b) for a, b in zip(alone, two, strict=True))
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize(("name", "changes"), [("none", False), ("phase", True), ("full", True)])
def test_options_of_the_configuration(name: str, changes: bool) -> None:
    method = option("augment", name).method
    made = None if method is None else instantiate(method)
    level = torch.full((4,), -12.0)
    plain, augmented = (mixer(which).draw(level, 160, generator(8)) for which in (None, made))
    assert torch.equal(plain.interference, augmented.interference) != changes
    assert torch.equal(plain.interference_offset, augmented.interference_offset)
