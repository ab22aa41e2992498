"""What guides find is found once and kept whole, and a network learns to correct it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rfsep.mixtures.endless import EndlessMixtures, Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.models.token_transformer import TokenTransformer
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.tokens.corrected import Corrected
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.training.optimisers import Optimisation
from rfsep.training.token_bits import TokenBits
from rfsep.training.views import Views
from rfsep.types import Separator

MODEM = LinearModem()
MIXER = Mixer(MODEM, OfdmModem())
SETTINGS = {"guides": ["lmmse", "matched_filter"]}


class Counted:
    """A guide that counts the mixtures that it is given."""

    def __init__(self, guide: Separator) -> None:
        self.guide, self.count = guide, 0

    def separate(self, mixture: Tensor) -> Any:
        self.count += len(mixture)
        return self.guide.separate(mixture)


def objective(views: Views | None, width: int = 32, max_steps: int = 120) -> TokenBits:
    torch.manual_seed(0)
    examples = OfdmModem().sample(40, 2048, batch_generator(Purpose.EXAMPLES)).waveform
    model = TokenTransformer(105, num_phases=1, width=width, depth=1, heads=2)
    separator = Corrected(MODEM, examples, model, [Lmmse, MatchedFilter])
    separator.guides = [Counted(guide) for guide in separator.guides]
    made = TokenBits(model, MODEM, separator, Optimisation(3e-3, 10, max_steps), views=views)
    made.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return made


def asked(made: TokenBits) -> int:
    return int(made.separator.guides[0].count)  # type: ignore[attr-defined]


def batches(repeat_after: int | None = None) -> EndlessMixtures:
    return EndlessMixtures(MIXER, 32, 640, (-12.0, -6.0), 0, repeat_after=repeat_after)


def test_kept_views_are_those_that_were_found(tmp_path: Path) -> None:
    """Also by a run of another network, in training as in validation; other settings find anew."""
    batch = batches().batch(0)
    plain, first = objective(None).see(batch), objective(Views(tmp_path, SETTINGS))
    found, kept = first.see(batch), first.see(batch)
    first.validation_step(batch, 0)
    assert asked(first) == 32
    other = objective(Views(tmp_path, SETTINGS), width=64)
    again = other.see(batch)
    assert asked(other) == 0
    for one in (found, kept, again):
        assert all(torch.equal(a, b) for a, b in zip(one, plain, strict=True))
    changed = objective(Views(tmp_path, {"guides": ["lmmse"]}))
    changed.see(batch)
    assert asked(changed) == 32
    changed.see(batches().batch(1))
    assert asked(changed) == 64


@pytest.mark.parametrize("damage", ["gone", "truncated", "flipped", "foreign"])
def test_damaged_files_are_found_again(tmp_path: Path, damage: str) -> None:
    batch, views = batches().batch(0), Views(tmp_path, SETTINGS)
    before = objective(views).see(batch)
    (path,) = tmp_path.rglob("*.safetensors")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(content[:-7] + bytes([content[-7] ^ 1]) + content[-6:])
    else:
        path.write_text("no tensors")
    made = objective(views)
    assert all(torch.equal(a, b) for a, b in zip(made.see(batch), before, strict=True))
    assert asked(made) == 32
    assert path.read_bytes() == content


def test_views_filled_half_way_are_gone_on_with(tmp_path: Path) -> None:
    """A run killed in its first pass leaves whole files; the next one asks the guides for the rest alone."""
    killed = objective(Views(tmp_path, SETTINGS))
    for number in range(2):
        killed.see(batches().batch(number))
    (tmp_path / "left.tmp").write_text("half a file")
    made = objective(Views(tmp_path, SETTINGS))
    for _, batch in zip(range(9), batches(repeat_after=3), strict=False):
        made.see(batch)
    assert asked(made) == 32


def test_a_short_training_beats_the_better_guide(tmp_path: Path) -> None:
    """On other mixtures: tokens lie on the OFDM's grid here, which neither guide knows of."""
    made = objective(Views(tmp_path, SETTINGS), width=64)
    configured = made.configure_optimizers()
    optimiser, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]  # type: ignore[index]
    held_out = MIXER.draw(torch.full((200,), -9.0), 640, batch_generator(Purpose.TEST, 3))

    def error_rate(separator: Separator) -> float:
        return float((separator.separate(held_out.mixture).bits != held_out.bits).float().mean())

    guides = [error_rate(guide) for guide in made.separator.guides]  # type: ignore[attr-defined]
    asked_before = asked(made)
    assert error_rate(made.separator) == pytest.approx(guides[0], abs=1e-3)  # type: ignore[arg-type]
    for number, batch in zip(range(120), batches(repeat_after=60), strict=False):
        optimiser.zero_grad()
        made.training_step(batch, number).backward()
        optimiser.step()
        schedule.step()  # type: ignore[union-attr]
    assert asked(made) - asked_before == 200 + 60 * 32  # every batch once
    assert error_rate(made.separator) < 0.85 * min(guides)  # type: ignore[arg-type]
