"""Tells whether the interference of a window speaks for resource blocks of unequal power at all."""

from typing import NamedTuple

from torch import Tensor

from rfsep.separators.inference.dissection import Cut, log_likelihood

# Tuned on the training split: nats by which powers of resource blocks have to be likelier than an equal one. In a
# window of equal powers some forty fitted ones reach 12. Equal powers that are tried, as shares of the mean.
_LEAST_STRUCTURE = 15.0
_EQUAL = (0.7, 0.85, 1.0, 1.2)


class Equal(NamedTuple):
    """Interference of equal powers: its power, and whether it is white noise or the elements."""

    power: float
    white: bool


def likeliest_equal(
    samples: Tensor, rest: Tensor, flat: dict[bool, Tensor], mean: float, blocks: Tensor, cut: Cut | None
) -> Equal | None:
    """Returns the likeliest equal powers, or None where samples speak for resource blocks.

    Powers that are fitted to a window of equal ones follow its noise, and lose what the matched filter keeps. Likewise
    a prefix costs bits where there is none, so that equal elements have to be likelier than white noise.

    Args:
        samples: of the band, complex [Q].
        rest: covariance of the SOI and the white part of the interference, complex [Q, Q].
        flat: covariance of interference of unit power, complex [Q, Q], white or not.
        mean: power of the elements.
        blocks: covariance of all with fitted powers of resource blocks, complex [Q, Q].
        cut: of the window.
    """
    equal = [Equal(share * mean, white) for white in flat for share in _EQUAL]
    likely = [log_likelihood(rest + one.power * flat[one.white], samples, cut) for one in equal]
    best = max(likely)
    return None if log_likelihood(blocks, samples, cut) - best > _LEAST_STRUCTURE else equal[likely.index(best)]
