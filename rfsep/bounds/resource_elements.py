"""Bounds beneath a recorded LTE downlink, by estimators that know its timing and powers."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv1d, pad

from rfsep.iq import from_db
from rfsep.separators.inference.band import Band, make_band
from rfsep.separators.inference.symbol_posterior import Response, detected_symbols, linear_symbols, make_response
from rfsep.separators.lte.resource_blocks import FFT_SIZE, carrier_numbers, symbol_waves, whitened
from rfsep.signals.recordings import SigmfRecordings
from rfsep.types import InputError, MixtureBatch, Modem, Separated

Samples = NDArray[np.complex64]

_SLOT = 9600  # samples of 0.5 ms at 19.2 Msps, 3GPP TS 36.211 clause 4
_PREFIXES = (100, 90, 90, 90, 90, 90, 90)  # clause 6.12, 160 and 144 samples at 30.72 Msps
_TRACKED_SLOTS = 8  # slots whose timing is found together
_MOST_DRIFT, _DRIFT_STEP = 4.0, 0.25  # Samples per eight slots; 4 are 52 ppm, more than receivers of this kind have.
_SMEARED = 6  # samples of a prefix that the channel spoils
_EARLY = 8  # A symbol's body is cut this many samples early, inside its prefix.
_FLOOR = 0.1  # white part of the interference relative to its mean power
_EXACT = 1e-3  # largest relative difference of a window from its place in the recording


class _Grid(NamedTuple):
    """The timing of a recording's slots.

    Attributes:
        start: begin of a slot modulo its length, int64 [n], one for every eight slots.
        offset: carrier offset in carrier spacings, float64 [n].
    """

    start: NDArray[np.int64]
    offset: NDArray[np.float64]


def _symbol_starts() -> NDArray[np.int64]:
    """Returns the first sample of each symbol's prefix in a slot."""
    lengths = np.array(_PREFIXES) + FFT_SIZE
    return np.concatenate(([0], np.cumsum(lengths)[:-1]))


def _aligned(likeness: NDArray[np.complex128]) -> NDArray[np.int64]:
    """Returns the begin of a slot in each piece, int64 [n], on the line that gathers the most from all pieces.

    A single piece of a downlink with little traffic often prefers another symbol's prefix to that of a slot's first.

    Args:
        likeness: of each begin in each piece, complex128 [n, _SLOT].
    """
    drifts = np.arange(-_MOST_DRIFT, _MOST_DRIFT + _DRIFT_STEP, _DRIFT_STEP)
    moved = np.round(np.arange(len(likeness)) * drifts[:, None]).astype(np.int64)  # [drifts, n]
    size, begins = np.abs(likeness), np.arange(_SLOT)
    pieces = np.arange(len(size))[:, None]
    gathered = np.stack([size[pieces, (begins + row[:, None]) % _SLOT].sum(0) for row in moved])
    drift, begin = np.unravel_index(int(gathered.argmax()), gathered.shape)
    start: NDArray[np.int64] = (begin + moved[drift]) % _SLOT
    return start


def track(recording: Samples) -> _Grid:
    """Finds the timing of a whole recording by its cyclic prefixes; the sampling clocks drift apart evenly."""
    correlation = recording[FFT_SIZE:] * recording[:-FFT_SIZE].conj()
    width = _TRACKED_SLOTS * _SLOT
    pieces = len(recording) // width
    correlation = np.pad(correlation, (0, pieces * width - min(len(correlation), pieces * width)))[: pieces * width]
    folded = correlation.reshape(pieces, _TRACKED_SLOTS, _SLOT).sum(1)
    template = np.zeros(_SLOT)
    for start, prefix in zip(_symbol_starts(), _PREFIXES, strict=True):
        template[start + _SMEARED : start + prefix] = 1
    likeness = np.fft.ifft(np.fft.fft(folded, axis=1) * np.fft.fft(template).conj(), axis=1)
    start = _aligned(likeness)
    return _Grid(start, np.angle(likeness[np.arange(pieces), start]) / (2 * np.pi))


def locate(window: Samples, recording: Samples) -> int:
    """Finds the sample at which a window begins that was cut from a recording and multiplied by a number.

    Raises:
        InputError: the window is not from the recording.
    """
    anchor = int(np.abs(window).argmax())
    places = np.arange(anchor, len(recording) - len(window) + anchor + 1)
    ratio, scale = window / window[anchor], float(np.abs(recording).max())
    for other in (*range(min(8, len(window))), len(window) - 1):
        error = recording[places + other - anchor] - ratio[other] * recording[places]
        places = places[np.abs(error) < _EXACT * scale]
    if len(places) == 0:
        raise InputError("resource_elements: a window's interference is not in the recording that it is said to be of")
    return int(places[0]) - anchor


