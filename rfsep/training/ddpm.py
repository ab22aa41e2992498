"""The objective of a diffusion prior of one signal, learned without mixtures."""

from typing import Literal, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from rfsep.iq import to_channels
from rfsep.separators.score_based.learned_prior import estimated_noise
from rfsep.signals.diffusion_schedule import Schedule, linear_schedule
from rfsep.training.optimisers import Optimisation, adamw
from rfsep.types import InputError, MixtureBatch

Which = Literal["soi", "interference"]
_GROUPS = 5  # groups of steps with separate validation losses


class Signal(NamedTuple):
    """Windows of one signal.

    Attributes:
        windows: float32 [B, 2, T].
        offset: int64 [B], samples into a period at sample 0; -1 unknown.
    """

    windows: Tensor
    offset: Tensor


class Ddpm(pl.LightningModule):
    """Minimises the mean of (estimate - z)^2 over noises z of unit variance per real component, steps uniform.

    This is the objective L_simple of J. Ho et al. (NeurIPS 2020, eq. 14), as T. Jayashankar et al. (NeurIPS 2023) train
    their priors. The SOI has the power that its source gives it. The interference has its source's unit power at every
    level of the mixture; there it is ``gain`` times as strong, and gain^2 is the nominal ratio of the powers. (The
    published priors saw OFDM of power 56/64, and divided by gain * sqrt(64/56).)

    Validation logs the loss on fixed noise, with a batch's windows spread evenly over the steps. ``val/noise_mse``
    selects the best checkpoint, and ``val/noise_mse/<first step>`` belongs to one of five groups of steps.

    Args:
        model: float32 [B, 2, T] and steps int64 [B] to float32 [B, 2, T].
        which: signal to learn, soi or interference.
        optimisation: optimiser and learning rate.
        schedule: noise levels.
        period: period of the signal's grid, for a network that sees whole periods, as those of
            `rfsep.models.token_prior` and `rfsep.models.carrier_prior`.
    """

    alpha_bar: Tensor
    sigma: Tensor

    def __init__(
        self,
        model: nn.Module,
        which: Which,
        optimisation: Optimisation,
        schedule: Schedule | None = None,
        period: int | None = None,
    ) -> None:
        super().__init__()
        if which not in ("soi", "interference"):
            raise InputError(f"objective.module.which is '{which}'; choose one of soi, interference")
        self.model = model
        self.which = which
        self.period = period
        self.optimisation = optimisation
        for name, values in (schedule or linear_schedule())._asdict().items():
            self.register_buffer(name, values, persistent=False)  # It moves with the model.
        self._errors: list[tuple[Tensor, Tensor]] = []

    @property
    def schedule(self) -> Schedule:
        """Returns the noise levels, on the model's device."""
        return Schedule(self.alpha_bar, self.sigma)

    def signal(self, batch: MixtureBatch) -> Signal:
        """Returns the windows to learn."""
        if self.which == "soi":
            return Signal(to_channels(batch.soi), batch.soi_offset)
        unit = 10 ** (batch.sinr_db / 20)[:, None] * batch.interference
        return Signal(to_channels(unit), batch.interference_offset)

    def errors(self, signal: Signal, noise: Tensor, step: Tensor) -> Tensor:
        """Mean squared error float32 [B] of estimated noise, for noise float32 [B, 2, T] at steps int64 [B]."""
        noisy = self.schedule.noisy(signal.windows, noise, step)
        estimate = estimated_noise(self.model, noisy, step, self.period, signal.offset)
        return (estimate - noise).square().mean((1, 2))

    def training_step(self, batch: MixtureBatch, batch_idx: int) -> Tensor:
        """Loss of a batch; its noise follows from the run's seed, see `rfsep.training.callbacks.BatchSeeds`."""
        signal = self.signal(batch)
        windows = signal.windows
        step = torch.randint(len(self.alpha_bar), (len(windows),), device=windows.device)
        loss = self.errors(signal, torch.randn_like(windows), step).mean()
        self.log("train/noise_mse", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: MixtureBatch, batch_idx: int) -> None:
        """Collects the errors of a batch by step."""
        signal = self.signal(batch)
        windows = signal.windows
        step = torch.arange(len(windows), device=windows.device) * len(self.alpha_bar) // len(windows)
        generator = torch.Generator().manual_seed(batch_idx)  # same noise at every validation, on every device
        noise = torch.randn(windows.shape, generator=generator).to(windows.device)
        self._errors.append((step, self.errors(signal, noise, step)))

    def on_validation_epoch_end(self) -> None:
        """Logs the groups of steps and the mean over all."""
        step, errors = (torch.cat(parts) for parts in zip(*self._errors, strict=True))
        self._errors.clear()
        size = -(-len(self.alpha_bar) // _GROUPS)
        for first in range(0, len(self.alpha_bar), size):
            if (inside := step // size == first // size).any():
                self.log(f"val/noise_mse/{first}", errors[inside].mean(), sync_dist=True)
        self.log("val/noise_mse", errors.mean(), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns AdamW and its learning rate."""
        return adamw(self.parameters(), self.optimisation)
