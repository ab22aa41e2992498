"""Writes trained networks in the formats of the RF Challenge's organisers and of alpha-RGS's authors."""

from pathlib import Path
from typing import Any

from rfsep.app.config import console
from rfsep.app.networks.runs import open_run
from rfsep.app.settings import NetworkConfig
from rfsep.models.official import to_official
from rfsep.signals.diffusion_schedule import betas
from rfsep.storage.weights import write_checkpoint
from rfsep.types import InputError


def export_official(source: str, out: Path | None, form: str, dtype: str | None, num_samples: int | None) -> None:
    """Writes the best weights of a WaveNet or DiffWave into a .pt that the official scripts load, and says so.

    ``model`` holds the weights by their official names, ``cfg`` the sizes, and the noise levels of a prior. There is no
    optimiser state, so official training cannot resume from it.

    Args:
        source: see `rfsep.app.networks.runs.locate`.
        out: the file, such as weights-2000.pt.
        form: official.
        dtype: must be None, as weights are written as they are.
        num_samples: must be None.

    Raises:
        InputError: other arguments, no such run, a network that is neither, or a file that cannot be written.
    """
    if form != "official":
        raise InputError(f"--as is '{form}'; choose official, or leave it out")
    if out is None or out.suffix != ".pt" or dtype is not None or num_samples is not None:
        raise InputError("--as official needs --out NAME.pt, and takes neither --dtype nor --num-samples")
    run = open_run(source)
    try:
        weights = to_official(run.model.state_dict())
    except ValueError as error:
        raise InputError(f"{source}: cannot be written as official: {error}") from None
    config = {"model": _sizes(run.model, run.config), "trainer": {"fast_sampling": False}}
    write_checkpoint(out, {"step": run.facts.get("chosen_steps"), "model": weights, "cfg": config})
    console.print(f"written: {out} ({out.stat().st_size / 1e6:.1f} MB)", markup=False, soft_wrap=True)


def _sizes(network: Any, config: NetworkConfig) -> dict[str, Any]:
    """Returns the arguments of the official classes."""
    levels: dict[str, Any] = {}
    if config.model.kind == "prior":
        schedule = {key: value for key, value in config.objective["schedule"].items() if key != "_target_"}
        levels["noise_schedule"] = {"train_noise_schedule": betas(**schedule).tolist()}
        network = network.wavenet
    return levels | {
        "input_channels": 2,
        "residual_channels": network.channels,
        "residual_layers": len(network.blocks),
        "dilation_cycle_length": network.cycle,
    }
