"""WaveNet with a head matched to the SOI, which returns bits and their waveform."""

from typing import Protocol

import torch
from torch import Tensor, nn

from rfsep.models.wavenet import WaveNet


class Head(Protocol):
    """An encoder of features to bits and a decoder of bits to the waveform, for one kind of SOI.

    Attributes:
        symbol_period: samples per symbol.
        bits_per_symbol: bits per symbol.
    """

    symbol_period: int
    bits_per_symbol: int

    def encode(self, features: Tensor) -> Tensor:
        """Returns unscaled logits [B, S * bits_per_symbol] of features [B, C, 1, S * symbol_period]."""
        ...

    def decode(self, bits: Tensor) -> Tensor:
        """Returns the waveform [B, 2, S * symbol_period] of soft bits between 0 and 1 [B, S * bits_per_symbol]."""
        ...


class QpskHead(nn.Module):
    """The head for QPSK of 16 samples per symbol: four halvings to two bits, learned constellation and pulse.

    Args:
        channels: channels of the features.
    """

    symbol_period = 16
    bits_per_symbol = 2

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(channels, channels, (1, 5), (1, 2), (0, 2)) for _ in range(4)), nn.Conv2d(channels, 2, 1)
        )
        self.constellation = nn.Linear(2, 2)
        self.pulse = nn.ConvTranspose1d(2, 2, 129, 16, bias=False)
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, features: Tensor) -> Tensor:
        """Returns unscaled logits [B, 2 S] of features [B, C, 1, 16 S]."""
        return self.encoder(features)[:, :, 0].transpose(1, 2).flatten(1)  # type: ignore[no-any-return]

    def decode(self, bits: Tensor) -> Tensor:
        """Returns the waveform [B, 2, 16 S] of soft bits [B, 2 S]; a pulse's middle lies 8 samples into its symbol."""
        symbols = self.constellation(bits.reshape(len(bits), -1, 2))  # [B, S, 2]
        waveform = self.pulse(symbols.transpose(1, 2))  # [B, 2, 16 S + 113]
        return waveform[:, :, 56 : 56 + 16 * symbols.shape[1]]  # type: ignore[no-any-return]


class OfdmHead(nn.Module):
    """The head for aligned OFDM-QPSK of 56 data carriers and 80 samples per symbol: a learned transform each way.

    Args:
        channels: channels of the features.
    """

    symbol_period = 80
    bits_per_symbol = 112

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 112, (1, 80), (1, 80), bias=False),
            nn.Conv2d(112, 112, 1),
        )
        self.constellation = nn.Linear(2, 2)
        self.transform = nn.Linear(112, 160, bias=False)
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, features: Tensor) -> Tensor:
        """Returns unscaled logits [B, 112 S] of features [B, C, 1, 80 S]."""
        return self.encoder(features)[:, :, 0].transpose(1, 2).flatten(1)  # type: ignore[no-any-return]

    def decode(self, bits: Tensor) -> Tensor:
        """Returns the waveform [B, 2, 80 S] of soft bits [B, 112 S]."""
        symbols = self.constellation(bits.reshape(len(bits), -1, 56, 2))  # [B, S, 56, 2]
        samples = self.transform(symbols.flatten(2))  # [B, S, 160]
        return samples.reshape(len(bits), -1, 2).transpose(1, 2)  # type: ignore[no-any-return]


class SoiMatched(nn.Module):
    """WaveNet with a SOI-matched autoencoder, which turns features into bits and bits into the waveform.

    The logits are the encoder's output over the amplitude of WaveNet's own estimate, times a scale plus an offset. The
    waveform is decoded from their sigmoids and has that amplitude again (Henneke, "SOI-matched autoencoder", entry of
    the ICASSP 2024 challenge, github.com/lukashenneke/RFChallengeSCSS). Training has three stages, each from the
    weights of the one before. All have the same parameters; fixed ones have ``requires_grad`` off.

    Args:
        backbone: the WaveNet.
        head: the head, with 0.33 M parameters for QPSK and 1.18 M for OFDM, at 128 channels.
        stage: 1 trains WaveNet alone by mean squared error, and ``forward`` gives its own estimate. 2 trains the head
            alone. 3 trains everything.
    """

    def __init__(self, backbone: WaveNet, head: Head, stage: int = 3) -> None:
        super().__init__()
        if stage not in (1, 2, 3):
            raise ValueError(f"stage {stage} is none of 1, 2, 3")
        self.backbone = backbone
        self.head = head
        self.scale = nn.Parameter(torch.ones(1))
        self.offset = nn.Parameter(torch.zeros(1))
        self.stage = stage
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(stage == 3 or name.startswith("backbone.") == (stage == 1))

    def estimate_and_logits(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the waveform float32 [B, 2, T] and bit logits float32 [B, N] of the mixture float32 [B, 2, T].

        N counts the bits of symbols with their centre in the window; a logit above 0 means 1.
        """
        length, period = mixture.shape[-1], self.head.symbol_period
        features = self.backbone.features(mixture)  # [B, C, 1, T]
        plain = self.backbone.estimate(features)  # [B, 2, T]
        amplitude = plain.square().sum(1).mean(-1, keepdim=True).clamp_min(1e-12).sqrt()  # [B, 1]
        whole = nn.functional.pad(features, (0, -length % period))
        encoded = self.head.encode(whole).float()  # [B, S * bits]
        with torch.autocast(mixture.device.type, enabled=False):  # bfloat16 limits the accuracy to 50 dB.
            logits = self.scale * encoded / amplitude + self.offset
            waveform = amplitude[:, None] * self.head.decode(logits.sigmoid())[:, :, :length]  # [B, 2, T]
        num_symbols = (length + period - period // 2 - 1) // period
        return plain if self.stage == 1 else waveform, logits[:, : num_symbols * self.head.bits_per_symbol]

    def forward(self, mixture: Tensor) -> Tensor:
        """Returns the estimate float32 [B, 2, T] of the mixture float32 [B, 2, T]."""
        return self.backbone(mixture) if self.stage == 1 else self.estimate_and_logits(mixture)[0]
