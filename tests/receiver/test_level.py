"""Level and timing of a SOI are found, or refused."""

import numpy as np
import pytest
import torch

from rfsep.receiver.level import find_soi
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.types import InputError


def noise(length: int) -> np.ndarray:
    return torch.randn(length, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)).numpy()


@pytest.mark.parametrize(("modem", "period"), [(LinearModem(), 16), (OfdmModem(), 80)])
def test_level_and_timing_are_found_in_noise(modem: LinearModem | OfdmModem, period: int) -> None:
    soi = modem.sample(1, 120_000, torch.Generator().manual_seed(2)).waveform[0].numpy()
    heard = 0.3 * soi[3 * period - 7 :] + 0.3 * noise(len(soi))[3 * period - 7 :]
    found = find_soi(heard, modem, None)
    assert found.start == 7
    assert abs(found.power / 0.09 - 1) < 0.1
    assert abs(found.power / 0.09 - 1) < 4 * found.error / 0.09
    assert find_soi(heard, modem, 7) == found


def test_no_level_is_told_where_there_is_no_signal() -> None:
    with pytest.raises(InputError, match="cannot be told"):
        find_soi(noise(100_000), LinearModem(), 0)
    with pytest.raises(InputError, match="too few"):
        find_soi(noise(20), LinearModem(), None)
