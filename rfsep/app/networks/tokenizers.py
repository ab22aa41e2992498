"""Opens trained tokenizers, and measures what they keep of their signals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from rfsep.app.config import build_modem, build_soi, build_source, console, interference_option, soi_option
from rfsep.app.networks.kinds import learned_signal
from rfsep.app.networks.priors import signal_settings
from rfsep.app.networks.runs import open_run
from rfsep.app.settings import Node
from rfsep.app.trust import read_network, trusted_signal
from rfsep.iq import from_channels, power, to_channels
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.models.code_use import code_use, participation
from rfsep.models.tokenizer import Tokenizer
from rfsep.pages.studies.tokenizer_check import Kept, summary, write_tokenizer_figure
from rfsep.storage.atomic import write_json
from rfsep.types import InputError, Modem, SignalSource

_SAMPLES = 2**18  # samples per batch
_LATENTS = 20000  # number of tokens that the effective dimension is measured on


class Opened(NamedTuple):
    """An opened tokenizer.

    Attributes:
        tokenizer: the network, which quantises.
        signal: settings of its signal, as in conf/soi or conf/interference.
        which: soi or interference.
        facts: cost of its training.
    """

    tokenizer: Tokenizer
    signal: Node
    which: str
    facts: dict[str, Any]


def open_tokenizer(source: str) -> Opened:
    """Opens the tokenizer of a run folder, of an exported one or of the zoo.

    Args:
        source: see `rfsep.app.networks.runs.locate`.

    Raises:
        InputError: no such run, or its network is not a tokenizer.
    """
    run = open_run(source)
    which = str(learned_signal(run.config, "tokenizer", source)["which"])
    return Opened(cast(Tokenizer, run.model), signal_settings(run.config, which), which, run.facts)


class MeasuredTokenizer(NamedTuple):
    """The subject of `rfsep.pages.studies.tokenizer_check`.

    Attributes:
        kept: comparison of a signal with its reconstruction from tokens.
        opened: the tokenizer.
        parameters: number of its parameters.
    """

    kept: Kept
    opened: Opened
    parameters: int


def learned(folder: Path) -> dict[str, Any]:
    """Returns a summary of a tokenizer's training: its warm-up, the last validation, the error over steps.

    Raises:
        InputError: not a run of a tokenizer, or one without a validation.
    """
    # This imports Lightning, which takes seconds.
    from rfsep.training.metrics_csv import read_metrics

    config, rows = read_network(folder / "config.yaml"), read_metrics(folder / "metrics.csv")
    which, found = str(learned_signal(config, "tokenizer", str(folder))["which"]), dict[str, list[tuple[int, float]]]()
    for row in rows:
        found.setdefault(row["metric"], []).append((int(row["step"]) + 1, float(row["value"])))
    if "val/mse_db" not in found:
        raise InputError(f"{folder / 'metrics.csv'}: not validated yet")
    network = config.model.network
    quantiser = "vector" if network.get("codebook") is not None else "finite_scalar"
    quantised = [step for step, value in found["val/quantised"] if value == 1]
    return {
        "run": folder.name,
        "signal": str((config.signal(which) or {}).get("name")),
        "seed": config.seed,
        "quantiser": quantiser,
        "corrected": bool(network.get("corrected", True)),
        "warm_up": config.objective.get("autoencoder"),
        # This is the first validation after the warm-up.
        "quantised_at": quantised[0] if quantised else None,
        **{name.removeprefix("val/"): values[-1][1] for name, values in found.items() if name.startswith("val/")},
        "steps": [step for step, _ in found["val/mse_db"]],
        "mse_db_by_step": [value for _, value in found["val/mse_db"]],
    }


class _Batch(NamedTuple):
    """Windows through tokens: signal and reconstruction complex64 [B, T], codes [N, D], latents, errors and bits."""

    source: Tensor
    reconstruction: Tensor
    codes: Tensor
    latents: Tensor
    errors: Tensor
    unquantised_errors: Tensor
    bit_errors: int
    num_bits: int


def _through(
    tokenizer: Tokenizer, modem: Modem | None, source: SignalSource, shape: tuple[int, int], key: int
) -> _Batch:
    """Passes batch number ``key`` of windows of this shape through the tokens."""
    sampled = source.sample(*shape, batch_generator(Purpose.TEST, 2, key))
    windows = to_channels(sampled.waveform)
    tokenizer.quantise = False
    unquantised = from_channels(tokenizer(windows).waveform)
    tokenizer.quantise = True
    found = tokenizer(windows)
    # The decoder sees the digits alone.
    decoded = from_channels(tokenizer.decode(tokenizer.values(found.codes)))
    wrong = 0 if modem is None else int((modem.decide(decoded) != sampled.bits).sum())
    return _Batch(
        source=sampled.waveform,
        reconstruction=decoded,
        codes=found.codes.flatten(0, 1),
        latents=found.latents.flatten(0, 1),
        errors=power(decoded - sampled.waveform),
        unquantised_errors=power(unquantised - sampled.waveform),
        bit_errors=wrong,
        num_bits=0 if modem is None else sampled.bits.numel(),
    )


@torch.no_grad()
def check_tokenizer(source: str, num_bits: int, num_samples: int) -> MeasuredTokenizer:
    """Passes windows through tokens; of recordings, those that nothing was learned from.

    Args:
        source: see `rfsep.app.networks.runs.locate`.
        num_bits: least number of bits, or of samples where the signal has no known bits.
        num_samples: samples per window, cut to whole tokens.
    """
    opened = open_tokenizer(source)
    opened = opened._replace(signal=trusted_signal(opened.signal, source))
    tokenizer, is_soi = opened.tokenizer, opened.which == "soi"
    signal = (
        build_soi(soi_option(opened.signal)) if is_soi else build_source(interference_option(opened.signal), "test")
    )
    modem = build_modem(soi_option(opened.signal)) if is_soi else None
    num_samples = max(1, num_samples // tokenizer.stride) * tokenizer.stride
    together = max(1, _SAMPLES // num_samples)
    in_a_window = num_samples if modem is None else modem.num_bits(num_samples)
    count = -(-num_bits // (together * in_a_window))
    batches = [_through(tokenizer, modem, signal, (together, num_samples), key) for key in range(count)]
    use = code_use(torch.cat([batch.codes for batch in batches]), tokenizer.sizes)
    kept = Kept(
        source=batches[0].source,
        reconstruction=batches[0].reconstruction,
        latents=batches[0].latents,
        counts=use.counts,
        tokens=use.tokens,
        entropy_bits=use.entropy_bits,
        effective_dimension=participation(batches[0].latents[:_LATENTS]),
        error=float(torch.cat([batch.errors for batch in batches]).mean()),
        unquantised_error=float(torch.cat([batch.unquantised_errors for batch in batches]).mean()),
        bit_errors=sum(batch.bit_errors for batch in batches),
        num_bits=sum(batch.num_bits for batch in batches),
    )
    return MeasuredTokenizer(kept, opened, sum(one.numel() for one in tokenizer.parameters()))


def report_tokenizer(source: str, num_bits: int, num_samples: int, out: Path | None) -> None:
    """Passes a signal through its tokens, and writes tokenizer.json and tokenizer.png: ``rfsep tokenizer``.

    Args:
        source: see `rfsep.app.networks.runs.locate`.
        num_bits: bits to send, or samples of a signal without known bits.
        num_samples: samples per window.
        out: folder; None for the run's own, or runs/tokenizer/NAME for one of the zoo.
    """
    short = source.removeprefix("zoo:")
    folder = out or (Path("runs", "tokenizer", short) if source != short else Path(source))
    checked = check_tokenizer(source, num_bits, num_samples)
    tokenizer, name = checked.opened.tokenizer, str(checked.opened.signal.get("name"))
    found = summary(checked.kept)
    told: dict[str, Any] = {"run": source, "signal": name, "stride": tokenizer.stride, "sizes": list(tokenizer.sizes)}
    told |= {"parameters": checked.parameters, "core_minutes": checked.opened.facts.get("core_minutes")}
    write_json(folder / "tokenizer.json", {**told, **found})
    write_tokenizer_figure(folder / "tokenizer.png", checked.kept, tokenizer.stride, name)
    wrong = f", {found['bit_errors']} of {found['num_bits']} bits wrong" if "num_bits" in found else ""
    used = f"{found['codes_used']} of {found['codes_possible']} codes used"
    files = f"{folder / 'tokenizer.json'}, {folder / 'tokenizer.png'}"
    console.print(f"MSE {found['mse_db']:.1f} dB{wrong}, {used}; written: {files}", markup=False, soft_wrap=True)


def report_tokenizer_runs(runs: Sequence[Path], out: Path) -> None:
    """Writes a comparison of several tokenizers' training and results: ``rfsep tokenizer-runs``."""
    write_json(out, {"runs": [learned(run) for run in runs]})
    console.print(f"{len(runs)} runs in {out}", markup=False, soft_wrap=True)
