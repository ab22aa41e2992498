"""The race: costs by hand, the paired test against its exact distribution, who goes on, and who is used where."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from rfsep.separators.by_level import ByLevel, estimated_sinr_db
from rfsep.separators.race import Range, combined, cost, costs, doubt, places, ranges, survivors
from rfsep.separators.trials import Errors, Trials, measure
from rfsep.signals.linear_modem import LinearModem
from rfsep.types import InputError, Separated

LEVELS = (-20.0, -10.0, 0.0)


def errors(wrong: list[list[float]], squared: float = 0.1) -> Errors:
    found = torch.tensor(wrong, dtype=torch.float64)
    return Errors(found, torch.full_like(found, squared), 100, 0.0)


def test_cost_is_decades_of_wrong_bits_and_a_quarter_of_the_squared_error() -> None:
    found = errors([[0.1, 0.3], [0.0, 0.0]], squared=0.01)
    by_hand = [math.log10(0.2 + 0.5 / 200) - 0.5, math.log10(0.5 / 200) - 0.5]
    assert costs(found).tolist() == pytest.approx(by_hand)
    assert cost(found) == pytest.approx(sum(by_hand) / 2)
    without_bits = found._replace(num_bits=0)
    assert costs(without_bits).tolist() == pytest.approx([-2.0, -2.0])


def test_doubt_is_the_share_of_signs_that_reach_as_much() -> None:
    gains = [0.3, -0.1, 0.2, 0.25, 0.02]
    reached = [
        sum(sign * gain for sign, gain in zip(signs, gains, strict=True)) for signs in product((-1, 1), repeat=5)
    ]
    exact = sum(value >= sum(gains) - 1e-12 for value in reached) / len(reached)
    better, worse = errors([[0.0, 0.1, 0.0, 0.0, 0.0]]), errors([[0.3, 0.0, 0.2, 0.25, 0.02]])
    every = torch.ones(1, 5, dtype=torch.bool)
    assert doubt(better, worse, every) == pytest.approx(exact, abs=0.01)
    only_first = torch.tensor([[True, False, False, False, False]])
    assert doubt(better, worse, only_first) == pytest.approx(0.5, abs=0.02), "one mixture proves nothing"


def test_equal_bits_are_told_apart_by_the_squared_error() -> None:
    every = torch.ones(1, 30, dtype=torch.bool)
    near, far = errors([[0.0] * 30], squared=0.01), errors([[0.0] * 30], squared=0.02)
    assert doubt(near, far, every) < 1e-3
    assert doubt(far, near, every) > 0.99


def test_the_better_half_goes_on_and_so_do_leaders_of_a_level_and_the_protected() -> None:
    found = {
        "good": errors([[0.2], [0.1], [0.01]]),
        "fair": errors([[0.3], [0.2], [0.02]]),
        "leads at 0 dB": errors([[0.5], [0.5], [0.005]]),
        "bad": errors([[0.5], [0.5], [0.3]]),
        "worse": errors([[0.5], [0.5], [0.4]]),
        "baseline": errors([[0.5], [0.5], [0.5]]),
    }
    assert survivors(found) == ["good", "fair", "leads at 0 dB"]
    assert survivors(found, ["baseline", "refused"]) == ["good", "fair", "leads at 0 dB", "baseline"]


def constant(at: tuple[float, float, float], number: int = 40) -> Errors:
    return errors([[one] * number for one in at])


def test_another_separator_is_used_only_where_it_is_better_beyond_doubt() -> None:
    nominal = torch.tensor(LEVELS)[:, None].expand(3, 40)
    found = {
        "overall": constant((0.1, 0.01, 0.001)),
        "loud": constant((0.4, 0.4, 0.0)),
        "low": constant((0.05, 0.3, 0.3)),
    }
    chosen = ranges(found, LEVELS, nominal)
    assert chosen == (Range(-math.inf, "low"), Range(-15.0, "overall"), Range(-5.0, "loud"))
    few = {name: Errors(one.wrong[:, :3], one.squared[:, :3], 100, 0.0) for name, one in found.items()}
    assert ranges(few, LEVELS, nominal[:, :3]) == (Range(-math.inf, "overall"),)
    sent = combined(found, chosen, nominal)
    assert sent.wrong.mean(1).tolist() == pytest.approx([0.05, 0.01, 0.0])
    assert places(chosen, torch.tensor([-15.0, -15.01, 30.0])).tolist() == [1, 0, 2], "a range begins with its edge"


def test_a_simple_separator_stays_where_no_other_is_better_beyond_doubt() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((2, 3, 40), generator=generator, dtype=torch.float64) / 10
    nominal = torch.tensor(LEVELS)[:, None].expand(3, 40)
    found = {
        "fancy": Errors(noise[0] * 0.99, 0.1 + noise[0], 100, 0.0),
        "simple": Errors(noise[1], 0.1 + noise[1], 100, 0.0),
    }
    assert cost(found["fancy"]) < cost(found["simple"])
    assert ranges(found, LEVELS, nominal) == (Range(-math.inf, "fancy"),)
    assert ranges(found, LEVELS, nominal, ("missing", "simple")) == (Range(-math.inf, "simple"),)
    found["fancy"] = Errors(noise[1], noise[1], 100, 0.0)
    assert ranges(found, LEVELS, nominal, ("simple",)) == (Range(-math.inf, "fancy"),), "less squared error"


class Constant:
    """Gives one number for every sample."""

    def __init__(self, value: float) -> None:
        self.value = value

    def separate(self, mixture: Tensor) -> Separated:
        soi = torch.full_like(mixture, self.value)
        return Separated(
            soi,
            torch.full(
                (len(mixture), mixture.shape[1] // 8),
                0 if math.isnan(self.value) else int(self.value),
                dtype=torch.uint8,
            ),
        )


def test_each_mixture_goes_to_the_separator_of_its_own_power() -> None:
    levels = torch.tensor([-20.0, -8.0, 3.0])
    mixture = (1 + 10 ** (-levels / 10)).sqrt()[:, None] * torch.ones(3, 320, dtype=torch.complex64)
    assert estimated_sinr_db(mixture, LinearModem()).tolist() == pytest.approx(levels.tolist(), abs=0.3)
    chosen = (Range(-math.inf, "a"), Range(-10.0, "b"))
    found = ByLevel(LinearModem(), [Constant(0.0), Constant(1.0)], chosen).separate(mixture)
    assert found.soi[:, 0].real.tolist() == [0.0, 1.0, 1.0]
    assert found.bits[:, 0].tolist() == [0, 1, 1]
    assert ByLevel(LinearModem(), [Constant(1.0)], chosen[:1]).separate(mixture).bits.unique().tolist() == [1]


def test_measures_raw_errors_of_each_mixture_and_refuses_what_is_no_number() -> None:
    soi = 2 * torch.ones(2, 3, 160, dtype=torch.complex64)
    trials = Trials(soi, soi, torch.zeros(2, 3, 20, dtype=torch.uint8), (-6.0, 0.0))
    found = measure(Constant(1.0), trials)
    assert found.wrong.tolist() == [[1.0] * 3] * 2
    assert found.squared.tolist() == [[1.0] * 3] * 2
    joined = measure(Constant(1.0), trials.part(0, 1)).joined(measure(Constant(1.0), trials.part(1, 3)))
    assert torch.equal(joined.wrong, found.wrong)
    with pytest.raises(InputError, match="an estimate holds NaN or infinity"):
        measure(Constant(math.nan), trials._replace(bits=trials.bits[..., :0]))
