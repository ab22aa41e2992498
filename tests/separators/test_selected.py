"""The separator that tries others takes the right one, lets refusals pass, and shows nobody the trial's frames."""

from functools import partial

import pytest
import torch
from torch import Tensor

from rfsep.separators.joint_detection import JointDetection
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.separators.selected import Selected
from rfsep.signals.linear_modem import LinearModem
from rfsep.types import InputError, Modem, Separated

CANDIDATES = {"matched_filter": MatchedFilter, "lmmse": Lmmse, "joint_detection": JointDetection}


def white(num_frames: int = 40) -> Tensor:
    return torch.randn((num_frames, 2560), dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def narrow() -> Tensor:
    """Noise in the middle sixth of the SOI's band."""
    spectrum = torch.fft.fft(white())
    spectrum[:, 20:-20] = 0
    return torch.fft.ifft(spectrum) * 8


@pytest.mark.parametrize(
    ("frames", "sinr_db", "best"), [(white(), [-3.0, 3.0], "matched_filter"), (narrow(), [-18.0, -12.0], "lmmse")]
)
def test_takes_what_is_best_in_this_interference(frames: Tensor, sinr_db: list[float], best: str) -> None:
    """White noise leaves nothing to filter, and decisions know more than LMMSE; a narrow band can be filtered out."""
    selected = Selected(LinearModem(), frames, CANDIDATES, sinr_db)
    assert selected.chosen == best
    assert selected.errors_db.keys() == {"matched_filter", "lmmse"}, "joint detection needs OFDM"
    assert selected.errors_db[best] < min(value for name, value in selected.errors_db.items() if name != best) - 0.1
    mixture = LinearModem().sample(2, 2560, torch.Generator().manual_seed(5)).waveform + frames[:2]
    alone = CANDIDATES[best](LinearModem(), frames).separate(mixture)
    assert torch.equal(selected.separate(mixture).soi, alone.soi)
    assert torch.equal(selected.separate(mixture).bits, alone.bits)


class Spy:
    """Notes the frames that it is given, and the mixtures."""

    seen: list[Tensor]

    def __init__(self, modem: Modem, examples: Tensor) -> None:
        self.modem = modem
        self.seen.append(examples)

    def separate(self, mixture: Tensor) -> Separated:
        self.seen.append(mixture)
        return Separated(mixture, self.modem.decide(mixture))


def test_trial_is_on_frames_that_candidates_have_not_seen_at_the_levels_asked_for() -> None:
    Spy.seen = []
    loud = torch.cat((torch.zeros(9, 2560), torch.ones(3, 2560))).to(torch.complex64)
    selected = Selected(LinearModem(), loud, {"spy": Spy}, sinr_db=[-20.0, 0.0], num_mixtures=3, num_samples=1000)
    learned, *mixtures, again = Spy.seen
    assert torch.equal(learned, loud[:9])
    assert torch.equal(again, loud)
    assert [one.shape for one in mixtures] == 2 * [(1, 992)] + 2 * [(2, 992)], "both rounds, whole symbols"
    assert selected.errors_db["spy"] == pytest.approx((20.0 + 0.0) / 2, abs=1e-4)


def test_same_seed_same_choice_and_another_one_other_mixtures() -> None:
    errors = [
        Selected(LinearModem(), narrow(), CANDIDATES, num_mixtures=2, seed=seed).errors_db["lmmse"]
        for seed in (0, 0, 1)
    ]
    assert errors[0] == errors[1] != errors[2]


class Broken:
    """Breaks when it is made, or else when it separates."""

    def __init__(self, modem: Modem, examples: Tensor, late: bool) -> None:
        self.late = late
        if not late:
            raise ZeroDivisionError("division by zero")

    def separate(self, mixture: Tensor) -> Separated:
        raise RuntimeError("an FFT of nothing")


@pytest.mark.parametrize(("late", "kind"), [(False, ZeroDivisionError), (True, RuntimeError)])
def test_a_candidate_that_breaks_leaves_the_others(late: bool, kind: type[Exception]) -> None:
    candidates = {"broken": partial(Broken, late=late), "lmmse": Lmmse, "joint_detection": JointDetection}
    selected = Selected(LinearModem(), narrow(), candidates, num_mixtures=1)
    assert selected.chosen == "lmmse"
    assert {name: type(error) for name, error in selected.faults.items()} == {"broken": kind}
    with pytest.raises(InputError, match="no candidate can be selected: broken: "):
        Selected(LinearModem(), narrow(), {"broken": partial(Broken, late=late)})


def test_what_cannot_be_tried_is_refused() -> None:
    with pytest.raises(InputError, match="1 example frames, but the selection of separators needs at least two"):
        Selected(LinearModem(), white(1), CANDIDATES)
    with pytest.raises(InputError, match="example frames of 10 samples, but a symbol has 16"):
        Selected(LinearModem(), white(4)[:, :10], CANDIDATES)
    with pytest.raises(InputError, match="no candidate can be selected: joint_detection: the interference is no OFDM"):
        Selected(LinearModem(), white(), {"joint_detection": JointDetection})
