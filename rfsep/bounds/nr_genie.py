"""The bound of joint detection beneath a 5G NR uplink, given its timing and channel."""

import torch
from torch import Tensor

from rfsep.iq import power
from rfsep.separators.inference.band import Band
from rfsep.separators.inference.superposed import SOI, detected
from rfsep.separators.inference.symbol_posterior import Response
from rfsep.separators.nr.nr_bodies import cut, said_of_channel, sliced, summed
from rfsep.separators.nr.nr_channel import fit_taps
from rfsep.separators.nr.nr_detection import NrDetection, Scene
from rfsep.separators.nr.nr_propagation import make_model
from rfsep.separators.nr.nr_timing import Symbol
from rfsep.separators.nr.nr_windows import slot_symbols
from rfsep.signals.nr.uplink import NrUplink
from rfsep.types import MixtureBatch, Modem, Separated

_UPDATES = (8, 8)  # updates of the channel's variances in each fit; all carriers are decided before each


class NrGenie:
    """Runs `NrDetection` with the interference's timing and channel, but without the symbols beneath the SOI.

    The channel is fitted to the interference alone, because the source does not return it.

    Args:
        modem: the SOI's modem, narrow-band, which begins and ends with the mixture.
        source: the interference's source, in QPSK.
        noise_power: power of the white noise in the mixtures; not used.
    """

    def __init__(self, modem: Modem, source: NrUplink, noise_power: float) -> None:
        self.modem = modem
        self._detection = NrDetection(modem, torch.zeros((0, 0), dtype=torch.complex64), source.cell_id)

    def estimate(self, batch: MixtureBatch) -> Separated:
        """Re-modulated posterior means complex64 [B, T] and hard bits uint8 [B, N]."""
        response, band, _, _ = self._detection.window(batch.mixture.shape[1], True)
        rows = zip(batch.mixture, batch.interference, batch.interference_offset.tolist(), strict=True)
        symbols = torch.stack([self._symbols(*row, response, band) for row in rows])
        soi = (symbols @ response.waveforms.T).to(torch.complex64)
        return Separated(soi, self.modem.decide(soi))

    def _symbols(self, mixture: Tensor, interference: Tensor, offset: int, response: Response, band: Band) -> Tensor:
        """Returns the SOI's symbols complex128 [S] of one mixture complex64 [T]."""
        clean = interference.to(torch.complex128)
        scene = self._scene(clean, slot_symbols(offset, len(clean)))
        shares = self._detection.shares(scene, clean)
        model = make_model(mixture.to(torch.complex128), band, scene.symbols, shares, scene.channel, 0.0)
        return detected(lambda _: model, self._detection.points).found[SOI].mean.to(torch.complex128)

    def _scene(self, clean: Tensor, symbols: list[Symbol]) -> Scene:
        """Returns timing, pilots and channel of interference complex128 [T]."""
        variance = self._detection.variance(0.0, float(power(clean)))
        scene = self._detection.scene(clean, clean, symbols, variance, variance)
        for updates in _UPDATES:
            said, response = [], scene.channel.response().conj()
            for body in scene.bodies:
                carriers = cut(clean, symbols[body.place])
                sent = sliced(carriers * response) if body.pilots is None else body.pilots
                said.append(said_of_channel(carriers, sent, torch.zeros_like(variance), 1 / variance))
            scene = scene._replace(channel=fit_taps(summed(said), scene.channel.variances, updates))
        return scene