class _Symbol(NamedTuple):
    """One symbol of the interference: begin and length of its prefix, and powers float64 [N]."""

    start: int
    prefix: int
    power: Tensor


def _averaged(power: Tensor, width: int) -> Tensor:
    """Returns the moving average over ``width`` carriers, mirrored at both ends."""
    if width == 1:
        return power
    padded = pad(power[None, None], (width // 2, width - 1 - width // 2), mode="reflect")
    return conv1d(padded, torch.full((1, 1, width), 1 / width, dtype=torch.float64))[0, 0]


def _symbols_about(recording: Samples, place: int, num_samples: int, start: int, offset: float) -> list[_Symbol]:
    """Lists the symbols that reach into samples ``place`` to ``place + num_samples`` of a recording."""
    found = []
    first = (place // _SLOT - 1) * _SLOT + start
    carriers = carrier_numbers().long().numpy() % FFT_SIZE
    for slot in range(num_samples // _SLOT + 4):
        for begin, prefix in zip(_symbol_starts().tolist(), _PREFIXES, strict=True):
            at = first + slot * _SLOT + begin
            seen = at + prefix + FFT_SIZE > place and at < place + num_samples
            if not seen or at < 0 or at + prefix + FFT_SIZE > len(recording):
                continue
            body = np.arange(at + prefix - _EARLY, at + prefix - _EARLY + FFT_SIZE)
            turned = recording[body] * np.exp(-2j * np.pi * offset * (body - at - prefix) / FFT_SIZE)
            spectrum = np.fft.fft(turned, norm="ortho")[carriers]
            found.append(_Symbol(at - place, prefix, torch.from_numpy(np.abs(spectrum) ** 2)))
    return found


class ResourceElementBound:
    """LMMSE or detection of the SOI's symbols, given timing and powers of the interference's resource elements.

    Args:
        modem: the SOI's modem, narrow-band, which begins and ends with the mixture.
        source: recordings of an LTE downlink at 19.2 Msps.
        noise_power: power of the white noise in the mixtures.
        width: number of carriers that powers are averaged over: 1 for resource elements, 12 for resource blocks.
        detect: estimate the SOI's symbols as points of the modem's constellation.

    Raises:
        InputError: a mixture's interference is not from the recordings.
    """

    def __init__(
        self, modem: Modem, source: SigmfRecordings, noise_power: float, width: int = 1, detect: bool = False
    ) -> None:
        self.modem = modem
        self.recordings = source
        self.noise_power = noise_power
        self.width = width
        self.detect = detect
        self.points = modem.constellation.to(torch.complex128)
        self._grid = cache(lambda index: track(source.recordings[index]))
        self._setup = cache(self._make_setup)

    def _make_setup(self, num_samples: int) -> tuple[Response, Band]:
        response = make_response(self.modem, num_samples, whole=True)
        return response, make_band(response)

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Estimate complex64 [B, T] and hard bits uint8 [B, N]."""
        response, band = self._setup(batch.mixture.shape[1])
        columns = (batch.mixture, batch.interference, batch.interference_origin.tolist(), batch.sinr_db.tolist())
        symbols = torch.stack([self._symbols(band, *row) for row in zip(*columns, strict=True)])
        soi = (symbols @ response.waveforms.T).to(torch.complex64)
        return Separated(soi, self.modem.decide(soi))

    def _symbols(self, band: Band, mixture: Tensor, interference: Tensor, origin: int, sinr_db: float) -> Tensor:
        """Returns the symbols complex128 [S] of one mixture complex64 [T]."""
        if origin < 0:
            raise InputError("resource_elements: this bound needs recorded interference")
        recording, grid = self.recordings.recordings[origin], self._grid(origin)
        place, gain = locate(interference.numpy(), recording), from_db(-sinr_db)
        piece = min(place // (_TRACKED_SLOTS * _SLOT), len(grid.start) - 1)
        offset = float(grid.offset[piece])
        covariance = (_FLOOR * gain + self.noise_power) * band.noise
        for symbol in _symbols_about(recording, place, len(mixture), int(grid.start[piece]), offset):
            waves = symbol_waves(band, symbol.start, symbol.prefix, offset)
            covariance = covariance + (waves * (gain * _averaged(symbol.power, self.width))) @ waves.mH
        samples = band.decimator @ mixture.to(torch.complex128)
        said = whitened(band, samples, covariance, band.noise[:, :0]).information()
        return detected_symbols(said, self.points).symbols.mean[0] if self.detect else linear_symbols(said)[0]
