"""The objective of a tokenizer: a discrete autoencoder of one signal, learned without mixtures."""

from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from rfsep.iq import to_channels
from rfsep.metrics import floored_db
from rfsep.models.code_use import code_use, participation
from rfsep.models.tokenizer import Tokenizer
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.types import InputError, MixtureBatch

Which = Literal["soi", "interference"]


class Warmup(NamedTuple):
    """The warm-up, in which the linear maps learn as an autoencoder without quantisation and corrections.

    Attributes:
        steps: number of steps at most; 0 for none.
        cost_db: it ends early if quantisation raises a validation error by less than this, because the latents are
            discrete then; None for no such end.
        patience: it also ends after this many validations in a row whose unquantised errors are not ``least_fall_db``
            below the lowest one before; None for no such end.
        least_fall_db: least fall of the error that counts.
        rounding: weight of `rfsep.models.tokenizer.Tokenizer.rounding_error` during the warm-up.
    """

    steps: int = 0
    cost_db: float | None = None
    patience: int | None = None
    least_fall_db: float = 0.5
    rounding: float = 0.0


class Tokenization(pl.LightningModule):
    """Minimises the mean of |reconstruction - signal|^2 plus the quantiser's own loss.

    Training may begin as a linear autoencoder without quantisation. Validation logs the error through tokens as
    ``val/mse_db``, which selects the best checkpoint, and that without quantisation as ``val/unquantised_db``. It also
    logs ``val/codes_used`` and ``val/entropy_bits`` of `rfsep.models.code_use.code_use`, ``val/effective_dimension`` of
    the bounded latents, and ``val/quantised``, which is 1 while training quantises.

    Args:
        model: see `rfsep.models.tokenizer.Tokenizer`.
        optimisation: optimiser and learning rate.
        which: signal to learn, soi or interference.
        autoencoder: the warm-up without quantisation.
        fresh: initialise the linear maps by the first batch; False for a model that has learned before.
    """

    def __init__(
        self,
        model: Tokenizer,
        optimisation: Optimisation,
        which: Which = "soi",
        autoencoder: Warmup | None = None,
        fresh: bool = True,
    ) -> None:
        super().__init__()
        if which not in ("soi", "interference"):
            raise InputError(f"objective.module.which is '{which}'; choose one of soi, interference")
        self.model = model
        self.which = which
        self.fresh = fresh
        self.autoencoder = autoencoder or Warmup()
        self._warm_up(self.autoencoder.steps > 0)
        self.ended = False  # set by a validation
        self.lowest_db, self.waited = float("inf"), 0
        self.optimisation = optimisation
        self._found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def signal(self, batch: MixtureBatch) -> Tensor:
        """Returns the windows to learn, float32 [B, 2, T], the interference at its source's unit power.

        Raises:
            InputError: windows do not consist of whole tokens.
        """
        if (length := batch.soi.shape[1]) % self.model.stride:
            raise InputError(f"data.num_samples {length} is no multiple of a token's {self.model.stride} samples")
        if self.which == "soi":
            return to_channels(batch.soi)
        return to_channels(10 ** (batch.sinr_db / 20)[:, None] * batch.interference)

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Returns the loss of a batch."""
        windows = self.signal(batch)
        self._start(windows)
        found = self.model(windows)
        error = (found.waveform - windows).square().sum(1).mean()
        self.log("train/mse", error, prog_bar=True)
        penalty = found.penalty if self.model.quantise else self.autoencoder.rounding * self.model.rounding_error()
        if self.trainer.world_size > 1:  # Processes wait for gradients of all weights, idle ones too.
            penalty = penalty + 0 * torch.stack([one.sum() for one in self.model.parameters()]).sum()
        loss: Tensor = error + penalty
        return loss

    def _warm_up(self, lasts: bool) -> None:
        """Switches the linear autoencoder without quantisation on or off."""
        self.model.quantise, self.model.linear = not lasts, lasts

    def _start(self, windows: Tensor) -> None:
        """Initialises the model, at the first step and after the warm-up, by the first process's windows."""
        ends = not self.model.quantise and (self.ended or self.global_step >= self.autoencoder.steps)
        begins = self.fresh and self.global_step == 0
        if not (begins or ends):
            return
        windows = self.trainer.strategy.broadcast(windows)
        if begins:
            self.model.start(windows)
        if ends:
            self.model.start_quantising(windows)

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collects errors, digits and latents of a batch."""
        windows, quantises = self.signal(batch), self.model.quantise
        errors = []
        for self.model.quantise in (False, True):
            found = self.model(windows)
            errors.append((found.waveform - windows).square().sum(1).mean(1))
        self.model.quantise = quantises
        self._found.append((*errors, found.codes.flatten(0, 1), found.latents.flatten(0, 1)))

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics, and checks whether the warm-up is complete."""
        unquantised, quantised, codes, latents = (torch.cat(parts) for parts in zip(*self._found, strict=True))
        self._found.clear()
        use = code_use(codes, self.model.sizes)
        unquantised_db = floored_db(float(unquantised.mean()))
        quantised_db = floored_db(float(quantised.mean()))
        self._wait(unquantised_db, quantised_db)
        found = {
            "mse_db": quantised_db,
            "unquantised_db": unquantised_db,
            "codes_used": use.share_used,
            "entropy_bits": use.entropy_bits,
            "effective_dimension": participation(latents),
            "quantised": float(self.model.quantise),
        }
        for name, value in found.items():
            self.log(f"val/{name}", value, prog_bar=name == "mse_db", sync_dist=True)

    def _wait(self, unquantised_db: float, quantised_db: float) -> None:
        """Checks whether the warm-up is complete, or no longer helps."""
        ends = self.autoencoder
        if self.model.quantise:
            return
        self.waited = 0 if unquantised_db < self.lowest_db - ends.least_fall_db else self.waited + 1
        self.lowest_db = min(self.lowest_db, unquantised_db)
        discrete = ends.cost_db is not None and quantised_db < unquantised_db + ends.cost_db
        done = discrete or (ends.patience is not None and self.waited >= ends.patience)
        self.ended = self.trainer.strategy.reduce_boolean_decision(done, all=False)  # All processes decide together.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the state of the warm-up."""
        state = {"quantise": self.model.quantise, "ended": self.ended, "lowest_db": self.lowest_db}
        checkpoint["autoencoder"] = {**state, "waited": self.waited}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the state of the warm-up."""
        state = checkpoint["autoencoder"]
        self._warm_up(not state["quantise"])
        self.ended = state["ended"]
        self.lowest_db, self.waited = state["lowest_db"], state["waited"]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns the optimiser and its learning rate."""
        return adamw(self.parameters(), self.optimisation)
