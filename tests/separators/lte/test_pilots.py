"""Pilots of LTE cells: found beside the SOI, and taken away beneath it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.separators.lte.pilots import PilotCancelling, PilotFinder
from rfsep.separators.lte.resource_blocks import FFT_SIZE, PREFIX, ResourceBlockLmmse
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.lte.pilots import pilot_carriers, pilot_shift, pilot_values

MODEM = LinearModem()
CELL, SLOT, SHIFT, FRACTION = 123, 17, 1, 0.1
NUM_SAMPLES = 2560
NOISE = 0.1
QUIET = Path(os.environ.get("RFSEP_RECORDINGS", "nowhere")) / "independent" / "lte-srsran-quiet.sigmf-data"


def quiet_cell(start: int, generator: torch.Generator, blocks: int = 100) -> Tensor:
    """Nothing but the pilots of symbol 4 of a slot, of two ports through channels of three paths: complex64 [T]."""
    spectrum = torch.zeros(FFT_SIZE, dtype=torch.complex64)
    for port in (0, 1):
        sent = slice(100 - blocks, 100 + blocks)
        carriers = pilot_carriers(pilot_shift(CELL, 1, port))[sent] + SHIFT
        taps = torch.randn(3, dtype=torch.complex64, generator=generator)
        delays = torch.tensor([0, 2, 7])
        turns = torch.polar(torch.ones(()), -2 * torch.pi / FFT_SIZE * carriers[:, None] * delays)
        spectrum[carriers % FFT_SIZE] = pilot_values()[CELL, SLOT, 1, sent] * (turns @ taps)
    since = torch.arange(NUM_SAMPLES) - start
    turn = torch.polar(((since >= -PREFIX) & (since < FFT_SIZE)).float(), 2 * torch.pi / FFT_SIZE * FRACTION * since)
    return torch.fft.ifft(spectrum, norm="ortho")[since % FFT_SIZE] * turn


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def white(size: int, generator: torch.Generator) -> Tensor:
    return NOISE**0.5 * torch.randn(size, NUM_SAMPLES, dtype=torch.complex64, generator=generator)


@pytest.mark.parametrize("start", [-700, 600, 2000])
def test_cell_is_found_and_taken_away(start: int, generator: torch.Generator) -> None:
    """Also where the window cuts the symbol, so that no prefix tells its timing; the fit leaves the noise it adds."""
    soi, cell = MODEM.sample(1, NUM_SAMPLES, generator).waveform[0], 2 * quiet_cell(start, generator)
    fit = PilotFinder(MODEM, NUM_SAMPLES).separate(soi + cell + white(1, generator)[0])
    found = fit.found[0]
    assert (found.cell, found.slot, found.symbol, found.shift) == (CELL, SLOT, 1, SHIFT)
    assert abs(found.start - start) <= 8
    assert abs(found.fraction - FRACTION) < 0.08
    left, before = (fit.pilots - cell).abs().square().mean(), cell.abs().square().mean()
    assert left < 0.03 * before


def test_narrow_cell_is_found_beneath_the_soi(generator: torch.Generator) -> None:
    """Half of the pilots of 5 MHz lie in the SOI's band, where they stand above it at a low SINR."""
    soi, cell = MODEM.sample(1, NUM_SAMPLES, generator).waveform[0], 8 * quiet_cell(600, generator, 25)
    fit = PilotFinder(MODEM, NUM_SAMPLES).separate(soi + cell + white(1, generator)[0])
    assert (fit.found[0].cell, fit.found[0].blocks, fit.found[0].slot) == (CELL, 25, SLOT)
    assert (fit.pilots - cell).abs().square().mean() < 0.05 * cell.abs().square().mean()


def test_nothing_is_found_where_nothing_is(generator: torch.Generator) -> None:
    finder = PilotFinder(MODEM, NUM_SAMPLES)
    for window in MODEM.sample(4, NUM_SAMPLES, generator).waveform + 10 * white(4, generator):
        fit = finder.separate(window)
        assert fit.found == []
        assert torch.equal(fit.rest, window)


def test_bits_beneath_pilots_are_found(generator: torch.Generator) -> None:
    sent = MODEM.sample(4, NUM_SAMPLES, generator)
    cells = torch.stack([4 * quiet_cell(start, generator) for start in (-300, 200, 700, 1600)])
    mixture = sent.waveform + cells + 4 * white(4, generator)
    examples = cells[:, : NUM_SAMPLES // 2]
    wrong = {}
    for separator in (ResourceBlockLmmse(MODEM, examples, detect=True), PilotCancelling(MODEM, examples)):
        bits = separator.separate(mixture).bits
        wrong[type(separator)] = int((bits[:, : sent.bits.shape[1]] != sent.bits).sum())
    assert wrong[PilotCancelling] < 0.5 * wrong[ResourceBlockLmmse]


@pytest.mark.skipif(not QUIET.is_file(), reason="RFSEP_RECORDINGS names no recordings")
@pytest.mark.parametrize("place", [19200 + 5200, 19200 + 6500, 19200 + 7900])
def test_synchronisation_signals_of_srsran_are_taken_away(place: int, generator: torch.Generator) -> None:
    """Symbols 4 to 7 of a subframe 5, where the cell is found by its pilots or by the signals themselves."""
    numbers = np.fromfile(QUIET, dtype="<i2").astype(np.float32)
    samples = torch.from_numpy(numbers.view(np.complex64))
    samples = samples / samples.abs().square().mean().sqrt()
    sent = MODEM.sample(1, NUM_SAMPLES, generator)
    mixture = sent.waveform[0] + 4 * samples[place : place + NUM_SAMPLES]
    fit = PilotFinder(MODEM, NUM_SAMPLES).separate(mixture)
    assert (MODEM.decide(mixture[None]) != sent.bits).double().mean() > 0.2
    assert (MODEM.decide(fit.rest[None]) != sent.bits).double().mean() < 0.02
