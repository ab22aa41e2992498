"""Tokenizers in closed form, for tests of the code that uses one."""

import torch

from rfsep.iq import to_channels
from rfsep.models.tokenizer import Tokenizer
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem

MODEM = LinearModem()
NOTHING = torch.zeros((1, 4096), dtype=torch.complex64)


def exact_tokenizer() -> Tokenizer:
    """Returns a tokenizer whose tokens are a symbol's two bits, decoded by its pulse, as training would find it."""
    tokenizer = Tokenizer(levels=(2, 2), span=9, channels=2, corrected=False)
    bits = torch.zeros((4, 2 * 41), dtype=torch.uint8)
    bits[:, 40], bits[:, 41] = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    # All of these differ only in the symbol in the middle.
    waves = to_channels(MODEM.modulate(bits))
    start = 20 * 16 - 64
    real = (waves[1] - waves[0])[:, start : start + 144] / 2
    imaginary = (waves[2] - waves[0])[:, start : start + 144] / 2
    pulses = torch.stack((real, imaginary))  # [2, 2, 144]
    with torch.no_grad():
        tokenizer.synthesis.weight.copy_(pulses)
        tokenizer.analysis.weight.copy_(100 * pulses / pulses.square().sum((1, 2), keepdim=True))
    return tokenizer


def exact_ofdm_tokenizer() -> Tokenizer:
    """Returns a tokenizer with a token per OFDM symbol, whose 112 digits are its bits."""
    modem = OfdmModem()
    tokenizer = Tokenizer(strides=(4, 4, 5), levels=(2,) * 112, span=1, channels=2, corrected=False)
    single = torch.cat((torch.zeros((1, 112)), torch.eye(112))).byte()
    waves = to_channels(modem.modulate(single))  # [113, 2, 80]
    pulses = (waves[1:] - waves[:1]) / 2
    received = to_channels(torch.nn.functional.pad(torch.complex(pulses[:, 0], pulses[:, 1])[:, 16:], (16, 0)))
    with torch.no_grad():
        tokenizer.synthesis.weight.copy_(pulses)
        tokenizer.analysis.weight.copy_(100 * received / received.square().sum((1, 2), keepdim=True))
    return tokenizer
