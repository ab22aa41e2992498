"""Measures bit error rates of multi-level constellations by the treatment of an estimate's gain.

python tests/bench_decisions.py: half a minute; runs/bench/decisions.json.
"""

from typing import Any

import torch
from bench import write

from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.matched_filter import MatchedFilter
from rfsep.signals.constellations import hard_bits
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.noise import WhiteNoise
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import Modem, SignalSource

SINR_DB = (-6.0, -3.0, 0.0, 3.0, 6.0)
ROWS, LENGTH, EXAMPLES = 60, 5120, 200
SOIS: dict[str, Modem] = {
    "16-QAM": LinearModem("qam16"),
    "64-QAM": LinearModem("qam64"),
    "OFDM-16-QAM": OfdmModem("qam16"),
}
INTERFERENCES: dict[str, SignalSource] = {
    "white noise": WhiteNoise(),
    "OFDM-QPSK": RandomCrop(OfdmModem(), power=56 / 64),
}


def moment_gain(symbols: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Returns the gain [B, 1] of symbols complex64 [B, S]: g^4 (2 - E|point|^4) = 2 (E|z|^2)^2 - E|z|^4."""
    square, fourth = (symbols.abs().pow(order).mean(1, keepdim=True) for order in (2, 4))
    return ((2 * square**2 - fourth).clamp_min(1e-6) / (2 - points.abs().pow(4).mean())).pow(0.25)


def rates(soi: str, interference: str) -> list[dict[str, Any]]:
    """Returns a row per decision method, with its error rate at every level."""
    modem, source = SOIS[soi], INTERFERENCES[interference]
    examples = source.sample(EXAMPLES, LENGTH, batch_generator(Purpose.EXAMPLES, 0)).waveform
    linear, matched = Lmmse(modem, examples), MatchedFilter(modem, examples)
    found: dict[str, list[float]] = {}
    for level, sinr_db in enumerate(SINR_DB):
        batch = Mixer(modem, source).draw(torch.full((ROWS,), sinr_db), LENGTH, batch_generator(Purpose.TEST, level))
        estimate, filtered = linear.separate(batch.mixture), matched.separate(batch.mixture)
        symbols = modem.analyse(estimate.soi)
        by_moments = hard_bits(symbols / moment_gain(symbols, modem.constellation), modem.constellation)
        decided = {
            "matched_filter": filtered.bits,
            "matched_filter, waveform demodulated": modem.decide(filtered.soi),
            "lmmse": estimate.bits,
            "lmmse, waveform demodulated": modem.decide(estimate.soi),
            "lmmse, waveform demodulated, gain by moments": by_moments,
        }
        for name, bits in decided.items():
            found.setdefault(name, []).append(float((bits != batch.bits).double().mean()))
    return [{"soi": soi, "interference": interference, "bits": name, "ber": ber} for name, ber in found.items()]


if __name__ == "__main__":
    rows = [row for soi in SOIS for interference in INTERFERENCES for row in rates(soi, interference)]
    write("decisions", {"sinr_db": list(SINR_DB), "num_mixtures": ROWS, "num_samples": LENGTH, "rows": rows})
