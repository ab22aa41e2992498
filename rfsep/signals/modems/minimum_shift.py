"""Minimum-shift keying, plain and Gaussian-filtered: exact waveforms, a linear model, and a trellis."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from rfsep.signals.constellations import map_bits, random_bits
from rfsep.signals.modems.carriers import turned_train
from rfsep.signals.modems.laurent import laurent_pulses, turned_back
from rfsep.signals.modems.pulse_train import PulseTrain
from rfsep.signals.modems.trellis import sequence_llr
from rfsep.types import InputError, Sampled, synthetic

_LEAST_SHARE = 1e-7  # Pulses with a smaller share of the power are left out of waveforms.


class MinimumShift:
    """Frequency-shift keying of index 1/2 with a Gaussian filter (GMSK), with precoded bits.

    The phase turns by a quarter per symbol, forward or back, smoothed over ``length`` symbols. By Laurent's
    decomposition the waveform is a sum of few linear modulations. The first one sends symbol b_n = +-1 of the n-th bit,
    turned by ``rotations_deg`` in turn, on the pulse C_0. The others send products of neighbouring symbols and are
    weak: -34.9 dB of the power at a bandwidth-time product of 0.5, -24.4 dB at 0.3, and nothing without a filter.

    `synthesise` and `analyse`, the linear model that separators use, know C_0 alone. `modulate` and `sample` make the
    whole waveform, of constant envelope. `decide` and `demodulate` find the most likely sequence with C_0 and C_1
    (Kaleh, IEEE Trans. Commun. 37, 1989), for which all sequences have the same energy.

    The bits are those before the precoder of 3GPP TS 45.004 clause 2.3: bit 1 is b = -1, and with ``rotations_deg``
    [0, 90, 180, 270] the frequency is positive where a bit equals the bit before. Without a precoder bits are signs of
    the frequency: wrap the modem in `rfsep.signals.modems.differential.Differential`.

    Args:
        bandwidth_time: 3-dB bandwidth times symbol period; None: minimum-shift keying without a filter.
        length: symbols that the frequency pulse is cut to; 1 without a filter.
        samples_per_symbol: samples per bit.
        rotations_deg: turns of the symbols of a period, in steps of 90 degrees forward up to the sign of the symbols:
            [0, 90] has the shorter period, [0, 90, 180, 270] is the standard's.

    Raises:
        InputError: ``rotations_deg`` are other ones.
    """

    def __init__(
        self,
        bandwidth_time: float | None = 0.3,
        length: int = 4,
        samples_per_symbol: int = 8,
        rotations_deg: Sequence[float] = (0.0, 90.0),
    ) -> None:
        steps = [(turn - rotations_deg[place - 1]) % 360 for place, turn in enumerate(rotations_deg)]
        if not set(steps) <= {90.0, 270.0}:
            raise InputError(f"rotations_deg are {list(rotations_deg)}, expected steps of 90 degrees, such as [0, 90]")
        back = [180.0 * (step == 270) for step in steps]
        pulses = laurent_pulses(bandwidth_time, length, samples_per_symbol)
        energies = pulses.square().sum(1)
        self._sets: list[list[int]] = []
        self._trains: list[PulseTrain] = []
        for number in (energies > _LEAST_SHARE * energies.sum()).nonzero()[:, 0].tolist():
            places = turned_back(number, length)
            turns = [
                turn + sum(back[(place - i) % len(back)] - 90 for i in places)
                for place, turn in enumerate(rotations_deg)
            ]
            lead = length * samples_per_symbol // 2
            share = float(energies[number] / energies.sum())
            self._trains.append(turned_train(pulses[number], "bpsk", turns, samples_per_symbol, lead, share))
            self._sets.append(places)
        self.linear = self._trains[0]
        self.residual = float(1 - energies[0] / energies.sum())  # share of the power that the linear model lacks
        self.symbol_period = self.linear.symbol_period
        self.constellation = self.linear.constellation
        self._weak = float(energies[1] / energies[0]) if len(energies) > 1 else 0.0

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples, those of whole periods."""
        return self.linear.num_bits(num_samples)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the linear part complex64 [B, num_samples] of the waveform of symbols complex64 [B, S]."""
        return self.linear.synthesise(symbols, num_samples)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Outputs complex64 [B, S] of the filter that is matched to C_0, a symbol each."""
        return self.linear.analyse(waveform)

    def _whole(self, bits: Tensor, num_samples: int) -> Tensor:
        """Returns the exact waveform complex64 [B, num_samples] of bits uint8 [B, N], nothing before or after them."""
        symbols = map_bits(bits, self.constellation)  # [B, S]
        total = self.linear.synthesise(symbols, num_samples)
        for train, places in zip(self._trains[1:], self._sets[1:], strict=True):
            factors = [_delayed(symbols, i) * _delayed(symbols, i + 1) for i in places]
            total = total + train.synthesise(reduce(torch.mul, factors, symbols), num_samples)
        return total

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, S] of bits uint8 [B, N], which depend on none before them."""
        return map_bits(bits, self.constellation)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the exact waveform complex64 [B, periods * symbol_period] of bits uint8 [B, N]."""
        return self._whole(bits, bits.shape[1] // self.linear.density * self.symbol_period)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N] from sums over all sequences; ``noise_variance`` is that of `analyse`'s outputs."""
        scale = 2 / torch.as_tensor(noise_variance, device=waveform.device)
        return self._llr(waveform, scale, soft=True)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] of the most likely sequence; a positive ``gain`` changes nothing."""
        return (self._llr(waveform, 1 / torch.as_tensor(gain, device=waveform.device), soft=False) > 0).byte()

    def _llr(self, waveform: Tensor, scale: Tensor, *, soft: bool) -> Tensor:
        single = self.linear.analyse(waveform).real * scale  # [B, S]
        if len(self._trains) == 1:
            return -2 * single
        triple = self._trains[1].analyse(waveform).real * scale * self._weak
        return sequence_llr(single, triple, soft=soft)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws synchronised windows of random bits, none before or after the window."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        return synthetic(self._whole(bits, num_samples), bits, torch.zeros(batch_size, dtype=torch.int64))


def _delayed(symbols: Tensor, places: int) -> Tensor:
    """Returns symbols [B, S] a few places later, zeros before the first."""
    return torch.nn.functional.pad(symbols, (places, 0))[:, : symbols.shape[1]]
