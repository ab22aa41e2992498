"""Where the pulses of a SOI's symbols lie in a window."""

import torch
from torch import Tensor

from rfsep.signals.linear_modem import LinearModem


class Layout:
    """The symbols of a window as shifts of one pulse, those that reach in from outside included.

    Args:
        modem: the SOI's modem.
        length: samples in the window.
        begins: whether the SOI begins with the window; else symbols before it reach into it.
        ends: whether the SOI ends with the window.
        order: of the prediction-error filters, which lengthen a pulse.
    """

    def __init__(self, modem: LinearModem, length: int, *, begins: bool, ends: bool, order: int) -> None:
        self.length, self.period, self.order = length, modem.symbol_period, order
        self.pulse = modem.pulse.float()  # [L]
        lead = (len(self.pulse) - 1) // 2 - self.period // 2
        before = 0 if begins else (len(self.pulse) - 1 - lead) // self.period
        after = 0 if ends else max(0, (length - 1 + lead) // self.period + 1 - modem.num_symbols(length))
        self.first = -before  # index of the first symbol
        self.num_symbols = before + modem.num_symbols(length) + after
        self.width = len(self.pulse) + 1 + order  # samples that a filtered pulse reaches
        self.left = lead + before * self.period  # samples of padding before the window
        self.total = max((self.num_symbols - 1) * self.period + self.width, self.left + length)
        self.reach = -(-self.width // self.period)  # symbols that far apart are not coupled

    def windows(self, samples: Tensor, size: int) -> Tensor:
        """Cuts ``size`` samples from where each pulse begins: [B, T] to [B, S, size], zero outside the window."""
        padded = torch.nn.functional.pad(samples, (self.left, self.total - self.left - self.length))
        return padded.unfold(1, size, self.period)[:, : self.num_symbols]

    def local_mean(self, samples: Tensor) -> Tensor:
        """Returns the mean of samples [B, T] under each symbol's pulse, [B, S]."""
        size = len(self.pulse)
        inside = self.windows(torch.ones((1, self.length)), size).sum(2)
        return self.windows(samples, size).sum(2) / inside.clamp_min(1.0)

    def synthesise(self, symbols: Tensor, pulse: Tensor) -> Tensor:
        """Returns the sum [B, T] of symbols [B, S] times shifts of a pulse [L]."""
        period, size, count = self.period, len(pulse), self.num_symbols
        spread = torch.nn.functional.pad(symbols[..., None] * pulse, (0, -size % period))  # [B, S, L']
        waveform = spread.new_zeros((len(symbols), self.total + 2 * period))
        for part in range(0, spread.shape[2], period):
            waveform[:, part : part + count * period] += spread[..., part : part + period].flatten(1)
        return waveform[:, self.left : self.left + self.length]
