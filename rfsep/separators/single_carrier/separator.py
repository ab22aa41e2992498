"""Joint detection of a SOI's symbols and those of a single carrier that is learned from examples."""

from functools import lru_cache

import torch
from torch import Tensor

from rfsep.iq import power, squared
from rfsep.separators.inference.evidence import Fallback
from rfsep.separators.inference.symbol_posterior import make_response
from rfsep.separators.lmmse import Lmmse
from rfsep.separators.single_carrier.learning import learn
from rfsep.separators.single_carrier.pulses import spectrum
from rfsep.separators.single_carrier.receiver import Receiver, Surroundings
from rfsep.separators.single_carrier.synchronise import density
from rfsep.separators.windows import in_parallel, overlapped_ends
from rfsep.signals.statistics import modem_autocorrelation
from rfsep.types import Modem, Separated

_LAGS = 256  # number of lags of the SOI's autocorrelation
_CELLS = 512  # number of cells of a spectrum
_LEAST_GAIN = 0.01  # least power of the interference
_LEAST_SYMBOLS = 32  # fewest symbols of the interference in a window that is detected
_MOST_ENTRIES = 2e6  # largest number of entries in the information matrices of a batch
# Tuned on val of satbpsk and of QPSK without noise: a joint fit has nearly as many unknowns as the band has dimensions,
# so that any interference leaves little. More is left than the structure explains where the noise is beyond this share
# of the interference's density, and beyond so many times the noise of the examples.
_UNEXPLAINED, _NOISIER = 0.03, 2.0


class SingleCarrierDetection:
    """Expectation propagation over the symbols of SOI and a linear single carrier, learned from examples.

    Rate, pulse, constellation and carriers come from the examples; carrier, timing, phase, pulse, gain and noise of a
    mixture are found in it, with the learned ones as the start. A window whose interference the model does not explain,
    or whose bits contradict sure linear ones, is left to linear estimators
    (`rfsep.separators.inference.evidence.Fallback`).

    Args:
        modem: the SOI's modem.
        examples: frames of the interference, complex64 [F, T].
        block: samples per window of a longer mixture.
        margin: samples at a window's inner edge that its neighbour estimates instead.

    Raises:
        InputError: no single carrier in BPSK, QPSK, 8-PSK or 16-QAM of one symbol rate is found in the examples.
    """

    def __init__(self, modem: Modem, examples: Tensor, block: int = 2560, margin: int = 160) -> None:
        self.modem = modem
        self.block, self.margin = block, margin
        self.carrier = learn(examples)
        self._linear = Lmmse(modem, examples)
        self._fallback = Fallback(modem, examples)
        self._soi = modem_autocorrelation(modem, _LAGS).to(torch.complex128)
        self._receiver = lru_cache(maxsize=4)(self._make_receiver)
        self._density = self._mean_density()

    def _make_receiver(self, length: int, whole: bool) -> Receiver:
        response = make_response(self.modem, length, whole).waveforms
        return Receiver(self.carrier, Surroundings(response, self.modem.constellation, self._soi))

    def _mean_density(self) -> float:
        """Density that interference of unit power has in the SOI's band."""
        frequency = torch.fft.fftfreq(_CELLS, dtype=torch.float64)
        place = frequency - (self.carrier.lowest + self.carrier.highest) / 2
        wave = spectrum(self.carrier.pulse[None], (place - place.round())[None], self.carrier.period)[0]
        soi = density(self._soi, frequency)
        return float((squared(wave) * soi).sum() / soi.sum()) / self.carrier.period + self.carrier.noise

    def separate(self, mixture: Tensor) -> Separated:
        """Re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        soi = overlapped_ends(self._estimate, mixture, self.block, self.margin, self.modem.symbol_period)
        return Separated(soi, self.modem.decide(soi))

    def _estimate(self, windows: Tensor, begins: bool, ends: bool) -> Tensor:
        length = windows.shape[1]
        if length < _LEAST_SYMBOLS * self.carrier.period:
            return self._linear.separate(windows).soi
        receiver = self._receiver(length, begins and ends)
        rows = int(_MOST_ENTRIES / receiver.system.num_unknowns**2)
        return in_parallel(lambda part: self._detected(receiver, part), windows, max(1, rows))

    def _detected(self, receiver: Receiver, windows: Tensor) -> Tensor:
        mixture = windows.to(torch.complex128)
        gain = (power(mixture) - self._soi[0].real).clamp_min(_LEAST_GAIN)
        found = receiver.receive(mixture, gain)
        soi = receiver.soi(found).to(torch.complex64)
        most = max(_UNEXPLAINED * self._density, _NOISIER * self.carrier.noise)
        failed = ~(found.channel.noise_power < most * gain)
        return self._fallback.honest(windows, soi, failed)
