"""Differential modulation: bits are steps of the phase from symbol to symbol, so that no receiver needs the phase."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from rfsep.signals.constellations import bits_per_symbol, hard_bits, map_bits, random_bits
from rfsep.types import InputError, Modem, Sampled, synthetic


def _phases(points: Tensor) -> Tensor:
    """Returns the phase of every point of a PSK constellation, in steps from the first one: int64 [P].

    Raises:
        InputError: the points are not those of a PSK.
    """
    steps = torch.angle(points.to(torch.complex128) / points[0]) * len(points) / (2 * math.pi)
    phases = steps.round().long() % len(points)
    even = (points.abs() - 1).abs().max() < 1e-4 and (steps - steps.round()).abs().max() < 1e-4
    if not even or len(set(phases.tolist())) != len(points):
        raise InputError("differential modulation needs the evenly spaced points of a PSK, such as bpsk, qpsk, psk8")
    return phases


def _indices(bits: Tensor, width: int) -> Tensor:
    """Returns the numbers int64 [..., S] that bits uint8 [..., S * width] spell, first bit most significant."""
    index = bits[..., 0::width].long()
    for place in range(1, width):
        index = 2 * index + bits[..., place::width]
    return index


def _spelled(indices: Tensor, width: int) -> Tensor:
    """Returns the bits uint8 [..., S * width] of numbers int64 [..., S]."""
    shifts = torch.arange(width - 1, -1, -1, device=indices.device)
    return ((indices[..., None] >> shifts) & 1).flatten(-2).to(torch.uint8)


def _repeated(extra: Sequence[int], count: int) -> Tensor:
    return torch.tensor(list(extra)).repeat(-(-count // len(extra)))[:count]


def differential_bits(bits: Tensor, points: Tensor, extra: Sequence[int] = (0,)) -> Tensor:
    """Returns the bits that decided symbols carry in their differences; a turn of all symbols changes only the first.

    A symbol's bits are those of the constellation point as far from the first point, ``points[0]``, as the symbol is
    from the one before it. Before the first symbol stands ``points[0]``.

    Args:
        bits: uint8 [..., S * bits_per_symbol], of the decided points.
        points: complex64 [P], of a PSK.
        extra: phase steps of 1/P of a turn that the modulation adds to the data's, in turn.

    Raises:
        InputError: the points are not those of a PSK.

    >>> from rfsep.signals.constellations import constellation
    >>> differential_bits(torch.tensor([0, 1, 1, 0], dtype=torch.uint8), constellation("bpsk"))
    tensor([0, 1, 0, 1], dtype=torch.uint8)
    """
    phases, width = _phases(points).to(bits.device), bits_per_symbol(points)
    at = phases[_indices(bits, width)]  # [..., S]
    before = torch.nn.functional.pad(at, (1, 0))[..., :-1]
    steps = (at - before - _repeated(extra, at.shape[-1]).to(bits.device)) % len(points)
    return _spelled(phases.argsort()[steps], width)


def line_bits(bits: Tensor, points: Tensor, extra: Sequence[int] = (0,)) -> Tensor:
    """Returns the bits of the points whose differences carry ``bits``: the inverse of `differential_bits`.

    >>> from rfsep.signals.constellations import constellation
    >>> line_bits(torch.tensor([0, 1, 0, 1], dtype=torch.uint8), constellation("bpsk"))
    tensor([0, 1, 1, 0], dtype=torch.uint8)
    """
    phases, width = _phases(points).to(bits.device), bits_per_symbol(points)
    steps = phases[_indices(bits, width)]
    steps = steps + _repeated(extra, steps.shape[-1]).to(bits.device)
    return _spelled(phases.argsort()[steps.cumsum(-1) % len(points)], width)


class Differential:
    """A PSK or minimum-shift modem whose bits are the differences of its symbols.

    Symbols, waveforms and matched-filter outputs are the modem's own; only bits differ. Before the first symbol stands
    the constellation's first point. The first symbol's bits are wrong where the signal is turned or began earlier.

    Args:
        modem: modem of the symbols, each of which carries bits.
        turn_deg: turn from symbol to symbol on top of the data's: 45 for pi/4-DQPSK.
        rotations_deg: turns of the modem's own symbols, in turn; see `rfsep.signals.modems.carriers.turned_psk`.
        detection: ``coherent``: symbols are decided, then compared; at twice the error rate of the symbols, but only
            where the phase is known up to the constellation's symmetry. ``differential``: outputs of `analyse` are
            compared, then decided, at any phase.

    Raises:
        InputError: the constellation is no PSK, or the turns do not lead from points to points.
    """

    def __init__(
        self,
        modem: Modem,
        turn_deg: float = 0.0,
        rotations_deg: Sequence[float] = (0.0,),
        detection: Literal["coherent", "differential"] = "coherent",
    ) -> None:
        if detection not in ("coherent", "differential"):
            raise InputError(f"unknown detection '{detection}'; choose one of coherent, differential")
        self.modem = modem
        self.symbol_period = modem.symbol_period
        self.constellation = modem.constellation
        self.detection = detection
        self._phases = _phases(self.constellation)
        self._width = bits_per_symbol(self.constellation)
        step = 360 / len(self.constellation)
        # The modem's rotations turn by themselves; the symbols turn by what is left.
        left = [turn_deg - turn + rotations_deg[place - 1] for place, turn in enumerate(rotations_deg)]
        self.extra = [round(turn / step) % len(self.constellation) for turn in left]
        if any(abs(turn / step - round(turn / step)) > 1e-6 for turn in left):
            raise InputError(f"turn_deg {turn_deg:g} beside rotations_deg {list(rotations_deg)} leads off the points")

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples."""
        return self.modem.num_bits(num_samples)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the waveform complex64 [B, num_samples] of symbols complex64 [B, S], not of their differences."""
        return self.modem.synthesise(symbols, num_samples)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Returns the modem's outputs complex64 [B, S], one per symbol."""
        return self.modem.analyse(waveform)

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns the symbols complex64 [B, S] of bits uint8 [B, N], the first one against ``last``."""
        if last is None:
            return map_bits(line_bits(bits, self.constellation, self.extra), self.constellation)
        before = hard_bits(last, self.constellation)  # [B, width]
        # The bits of a step from the first point to the last symbol come first; they are cut off again.
        extra = [0, *_repeated(self.extra, bits.shape[1] // self._width).tolist()]
        line = line_bits(torch.cat((before, bits), 1), self.constellation, extra)
        return map_bits(line[:, self._width :], self.constellation)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, T] of bits uint8 [B, N], the first one against the first point."""
        return self.modem.modulate(line_bits(bits, self.constellation, self.extra))

    def _pairs(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Returns outputs complex64 [B, S] less the modulation's own turns, and those of the symbols before them."""
        outputs = self.modem.analyse(waveform)
        first = self.constellation[:1].to(outputs.device).expand(len(outputs), 1)
        before = torch.cat((first, outputs[:, :-1]), 1)[:, : outputs.shape[1]]
        turns = _repeated(self.extra, outputs.shape[1]).to(outputs.device) * (2 * math.pi / len(self.constellation))
        return outputs * torch.polar(torch.ones_like(turns), -turns), before

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N]; ``noise_variance`` is that of the outputs of `analyse`.

        For ``coherent`` they are exact if errors of neighbouring symbols are independent. For ``differential`` they
        are those of two symbols at an unknown phase.
        """
        if self.detection == "differential":
            outputs, before = self._pairs(waveform)
            steps = (self.constellation / self.constellation[0]).to(outputs.device)
            together = (outputs[..., None] * steps.conj() + before[..., None]).abs()  # [B, S, P]
            drawn = 2 * together / torch.as_tensor(noise_variance, device=outputs.device)[..., None]
            return self._bit_llr(drawn + torch.special.i0e(drawn).log())  # log I_0, the mean over all phases
        line = self.modem.demodulate(waveform, noise_variance)
        line = line.reshape(len(line), -1, self._width) if line.numel() else line.reshape(len(line), 0, self._width)
        labels = _spelled(torch.arange(len(self.constellation)), self._width).reshape(-1, self._width)
        point = (line[:, :, None] * labels.to(line)).sum(3).log_softmax(2)  # [B, S, P], in the order of labels
        phase = point[:, :, self._phases.argsort()]  # in the order of phases
        certain = torch.full_like(phase[:, :1], -torch.inf)
        certain[:, :, 0] = 0
        before = torch.cat((certain, phase[:, :-1]), 1)[:, : phase.shape[1]]
        count, turned = len(self.constellation), torch.arange(len(self.constellation))
        extra = _repeated(self.extra, phase.shape[1])[:, None, None]
        reached = (turned + turned[:, None] + extra) % count  # [S, step, phase before]
        index = reached.flatten(1).expand(len(phase), -1, -1).to(phase.device)
        joint = phase.gather(2, index).unflatten(2, (count, count)) + before[:, :, None]  # type: ignore[no-untyped-call]
        return self._bit_llr(torch.logsumexp(joint, 3)[:, :, self._phases])

    def _bit_llr(self, steps: Tensor) -> Tensor:
        """Returns log-likelihood ratios [B, N] of bits, given those of steps [B, S, P] in the order of their labels."""
        labels = _spelled(torch.arange(len(self.constellation)), self._width).reshape(-1, self._width)
        ones = [torch.logsumexp(steps[..., labels[:, bit] == 1], 2) for bit in range(self._width)]
        zeros = [torch.logsumexp(steps[..., labels[:, bit] == 0], 2) for bit in range(self._width)]
        return (torch.stack(ones, 2) - torch.stack(zeros, 2)).flatten(1)

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] of a waveform complex64 [B, T]; see ``detection``."""
        if self.detection == "differential":
            outputs, before = self._pairs(waveform)
            return hard_bits(outputs * before.conj() * self.constellation[0].to(outputs.device), self.constellation)
        return differential_bits(self.modem.decide(waveform, gain), self.constellation, self.extra)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws synchronised windows of random bits, none before or after the window."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        line = line_bits(bits, self.constellation, self.extra)
        # What reaches behind the last whole period is the linear model's.
        waveform = self.modem.synthesise(map_bits(line, self.constellation), num_samples)
        exact = self.modem.modulate(line)[:, :num_samples]
        waveform[:, : exact.shape[1]] = exact
        return synthetic(waveform, bits, torch.zeros(batch_size, dtype=torch.int64))
