"""Symbols on several waveforms per period: the linear part of offset, spread and frequency-shift keying."""

import torch
from torch import Tensor

from rfsep.signals.constellations import bits_per_symbol, constellation, demap, hard_bits, map_bits, random_bits
from rfsep.types import Sampled, synthetic

_AROUND = 32  # periods on each side whose known symbols show the phase


class PulseTrain:
    """Symbols on waveforms that repeat with a period, as one matrix product per period.

    The waveform is ``sum over n, d of symbol[n D + d] * waveforms[d, t - n * symbol_period + lead]``: linear in complex
    symbols, as separators expect. Offset QPSK, for example, has two binary symbols per period, the second one turned
    by 90 degrees and half a period late. A window holds the symbols of the periods with their centre in it.

    Args:
        waveforms: complex [D, L], of the D symbols of a period; scaled here to the signal's mean power.
        lead: samples by which the waveforms begin before their period.
        symbol_period: samples per period.
        constellation_name: see `rfsep.signals.constellations.constellation`.
        known: values complex64 [D] of symbols that carry no bits, such as the tone in frequency-shift keying; NaN for
            symbols that do. None: all of them do. Bits are decided at the phase that known symbols show.
        power: mean power of the signal, with symbols of unit power.
    """

    def __init__(
        self,
        waveforms: Tensor,
        lead: int,
        symbol_period: int,
        constellation_name: str,
        known: Tensor | None = None,
        power: float = 1.0,
    ) -> None:
        self.symbol_period = symbol_period
        self.constellation = constellation(constellation_name)
        self.waveforms = waveforms.to(torch.complex128)
        self.waveforms = self.waveforms * (power * symbol_period / self.waveforms.abs().square().sum()).sqrt()
        self.lead = lead
        self.density = len(waveforms)
        self.known = torch.full((self.density,), torch.nan, dtype=torch.complex64) if known is None else known
        self.carries = self.known.isnan()  # bool [D]
        self._first, self._synthesis = self._synthesis_matrix()
        self._analysis = self._analysis_matrix()

    def _synthesis_matrix(self) -> tuple[int, Tensor]:
        """First period that reaches period 0, and complex64 [reach * D, period]."""
        period, taps = self.symbol_period, self.waveforms.shape[1]
        first, last = (self.lead - taps) // period + 1, (period + self.lead - 1) // period
        tap = torch.arange(period) + self.lead - period * torch.arange(first, last + 1)[:, None]  # [reach, period]
        inside = (tap >= 0) & (tap < taps)
        weights = self.waveforms[:, tap.clamp(0, taps - 1)] * inside  # [D, reach, period]
        return first, weights.transpose(0, 1).flatten(0, 1).to(torch.complex64)

    def _analysis_matrix(self) -> Tensor:
        """Conjugate waveforms cut into periods, over their energy: complex64 [period, reach * D]."""
        period, taps = self.symbol_period, self.waveforms.shape[1]
        reach = -(-taps // period)
        matched = self.waveforms.conj() / self.waveforms.abs().square().sum(1, keepdim=True)  # [D, L]
        phases = torch.nn.functional.pad(matched, (0, reach * period - taps)).reshape(self.density, reach, period)
        return phases.permute(2, 1, 0).flatten(1).contiguous().to(torch.complex64)

    def num_periods(self, num_samples: int) -> int:
        """Returns the number of periods with their centre in a window of ``num_samples`` samples."""
        return (num_samples + self.symbol_period - self.symbol_period // 2 - 1) // self.symbol_period

    def num_bits(self, num_samples: int) -> int:
        """Returns the number of bits in a window of ``num_samples`` samples."""
        return self.num_periods(num_samples) * int(self.carries.sum()) * bits_per_symbol(self.constellation)

    def synthesise(self, symbols: Tensor, num_samples: int) -> Tensor:
        """Returns the waveform complex64 [B, num_samples] of the window's first symbols complex64 [B, periods * D]."""
        blocks = max(1, -(-num_samples // self.symbol_period))
        reach = len(self._synthesis) // self.density
        before, length = -self._first * self.density, (blocks - 1 + reach) * self.density
        kept = min(symbols.shape[1], length - before)
        padded = symbols.new_zeros((len(symbols), length))
        padded[:, before : before + kept] = symbols[:, :kept]
        windows = padded.unfold(1, reach * self.density, self.density)  # [B, blocks, reach * D]
        return (windows @ self._synthesis.to(symbols.device)).flatten(1)[:, :num_samples]  # [B, T]

    def analyse(self, waveform: Tensor) -> Tensor:
        """Matched-filter outputs complex64 [B, periods * D] of a waveform complex64 [B, T], zero beyond its ends."""
        period, count = self.symbol_period, self.num_periods(waveform.shape[1])
        reach = self._analysis.shape[1] // self.density
        length = (count + reach - 1) * period
        padded = torch.nn.functional.pad(waveform, (self.lead, max(0, length - self.lead - waveform.shape[1])))
        blocks = padded[:, :length].reshape(len(waveform), -1, period)
        partial = blocks @ self._analysis.to(waveform.device)
        partial = partial.reshape(*partial.shape[:2], reach, self.density)
        outputs = sum((partial[:, j : j + count, j] for j in range(1, reach)), partial[:, :count, 0])
        return outputs.reshape(len(waveform), count * self.density)

    def symbols(self, bits: Tensor, periods: int = 0, last: Tensor | None = None) -> Tensor:
        """Returns all symbols complex64 [B, periods * D] of bits uint8 [B, N], the known ones among them."""
        carried = map_bits(bits, self.constellation)
        carried = carried.reshape(len(bits), carried.shape[1] // int(self.carries.sum()), int(self.carries.sum()))
        every = self.known.nan_to_num(0).expand(*carried.shape[:2], -1).clone()
        every[:, :, self.carries] = carried
        return every.flatten(1)

    def _of_bits(self, values: Tensor) -> Tensor:
        """Returns the values [B, periods * D] of the symbols that carry bits, in their order."""
        periods = values.reshape(len(values), values.shape[1] // self.density, self.density)
        return periods[:, :, self.carries].flatten(1)

    def _steady(self, outputs: Tensor) -> Tensor:
        """Returns outputs [B, periods * D] at the phase that known symbols show around them, if there are any."""
        if self.carries.all() or outputs.shape[1] == 0:
            return outputs
        periods = outputs.reshape(len(outputs), -1, self.density)
        tone = ~self.carries
        shown = (periods[:, :, tone] * self.known[tone].conj().to(outputs.device)).sum(2)  # [B, periods]
        around = torch.nn.functional.pad(shown.cumsum(1), (1, 0))
        place = torch.arange(shown.shape[1], device=outputs.device)
        low, high = (place - _AROUND).clamp_min(0), (place + _AROUND + 1).clamp_max(len(place))
        phase = (around[:, high] - around[:, low]).angle()
        return (periods * torch.polar(torch.ones_like(phase), -phase)[:, :, None]).flatten(1)

    def modulate(self, bits: Tensor) -> Tensor:
        """Returns the waveform complex64 [B, periods * symbol_period] of bits uint8 [B, N]."""
        symbols = self.symbols(bits)
        return self.synthesise(symbols, symbols.shape[1] // self.density * self.symbol_period)

    def demodulate(self, waveform: Tensor, noise_variance: Tensor | float = 1.0) -> Tensor:
        """Soft bits float32 [B, N], see `demap`; ``noise_variance`` is that of the outputs of `analyse`."""
        outputs = self._steady(self.analyse(waveform))
        variance = torch.as_tensor(noise_variance).expand(outputs.shape)
        return demap(self._of_bits(outputs), self.constellation, self._of_bits(variance))

    def decide(self, waveform: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Hard bits uint8 [B, N] of the points nearest to the outputs of `analyse` over ``gain``, see `hard_bits`."""
        return hard_bits(self._of_bits(self._steady(self.analyse(waveform) / gain)), self.constellation)

    def sample(self, batch_size: int, num_samples: int, generator: torch.Generator) -> Sampled:
        """Draws synchronised windows of random bits: a period starts at sample 0, none before or after the window."""
        bits = random_bits(batch_size, self.num_bits(num_samples), generator)
        waveform = self.synthesise(self.symbols(bits), num_samples)
        return synthetic(waveform, bits, torch.zeros(batch_size, dtype=torch.int64))
