"""The test set of MLSP 2022's cyclostationary Gaussian example, draw for draw."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rfsep.types import InputError, MixtureBatch

_LENGTH = 256  # samples per mixture
_PERIODS = (11, 5)  # periods of SOI and interference
_SUPERPERIOD = 550  # samples per draw; a window is cut from it
_LEVELS_DB = (-6.0, -3.0, 0.0, 3.0, 6.0)  # levels in the order of the stream
_PER_LEVEL = 1000


class CycloMixtures:
    """Two Gaussian sources whose covariances repeat every 11 and every 5 samples, and white noise.

    Each source is white circular Gaussian noise times a real block-diagonal matrix, at a uniform offset. The ratio of
    powers is matched window by window. Matrices and mixtures are those of the published data: seeds 123 and 123123 of
    numpy's legacy generator, with one stream for all levels.

    Args:
        seed: seed of the mixtures; 123123 gives the published set.
    """

    noise_power = 0.01
    sir_db: Sequence[float] = _LEVELS_DB

    def __init__(self, seed: int = 123123) -> None:
        self._stream = np.random.RandomState(seed)
        self._levels: list[MixtureBatch] = []
        matrices = np.random.RandomState(123)
        blocks = [matrices.randn(period, period) for period in _PERIODS]
        self._blocks = [block / np.sqrt(np.square(block).sum() / len(block)) for block in blocks]  # unit mean power

    def _covariances(self, source: int) -> Tensor:
        """Covariance of a window at each offset, float64 [period, T, T]."""
        block, period = self._blocks[source], _PERIODS[source]
        repeated = np.kron(np.eye(-(-(_LENGTH + period) // period)), block @ block.T)
        windows = [repeated[start : start + _LENGTH, start : start + _LENGTH] for start in range(period)]
        return torch.from_numpy(np.stack(windows))

    @cached_property
    def soi_covariances(self) -> Tensor:
        """Covariance of the SOI at each offset, float64 [11, T, T]."""
        return self._covariances(0)

    @cached_property
    def interference_covariances(self) -> Tensor:
        """Covariance of the interference of unit power at each offset, float64 [5, T, T]."""
        return self._covariances(1)

    def level(self, sir_db: float, num_mixtures: int) -> Iterator[MixtureBatch]:
        """The first mixtures at a level, in one batch.

        Raises:
            InputError: the published set has no such level, or fewer mixtures.
        """
        if sir_db not in _LEVELS_DB or num_mixtures > _PER_LEVEL:
            levels = ", ".join(f"{level:g}" for level in _LEVELS_DB)
            raise InputError(f"the published set has {_PER_LEVEL} mixtures at each of {levels} dB, no more")
        while len(self._levels) <= _LEVELS_DB.index(sir_db):
            self._levels.append(self._draw(_LEVELS_DB[len(self._levels)]))
        yield MixtureBatch(*(field[:num_mixtures] for field in self._levels[_LEVELS_DB.index(sir_db)]))

    def _draw(self, sir_db: float) -> MixtureBatch:
        """Draws the next level of the stream; every row's numbers come in the published order."""
        normal = np.empty((_PER_LEVEL, 2, 2, _SUPERPERIOD))  # SOI or interference, real or imaginary part
        noise = np.empty((_PER_LEVEL, 2, _LENGTH))
        starts = np.empty((_PER_LEVEL, 2), dtype=np.int64)
        for row in range(_PER_LEVEL):
            normal[row] = self._stream.randn(2, 2, _SUPERPERIOD)
            starts[row] = self._stream.randint(_SUPERPERIOD), self._stream.randint(_SUPERPERIOD)
            noise[row] = self._stream.randn(2, _LENGTH)
        soi, interference = (self._windows(normal[:, source], starts[:, source], source) for source in (0, 1))
        powers = [np.square(np.abs(window)).mean(1, keepdims=True) for window in (soi, interference)]
        interference *= np.sqrt(powers[0] / powers[1] * 10 ** (-sir_db / 10))
        white = (noise[:, 0] + 1j * noise[:, 1]) * np.sqrt(self.noise_power / 2)
        return MixtureBatch(
            mixture=torch.from_numpy(soi + interference + white).to(torch.complex64),
            soi=torch.from_numpy(soi).to(torch.complex64),
            interference=torch.from_numpy(interference).to(torch.complex64),
            bits=torch.zeros((_PER_LEVEL, 0), dtype=torch.uint8),
            num_bits=torch.zeros(_PER_LEVEL, dtype=torch.int64),
            sinr_db=torch.full((_PER_LEVEL,), sir_db),
            soi_offset=torch.from_numpy(starts[:, 0] % _PERIODS[0]),
            interference_offset=torch.from_numpy(starts[:, 1] % _PERIODS[1]),
            interference_origin=torch.full((_PER_LEVEL,), -1, dtype=torch.int64),
        )

    def _windows(self, normal: NDArray[np.float64], starts: NDArray[np.int64], source: int) -> NDArray[np.complex128]:
        """Cuts windows complex128 [M, T] from a source that is repeated beyond its end."""
        period = _PERIODS[source]
        white = (normal[:, 0] + 1j * normal[:, 1]) / np.sqrt(2)  # [M, superperiod]
        waveform = (white.reshape(len(white), -1, period) @ self._blocks[source].T).reshape(white.shape)
        places = (starts[:, None] + np.arange(_LENGTH)) % _SUPERPERIOD
        return np.take_along_axis(waveform, places, 1)
