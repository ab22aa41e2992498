"""Chooses among separators by their errors on the same trial mixtures: costs, paired tests, halving, ranges of SINR."""

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.separators.trials import Errors

_LEAST_SQUARED = 1e-6  # Estimates with a smaller squared error are equally good.
_SQUARED_WEIGHT = 0.25  # by choice: 10 dB of squared error weigh as much as a quarter of a decade of wrong bits
_LEAD = 0.1  # by choice: a leader at one level goes on if its cost there is lower by so much
_DOUBT = 0.05  # chance of a false "better" in all comparisons of one choice together
_FLIPS = 20000  # random signs of a paired test, enough for a hundred comparisons
_SEED = 0


class Range(NamedTuple):
    """A range of SINR and the separator that is used in it.

    Attributes:
        from_db: least estimated SINR, -inf for the first range.
        name: name of the separator.
    """

    from_db: float
    name: str


def costs(errors: Errors) -> Tensor:
    """Returns the cost of each level, float64 [L]: lower is better, one unit is a factor of ten in wrong bits.

    ``log10(BER + 1 / (2 bits)) + 0.25 log10(squared error)``: no wrong bit counts as half of one. Where the SOI carries
    no bits it is the squared error alone.
    """
    return _costs(errors.wrong.mean(1), errors.squared.mean(1), errors.num_bits * errors.wrong.shape[1])


def _costs(ber: Tensor, squared: Tensor, num_bits: Tensor | int) -> Tensor:
    error = squared.clamp_min(_LEAST_SQUARED).log10()
    if not isinstance(num_bits, Tensor) and num_bits == 0:
        return error
    return (ber + 0.5 / num_bits).log10() + _SQUARED_WEIGHT * error


def cost(errors: Errors) -> float:
    """Returns the mean cost over all levels."""
    return float(costs(errors).mean())


def doubt(candidate: Errors, other: Errors, chosen: Tensor) -> float:
    """Returns the probability that a candidate no better than another one looks as good as this one does.

    A one-sided sign-flip test on the differences of the same mixtures (R. A. Fisher, "The design of experiments",
    1935): of wrong bits where any differ, else of squared errors.

    Args:
        candidate: errors of the candidate.
        other: errors of the other one, on the same mixtures.
        chosen: which mixtures count, bool [L, n].

    >>> worse = Errors(torch.full((1, 20), 0.1), torch.ones(1, 20), 100, 0.0)
    >>> better = worse._replace(wrong=torch.zeros(1, 20))
    >>> every = torch.ones(1, 20, dtype=torch.bool)
    >>> doubt(better, worse, every) < 1e-4, doubt(worse, better, every) > 0.9, doubt(worse, worse, every)
    (True, True, 1.0)
    """
    gain = (other.wrong - candidate.wrong)[chosen].double()
    if not bool(gain.any()):
        gain = (other.squared.clamp(max=1) - candidate.squared.clamp(max=1))[chosen].double()
    gain = gain[gain != 0]
    if len(gain) == 0:
        return 1.0
    generator = torch.Generator().manual_seed(_SEED)
    signs = 2.0 * torch.randint(0, 2, (_FLIPS, len(gain)), generator=generator).double() - 1
    reached = int((signs @ gain >= float(gain.sum()) - 1e-12).sum())
    return (1 + reached) / (1 + _FLIPS)


def survivors(found: Mapping[str, Errors], protected: Collection[str] = ()) -> list[str]:
    """Returns the names that go on to the next round of successive halving, the best first.

    These are the better half by `cost`, everyone that is clearly the best at a level, and the protected ones
    (K. Jamieson, A. Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016).
    """
    order = sorted(found, key=lambda name: cost(found[name]))
    kept = set(order[: (len(order) + 1) // 2]) | (set(protected) & set(order))
    best = order[0]
    for level in range(len(costs(found[best]))):
        leader = min(order, key=lambda name: float(costs(found[name])[level]))
        if costs(found[leader])[level] < costs(found[best])[level] - _LEAD:
            kept.add(leader)
    return [name for name in order if name in kept]


def ranges(
    found: Mapping[str, Errors], sinr_db: tuple[float, ...], estimated_db: Tensor, simple: Collection[str] = ()
) -> tuple[Range, ...]:
    """Returns which separator to use in which range of estimated SINR.

    It is the best one everywhere, except in ranges around a level where another one is better beyond doubt. A simple
    one counts as the best if no other is better beyond doubt, in bits or in squared error.

    Args:
        found: errors on the same mixtures by name.
        sinr_db: the levels, rising.
        estimated_db: SINR of each mixture as it is estimated blindly, [L, n].
        simple: names of simple separators, the simplest first.
    """
    best = min(found, key=lambda name: cost(found[name]))
    best = next((name for name in simple if name in found and _as_good(found[name], found[best])), best)
    edges = [(low + high) / 2 for low, high in pairwise(sinr_db)]
    place = torch.bucketize(estimated_db.double(), torch.tensor(edges, dtype=torch.float64))
    chosen = list[Range]()
    for index, start in enumerate((-float("inf"), *edges)):
        inside = place == index
        name = _best_inside(found, best, inside, len(sinr_db)) if bool(inside.any()) else best
        if not chosen or chosen[-1].name != name:
            chosen.append(Range(start, name))
    return tuple(chosen)


def _as_good(simple: Errors, best: Errors) -> bool:
    """Tells whether it is in doubt that another separator is better than a simple one."""
    every = torch.ones_like(simple.wrong, dtype=torch.bool)
    squared = [one._replace(wrong=torch.zeros_like(one.wrong)) for one in (best, simple)]
    return doubt(best, simple, every) >= _DOUBT and doubt(squared[0], squared[1], every) >= _DOUBT


def _best_inside(found: Mapping[str, Errors], best: str, inside: Tensor, num_ranges: int) -> str:
    """Returns the name of the best separator for some mixtures: ``best`` unless another one is better beyond doubt."""
    least = _DOUBT / (num_ranges * max(1, len(found) - 1))
    order = sorted(found, key=lambda name: _cost_inside(found[name], inside))
    for name in order[: order.index(best)]:
        if doubt(found[name], found[best], inside) < least:
            return name
    return best


def _cost_inside(errors: Errors, inside: Tensor) -> float:
    num_bits = errors.num_bits * int(inside.sum())
    return float(_costs(errors.wrong[inside].mean(), errors.squared[inside].mean(), num_bits))


def combined(found: Mapping[str, Errors], chosen: tuple[Range, ...], estimated_db: Tensor) -> Errors:
    """Returns the errors of the separators in their ranges, on the mixtures on which all were measured."""
    index = places(chosen, estimated_db)
    parts = [found[part.name] for part in chosen]
    wrong = torch.stack([part.wrong for part in parts]).gather(0, index[None])[0]
    squared = torch.stack([part.squared for part in parts]).gather(0, index[None])[0]
    seconds = sum(part.seconds * float((index == place).double().mean()) for place, part in enumerate(parts))
    return Errors(wrong, squared, parts[0].num_bits, seconds)


def places(chosen: tuple[Range, ...], estimated_db: Tensor) -> Tensor:
    """Returns the index of the range of each estimated SINR, int64 of the same shape."""
    edges = torch.tensor([part.from_db for part in chosen[1:]], dtype=torch.float64)
    return torch.bucketize(estimated_db.double(), edges, right=True)
