"""Published comparisons: several separators on the same mixtures, made as they are needed."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rfsep.challenge.separate import SeparatorFactory
from rfsep.metrics import row_bit_errors, row_mse, score
from rfsep.mixtures.fixed import fixed_mixtures
from rfsep.mixtures.mix import Mixer

Row = dict[str, Any]


class Setting(NamedTuple):
    """The data of a comparison.

    Attributes:
        sir_db: levels.
        num_mixtures: at each level.
        num_samples: in a mixture.
        seed: of the mixtures.
    """

    sir_db: Sequence[float]
    num_mixtures: int
    num_samples: int
    seed: int


def compare(
    name: str, make: SeparatorFactory, blind: bool, mixer: Mixer, setting: Setting, advance: Callable[[int], None]
) -> Row:
    """One separator's row of results.json: MSE and BER with intervals at every level, cost and blindness.

    Every separator meets the same mixtures: they follow from the setting's seed alone.

    Args:
        name: of the row.
        make: makes the separator for a level.
        blind: it is not told the level.
        mixer: what is mixed.
        setting: levels, numbers and seed.
        advance: called with the number of mixtures done.
    """
    mse, wrong, bits, levels, seconds = [], [], [], [], 0.0
    for level in sorted(setting.sir_db):
        separator = make(level)
        for batch in fixed_mixtures(mixer, [level], setting.num_mixtures, setting.num_samples, setting.seed):
            started = time.perf_counter()
            estimate = separator.separate(batch.mixture)
            seconds += time.perf_counter() - started
            mse.append(row_mse(estimate.soi.numpy(), batch.soi.numpy()))
            wrong.append(row_bit_errors(estimate.bits.numpy(), batch.bits.numpy(), batch.num_bits.numpy()))
            bits.append(batch.num_bits.numpy())
            levels.append(np.full(len(batch.mixture), float(level)))
            advance(len(batch.mixture))
    scores = score(np.concatenate(mse), np.concatenate(wrong), np.concatenate(bits), np.concatenate(levels))
    row: Row = {
        "separator": name,
        "sir_db": scores.sinr_db.tolist(),
        "mse_db": [value.value for value in scores.mse_db],
        "mse_db_low": [value.low for value in scores.mse_db],
        "mse_db_high": [value.high for value in scores.mse_db],
        "ber": None,
        "ber_low": None,
        "ber_high": None,
        "num_mixtures": scores.num_mixtures,
        "num_bits": scores.num_bits,
        "seconds_per_mixture": seconds / sum(scores.num_mixtures),
        "blind": blind,
    }
    if scores.ber is not None:
        row["ber"] = [value.value for value in scores.ber]
        row["ber_low"] = [value.low for value in scores.ber]
        row["ber_high"] = [value.high for value in scores.ber]
    return row
