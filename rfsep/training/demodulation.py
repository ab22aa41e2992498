"""The objective for bits through a differentiable demodulator."""

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from rfsep.separators.neural import network_input
from rfsep.training.levels import LevelScores, log_levels
from rfsep.training.losses import bit_cross_entropy, row_errors
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.training.soi_bits import NoiseVariance, demodulated_error_rates, heard, soft_bits
from rfsep.types import MixtureBatch, Modem, Separator


class Demodulation(pl.LightningModule):
    """Minimises the cross-entropy of the bits that the SOI's own demodulator reads from the network's waveform.

    The estimate goes through the matched filter (or the FFT) at the SOI's known offset and the exact demapper, whose
    noise variance `NoiseVariance` learns. The loss is cross-entropy in nats per bit plus ``mse_weight`` times the
    waveform's mean squared error. Cross-entropy alone does not constrain anything outside the matched filter's band, so
    the bits may be right while the waveform, and ``val/mse_db``, are wrong.

    Args:
        model: float32 [B, 2, T], or [B, 4, T] with a guide, to float32 [B, 2, T].
        modem: the SOI's modem, whose bits must be known.
        mse_weight: weight of the waveform's error beside the bits.
        optimisation: optimiser and learning rate.
        guide: separator whose estimate the network sees beside the mixture, see `rfsep.separators.neural`.
    """

    def __init__(
        self,
        model: nn.Module,
        modem: Modem,
        mse_weight: float,
        optimisation: Optimisation,
        guide: Separator | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.modem = modem
        self.mse_weight = mse_weight
        self.guide = guide
        self.noise_variance = NoiseVariance()
        self.optimisation = optimisation
        self.scores = LevelScores()

    def cross_entropy(self, estimate: Tensor, batch: MixtureBatch) -> Tensor:
        """Returns nats per bit of waveforms float [B, 2, T]."""
        found = heard(self.modem, estimate, batch)
        variance = self.noise_variance(found.symbols, found.known, self.modem.constellation)  # [B]
        return bit_cross_entropy(soft_bits(found, self.modem, variance), found.bits, found.known)

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch."""
        estimate = self.model(network_input(batch.mixture, self.guide))  # [B, 2, T]
        error = row_errors(estimate, batch.soi).mean()
        bits = self.cross_entropy(estimate, batch)
        loss = bits + self.mse_weight * error
        self.log_dict({"train/mse": error, "train/bits": bits}, prog_bar=True)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collects the errors of a batch by level."""
        estimate = self.model(network_input(batch.mixture, self.guide))
        rates = {"ber": demodulated_error_rates(self.modem, estimate, batch)}
        self.scores.add(batch.sinr_db, row_errors(estimate, batch.soi), rates)

    def on_validation_epoch_end(self) -> None:
        """Logs the levels and their mean."""
        log_levels(self, self.scores)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns AdamW and its learning rate."""
        return adamw(self.parameters(), self.optimisation)
