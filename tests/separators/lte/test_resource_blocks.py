"""An LTE downlink as interference: timing, powers, the estimator, its bounds, and real recordings."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rfsep.bounds.resource_elements import ResourceElementBound, locate, track
from rfsep.mixtures.mix import Mixer
from rfsep.separators.inference.band import fits_band, make_band
from rfsep.separators.inference.symbol_posterior import make_response
from rfsep.separators.lte import resource_blocks
from rfsep.separators.lte.resource_blocks import (
    FFT_SIZE,
    ResourceBlockLmmse,
    find_timings,
    make_lattice,
    symbol_waves,
)
from rfsep.signals.crops import whole
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.recordings import SigmfRecordings
from rfsep.types import InputError

ROOT = Path(__file__).parents[3]
MODEM = LinearModem()
NONE = torch.zeros((0, 0), dtype=torch.complex64)
OFFSET = 0.08  # carrier spacings


def downlink(num_slots: int, generator: torch.Generator) -> Tensor:
    """Slots of Gaussian carriers -600..600 in resource blocks that are full, or empty as often: complex64 [T]."""
    number = torch.cat((torch.arange(-600, 0), torch.arange(1, 601)))
    parts = []
    for symbol in range(7 * num_slots):
        prefix = 100 if symbol % 7 == 0 else 90
        used = (torch.rand(100, generator=generator) < 0.5).repeat_interleave(12)
        grid = torch.zeros(FFT_SIZE, dtype=torch.complex128)
        grid[number % FFT_SIZE] = used * torch.randn(1200, dtype=torch.complex128, generator=generator)
        body = torch.fft.ifft(grid, norm="ortho")
        parts.append(torch.cat((body[-prefix:], body)))
    signal = torch.cat(parts)
    time = torch.arange(len(signal), dtype=torch.float64)
    signal = signal * torch.polar(torch.ones_like(time), 2 * torch.pi * OFFSET / FFT_SIZE * time)
    signal = signal / signal.abs().square().mean().sqrt()
    return (signal + 0.03 * torch.randn(signal.shape, dtype=signal.dtype, generator=generator)).to(torch.complex64)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_timing_is_found_beneath_the_soi(generator: torch.Generator) -> None:
    """Prefixes of a slot begin at 0, 1380, 2750, ...; windows are cut from the second slot."""
    signal = downlink(3, generator)
    begins = [9600 + 1380 + 1370 * index for index in range(6)]
    soi = MODEM.sample(1, 2560, generator).waveform[0]
    for place in (10000, 10700, 12345):
        found = find_timings(soi + 4 * signal[place : place + 2560], 1)[0]
        assert min(abs(place + found.start - begin) for begin in begins) <= 8
        assert found.offset == pytest.approx(OFFSET, abs=0.02)


def test_recording_is_tracked_and_windows_are_found_in_it(generator: torch.Generator) -> None:
    recording = downlink(17, generator)[700:].numpy()
    grid = track(recording)
    # The first six samples of a prefix count for nothing, so that without echoes up to six samples early are as likely.
    assert -6 <= int(grid.start[0]) - (9600 - 700) <= 1
    assert grid.offset == pytest.approx(np.full(len(grid.offset), OFFSET), abs=2e-3)
    assert locate(0.3j * recording[4321:6000], recording) == 4321
    with pytest.raises(InputError, match="not in the recording"):
        locate(recording[4321:6000][::-1].copy(), recording)


def test_band_keeps_the_soi_and_its_carriers() -> None:
    """The decimated Gram matrix is the SOI's at an eighth of the rate, and a carrier's wave is its own."""
    response = make_response(MODEM, 2560, whole=True)
    band = make_band(response)
    inner = slice(20, 140)
    gram = (band.response.mH @ band.response)[inner, inner]
    whole = (response.waveforms.mH @ response.waveforms)[inner, inner]
    assert (8 * gram - whole).abs().max() < 0.02 * whole.abs().max()
    for start in (-1300, -100, 200, 1400, 2555):  # as the matrix does it
        time = torch.arange(max(start, 0), min(start + 1370, 2560), dtype=torch.float64)
        phase = 2 * torch.pi / FFT_SIZE * (time - start - 90)[:, None] * (torch.arange(-84, 85).double() + OFFSET)
        sent = torch.polar(torch.full_like(phase, FFT_SIZE**-0.5), phase)
        expected = band.decimator[:, int(time[0]) : int(time[-1]) + 1] @ sent
        assert torch.allclose(symbol_waves(band, start, 90, OFFSET), expected, atol=1e-12)
    waves = symbol_waves(band, 200, 90, OFFSET)
    step = torch.angle(waves[101, 84 + 40] / waves[100, 84 + 40]) / (2 * torch.pi)
    assert step.item() == pytest.approx(8 * (40 + OFFSET) / FFT_SIZE, abs=1e-6)


def test_resource_blocks_leave_the_carrier_at_zero_out(generator: torch.Generator) -> None:
    """3GPP TS 36.211 clause 6.2.3: twelve carriers -12..-1, and twelve 1..12, of which 0 is none."""
    lattice = make_lattice(make_band(make_response(MODEM, 2560, whole=True)), find_timings(torch.ones(2560) + 0j, 1)[0])
    block = lattice.block[:169] - lattice.block[84 - 12]
    assert block[84 - 12 : 84].tolist() == [0] * 12
    assert block[84 + 1 : 84 + 13].tolist() == [1] * 12


def test_errors_fall_from_matched_filter_to_bound(generator: torch.Generator) -> None:
    """Half of the resource blocks are empty; whoever knows which finds most bits, and EM comes some of the way."""
    signal = downlink(12, generator).numpy()
    source = _Recorded([signal])
    batch = Mixer(MODEM, source).draw(torch.full((4,), -12.0), 2560, generator)
    blind = ResourceBlockLmmse(MODEM, NONE).separate(batch.mixture)
    bound = ResourceElementBound(MODEM, source, 0.0).estimate(batch)  # type: ignore[arg-type]
    matched = MODEM.decide(batch.mixture)
    wrong = [float((bits != batch.bits).float().mean()) for bits in (matched, blind.bits, bound.bits)]
    assert wrong[1] < 0.95 * wrong[0]
    assert wrong[2] < 0.7 * wrong[1]
    unknown = batch._replace(interference_origin=torch.full((4,), -1))
    with pytest.raises(InputError, match="needs recorded interference"):
        ResourceElementBound(MODEM, source, 0.0).estimate(unknown)  # type: ignore[arg-type]


class _Recorded(SigmfRecordings):
    """Recordings that are in no file."""

    def __init__(self, recordings: list[np.ndarray]) -> None:
        self.duty_db = None
        self.__dict__["_loaded"] = [whole(recording) for recording in recordings]


def test_mean_squared_error_in_recorded_lte() -> None:
    """16 mixtures at -6 dB, training split: below the matched filter on average, and detection below that again."""
    if "RFSEP_RECORDINGS" not in os.environ:
        pytest.skip("RFSEP_RECORDINGS is not set: lte20 needs recordings")
    folder = Path(os.environ["RFSEP_RECORDINGS"]) / "lte20"
    source = SigmfRecordings(folder, ROOT / "data" / "splits" / "lte20.json", "train")
    batch = Mixer(MODEM, source).draw(torch.full((16,), -6.0), 2560, torch.Generator().manual_seed(0))
    errors = [(MODEM.synthesise(MODEM.analyse(batch.mixture), 2560) - batch.soi).abs().square().mean()]
    for detect in (False, True):
        estimate = ResourceBlockLmmse(MODEM, NONE, detect).separate(batch.mixture)
        errors.append((estimate.soi - batch.soi).abs().square().mean())
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] < 0.95 * errors[1]


@pytest.mark.parametrize("detect", [False, True])
def test_rows_do_not_see_their_neighbours_and_silence_stays_silent(
    detect: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,500 samples are two windows; one row is silence."""
    monkeypatch.setattr(resource_blocks, "_ITERATIONS", 4)
    rows = downlink(1, generator)[100:2600].repeat(2, 1) * torch.tensor([[3.0], [0.0]])
    rows[0] += MODEM.sample(1, 2500, generator).waveform[0]
    separator = ResourceBlockLmmse(MODEM, NONE, detect, block=2240)
    together = separator.separate(rows)
    assert torch.isfinite(torch.view_as_real(together.soi)).all()
    assert together.soi[1].abs().max() < 1e-6
    assert torch.allclose(separator.separate(rows[:1]).soi[0], together.soi[0], rtol=1e-3, atol=1e-4)


def test_short_mixtures_and_wide_soi_are_left_to_lmmse(generator: torch.Generator) -> None:
    assert fits_band(MODEM)
    assert not fits_band(OfdmModem())
    examples = downlink(1, generator)[None]
    for modem, length in ((MODEM, 800), (OfdmModem(), 2560)):
        mixture = modem.sample(2, length, generator).waveform + examples[:, :length]
        estimate = ResourceBlockLmmse(modem, examples).separate(mixture)
        assert estimate.soi.shape == mixture.shape
        assert torch.isfinite(torch.view_as_real(estimate.soi)).all()
