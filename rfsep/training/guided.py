"""Shared parts of objectives whose separator builds the network's input: guidance, inputs in parts, validation."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from rfsep.iq import to_channels
from rfsep.separators.windows import on_every_core, rows_a_core
from rfsep.training.levels import LevelScores
from rfsep.training.losses import row_errors
from rfsep.training.soi_bits import demodulated_error_rates
from rfsep.training.views import Views
from rfsep.types import MixtureBatch, Modem, Separated

_MOST_ROWS = 128  # rows per part and core


class Guided(Protocol):
    """A separator whose slow guides can run once."""

    def guidance(self, mixture: Tensor) -> Tensor:
        """Returns estimates complex64 [B, T, G] that do not depend on the network."""
        ...

    def separate_guided(self, mixture: Tensor, guidance: Tensor) -> Separated:
        """Estimates mixtures complex64 [B, T] blindly, given guidance computed from them before."""
        ...


def guidance_of(separator: Guided, views: Views | None, mixture: Tensor) -> Tensor:
    """Returns guidance complex64 [B, T, G] of mixtures complex64 [B, T], computed now or kept from before."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return separator.guidance(mixture) if views is None else views(mixture, separator.guidance)


def looked_at(
    look: Callable[[MixtureBatch, Tensor], tuple[Tensor, ...]], batch: MixtureBatch, guidance: Tensor
) -> list[Tensor]:
    """Builds the input fields of a batch on the CPU, one part of the rows per core.

    Args:
        look: maps rows and their guidance to fields [b, ...].
        batch: batch on the CPU.
        guidance: complex64 [B, T, G].
    """

    def part(rows: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return look(MixtureBatch(*(field[rows] for field in batch)), guidance[rows])

    rows = torch.arange(len(batch.mixture))
    found = on_every_core(part, torch.split(rows, rows_a_core(len(rows), _MOST_ROWS)))
    return [torch.cat(field) for field in zip(*found, strict=True)]


def validate(
    scores: LevelScores, separator: Guided, views: Views | None, modem: Modem, batch: MixtureBatch, device: str
) -> None:
    """Collects the errors of a CPU batch as evaluate.py computes them, without autocast on ``device``."""
    with torch.autocast(device, enabled=False):
        guidance = guidance_of(separator, views, batch.mixture)
        estimate = to_channels(separator.separate_guided(batch.mixture, guidance).soi)
    rates = {"ber": demodulated_error_rates(modem, estimate, batch)}
    scores.add(batch.sinr_db, row_errors(estimate, batch.soi), rates)
