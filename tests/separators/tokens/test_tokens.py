"""Tokens lie on the interference's grid, and own every SOI symbol of the window once."""

import pytest
import torch

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.separators.tokens.tokens import TokenGrid
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError


def timings(period: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every SOI offset, beside as many of the interference."""
    return torch.arange(16), torch.arange(16) * 5 % period


@pytest.mark.parametrize("period", [80, 79, 1370, 17])
def test_every_symbol_of_the_window_is_owned_once(period: int) -> None:
    grid = TokenGrid(LinearModem(), period)
    soi_offset, interference_offset = timings(period)
    tokens = grid.cut(torch.ones(16, 640, dtype=torch.complex64), soi_offset, interference_offset)
    own = grid.seen_symbols(tokens)[:, :, grid.reach : grid.reach + grid.slots]
    for row in range(16):
        numbers = sorted(own[row][grid.owned(tokens)[row]].tolist())
        first = -(-(int(soi_offset[row]) - 8) // 16)  # the first centre at or behind sample 0
        centres = [16 * number + 8 - int(soi_offset[row]) for number in numbers]
        assert numbers == list(range(first, first + len(numbers)))
        assert 0 <= centres[0] < 16
        assert 640 - 16 <= centres[-1] < 640


@pytest.mark.parametrize("period", [80, 79])
def test_whole_tokens_are_the_sum_of_the_symbols_they_see(period: int) -> None:
    """A span of 4 symbols reaches 2 to either side: nothing of the SOI comes from symbols that a token does not see."""
    modem = LinearModem(span=4)
    source = RandomCrop(modem, random_phase=False).sample(16, 800, batch_generator(Purpose.TEST, 3))
    grid = TokenGrid(modem, period)
    offset = torch.arange(16) * 5 % period
    tokens = grid.cut(source.waveform, source.offset, offset)
    late = (source.offset > 8).long()
    pairs = source.bits.view(16, -1, 2).float()
    symbols = torch.complex(1 - 2 * pairs[:, :, 0], 1 - 2 * pairs[:, :, 1]) * 0.5**0.5
    number = grid.seen_symbols(tokens) - late[:, None, None]
    inner = tokens.inside.all(2) & (number[:, :, 0] >= 0) & (number[:, :, -1] < source.num_bits[:, None] // 2)
    assert inner.sum() > 50
    row, column = inner.nonzero(as_tuple=True)
    seen = symbols[row[:, None], number[row, column]]
    made = (grid.pulses[tokens.phase[row, column]] @ seen[:, :, None])[:, :, 0]
    assert torch.allclose(made, tokens.samples[row, column], atol=1e-5)


def test_tokens_put_together_are_the_window() -> None:
    mixture = torch.randn(3, 500, dtype=torch.complex64)
    grid = TokenGrid(LinearModem(), 80)
    tokens = grid.cut(mixture, torch.tensor([0, 5, 15]), torch.tensor([0, 1, 79]))
    assert tokens.samples.shape == (3, grid.num_tokens(500), 80)
    for row in range(3):
        assert torch.equal(tokens.samples[row][tokens.inside[row]], mixture[row])


def test_several_symbols_a_period_are_refused() -> None:
    with pytest.raises(InputError, match="one data symbol per period"):
        TokenGrid(OfdmModem(), 80)
