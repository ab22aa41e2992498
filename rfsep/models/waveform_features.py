"""Features of a received waveform that show a network interference of any level and kind."""

import torch
from torch import Tensor, nn

NUM_FEATURES = 9
_LOCAL = 65  # samples of the local mean amplitude: about four symbols of 16 samples
_MOST = 8.0  # limit of the amplitude's deviation from its local mean, in amplitudes of the SOI
_SHARE = 64  # the local mean of the spectrum takes 1 / _SHARE of the band
_LEAST = 1e-6


def _local_mean(values: Tensor, taps: int, wraps: bool) -> Tensor:
    """Returns the centred running mean float32 [B, T] over an odd number of taps, around the ends or mirrored there."""
    mode = "circular" if wraps else "reflect"
    padded = nn.functional.pad(values[:, None], (taps // 2, taps // 2), mode=mode)
    return nn.functional.avg_pool1d(padded, taps, 1)[:, 0]


def _odd(taps: int) -> int:
    return taps // 2 * 2 + 1


def waveform_features(mixture: Tensor) -> Tensor:
    """Returns features float32 [B, 9, T] of mixtures float32 [B, 2, T] of a SOI with unit power.

    Three pairs hold the real and imaginary part of a waveform, and all stay finite for silence. Levels differ by 30 dB,
    and bursts differ within a window, so no single scale serves:

    * 0, 1: the mixture at unit power, whatever its level;
    * 2, 3: ``y / sqrt(1 + |y|^2)``, which shows a pause of the interference as it is and limits everything above;
    * 4: ``log |y| / 2``;
    * 5, 6: the radial part ``(|y| - local mean |y|) y / |y|``. Interference of constant amplitude A far above the SOI s
      leaves ``(s + exp(2j phi) conj(s)) / 2`` there, phi being its phase;
    * 7, 8: the mixture through ``8 / (S(f) + 1)``, S being its own spectrum density, averaged over 1/64 of the band and
      about 16 for a SOI of 16 samples per symbol alone. Narrow interference disappears as in a Wiener filter, and the
      examples need not have shown its carrier.
    """
    received = torch.complex(mixture[:, 0], mixture[:, 1])  # [B, T]
    amplitude = received.abs().clamp_min(_LEAST)
    length = received.shape[1]
    rms = amplitude.square().mean(1, keepdim=True).sqrt()  # [B, 1]
    local = _local_mean(amplitude, min(_LOCAL, _odd(length - 1)), wraps=False)
    radial = (amplitude - local).clamp(-_MOST, _MOST) / (2 * amplitude) * received
    spectrum = torch.fft.fft(received)  # [B, T]
    density = _local_mean(spectrum.abs().square() / length, _odd(length // _SHARE), wraps=True)
    filtered = torch.fft.ifft(spectrum * (8 / (density + 1)))
    waveforms = (received / rms, received / (1 + amplitude.square()).sqrt(), radial, filtered)
    unit, limited, radial, filtered = (torch.view_as_real(waveform).movedim(2, 1) for waveform in waveforms)
    return torch.cat((unit, limited, amplitude.log()[:, None] / 2, radial, filtered), 1)
