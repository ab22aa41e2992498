"""Delay profiles of the tapped delay lines without line of sight, 3GPP TR 38.901 (version 16.1) clause 7.7.2."""

from typing import NamedTuple

import torch
from torch import Tensor

PROFILES = ("A", "B", "C")
LONGEST_DELAY = 9.6586  # last tap of TDL-A, in delay spreads
# Normalised delay and power in dB of every tap, in the order of tables 7.7.2-1 to 7.7.2-3.
_TABLES = {
    "A": """0 -13.4, .3819 0, .4025 -2.2, .5868 -4, .461 -6, .5375 -8.2, .6708 -9.9, .575 -10.5, .7618 -7.5,
        1.5375 -15.9, 1.8978 -6.6, 2.2242 -16.7, 2.1718 -12.4, 2.4942 -15.2, 2.5119 -10.8, 3.0582 -11.3, 4.081 -12.7,
        4.4579 -16.2, 4.5695 -18.3, 4.7966 -18.9, 5.0066 -16.6, 5.3043 -19.9, 9.6586 -29.7""",
    "B": """0 0, .1072 -2.2, .2155 -4, .2095 -3.2, .287 -9.8, .2986 -1.2, .3752 -3.4, .5055 -5.2, .3681 -7.6, .3697 -3,
        .57 -8.9, .5283 -9, 1.1021 -4.8, 1.2756 -5.7, 1.5474 -7.5, 1.7842 -1.9, 2.0169 -7.6, 2.8294 -12.2, 3.0219 -9.8,
        3.6187 -11.4, 4.1067 -14.9, 4.279 -9.2, 4.7834 -11.3""",
    "C": """0 -4.4, .2099 -1.2, .2219 -3.5, .2329 -5.2, .2176 -2.5, .6366 0, .6448 -2.2, .656 -3.9, .6584 -7.4,
        .7935 -7.1, .8213 -10.7, .9336 -11.1, 1.2285 -5.1, 1.3083 -6.8, 2.1704 -8.7, 2.7105 -13.2, 4.2589 -13.9,
        4.6003 -13.9, 5.4902 -15.8, 5.6077 -17.1, 6.3065 -16, 6.6374 -15.7, 7.0427 -21.6, 8.6523 -22.8""",
}


class DelayProfile(NamedTuple):
    """The taps of a delay profile.

    Attributes:
        delays: in delay spreads, float64 [P].
        powers: of sum 1, float64 [P].
    """

    delays: Tensor
    powers: Tensor


def delay_profile(name: str) -> DelayProfile:
    """Returns the profile of TDL-A, TDL-B or TDL-C, rounded to single precision, as Sionna has it.

    >>> delay_profile("A").delays[-1].item() - LONGEST_DELAY < 1e-6
    True
    """
    taps = [tap.split() for tap in _TABLES[name].split(",")]
    delays = torch.tensor([float(delay) for delay, _ in taps])
    # A complex division rounds differently. Sionna does it, and every bit of an NR mixture depends on it.
    powers = torch.tensor([10 ** (float(power_db) / 10) for _, power_db in taps], dtype=torch.complex64)
    return DelayProfile(delays.double(), (powers / powers.sum()).real.double())
