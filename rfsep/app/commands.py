"""The ``rfsep`` command."""

import io
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import yaml
from torch import Tensor
from typer.exceptions import TyperException

from rfsep.app.captures.commands import embed_command, separate_command
from rfsep.app.config import CONFIG_ERRORS, console, errors, one_line, register_resolvers
from rfsep.app.examples import read_examples
from rfsep.app.export import write_export
from rfsep.app.priors import check_prior
from rfsep.app.runs import export, open_run
from rfsep.app.tokenizers import check_tokenizer, learned
from rfsep.identification.identify import Identified, identify, modem_arguments
from rfsep.pages.studies.identify import draw
from rfsep.pages.studies.prior_check import summary, write_prior_figure
from rfsep.pages.studies.tokenizer_check import summary as tokenizer_summary
from rfsep.pages.studies.tokenizer_check import write_tokenizer_figure
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.storage.atomic import staged, write_json
from rfsep.types import InputError

app = typer.Typer(no_args_is_help=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _rfsep() -> None:
    """Separate a radio signal of interest from interference.

    Sources, modems and separators are options of conf/soi, conf/interference and conf/separator, by the names of their
    YAML files. Test sets are made by data/prepare.py, networks trained by train.py, separators scored and compared by
    evaluate.py; each command tells more with --help.

    \b
    Examples:
      rfsep identify wifi20
      rfsep embed lte.sigmf-meta --sinr-db -6 --out heard
      rfsep separate heard/capture.sigmf-meta --separator lte_pilots \\
        --examples lte20 --truth heard/truth_bits.npy --out separated
      rfsep compete runs/set --out runs/compete

    \b
    Environment:
      RFSEP_RECORDINGS   folder of recordings, RFSEP_OFFICIAL of the official
                         frames (data/README.md says which)
      RFSEP_HOST_KEY     file of the key that scores are sealed with
                         (default: ~/.config/rfsep/host.key)

    \b
    rfsep --install-completion
      completes commands, options and names of conf/ in this shell, from the
      next one on.

    Exit status: 0 done, 2 something is wrong with what was given (one line says what), 130 interrupted.
    """


app.command("separate", short_help="a recording into the samples and bits of a signal")(separate_command)
app.command("embed", short_help="put a known signal into a recording, to try things on")(embed_command)


@app.command("identify", short_help="what an interference is: OFDM, single carrier or noise")
def identify_command(
    interference: Annotated[
        str, typer.Argument(help="an option of conf/interference, a .sigmf-meta, or a .npy of complex64 [F, T]")
    ],
    num_frames: Annotated[int, typer.Option(min=1, help="frames to look at")] = 200,
    num_samples: Annotated[int, typer.Option(min=1, help="samples of a frame; a .npy is used as it is")] = 8192,
    split: Annotated[str, typer.Option(help="of recordings in conf/: train, val or test")] = "train",
    sample_rate_hz: Annotated[float | None, typer.Option(help="where the file does not say it")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for interference.yaml and picture.png")] = None,
) -> None:
    """Say what an interference is: OFDM with its prefix and carriers, a single carrier, or noise."""
    if sample_rate_hz is not None and not 0 < sample_rate_hz < float("inf"):
        raise InputError(f"sample_rate_hz is {sample_rate_hz}, expected a positive number")
    examples = read_examples(interference, num_frames, num_samples, split)
    rate = examples.sample_rate_hz if sample_rate_hz is None else sample_rate_hz
    identified = identify(examples.frames, rate)
    folder = Path("runs") / "identify" / examples.name if out is None else out
    text, picture = as_yaml(interference, examples.frames, identified, rate), io.BytesIO()
    draw(examples.frames, identified, examples.name, rate).savefig(picture, format="png", dpi=110)
    with staged(folder / "interference.yaml", folder / "picture.png") as (settings, image):
        settings.write_text(text, encoding="utf-8")
        image.write_bytes(picture.getvalue())
    for line in lines(identified):
        console.print(line, markup=False)
    console.print(f"written: {folder / 'interference.yaml'}, {folder / 'picture.png'}", markup=False, soft_wrap=True)


@app.command("export", short_help="a trained network made faster for this machine, or as two files")
def export_command(
    run: Annotated[str, typer.Argument(help="run folder of train.py, or zoo:NAME")],
    out: Annotated[
        Path | None, typer.Option(help="folder for config.yaml and model.safetensors, or NAME.safetensors")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="with --out, of the stored weights: float32 (default), bfloat16 or float16; else in which the network"
            " computes: bfloat16 (default where the processor has it) or float32"
        ),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option(min=16, max=1 << 22, help="of a window, without --out; default: as the network was trained"),
    ] = None,
) -> None:
    """Make a trained network faster for this machine; or, with --out, write it as two files that travel.

    \b
    rfsep export runs/demo/QPSK_OFDMQPSK
    rfsep export runs/demo/QPSK_OFDMQPSK --out published/ofdm.safetensors --dtype bfloat16

    Without --out the network is exported by OpenVINO (pip install 'rfsep[fast]') into the user's cache, and rfsep
    separate and evaluate.py use that from then on, for the same weights, code, versions and processor; they say so.
    --set fast=false and separator.fast=false do without. It is compared with the network itself on mixtures of the
    types it learned, at -24, -12 and 0 dB: its output may differ by -30 dB (float32: -100 dB) at most, and by 20 dB
    less than the network errs. Networks that see waveforms can be exported so (UNet, WaveNet and others that
    separator=neural runs); those behind a separator of their own cannot, for there the separator takes the time.

    With --out, weights go into a .safetensors and the config that rebuilds them beside it: run= of evaluate.py takes
    them.
    """
    register_resolvers()
    if out is None:
        _export_for_speed(run, dtype, num_samples)
        return
    if num_samples is not None:
        raise InputError("--num-samples is of a network exported for speed, without --out")
    place = export(run, out, dtype or "float32")
    megabytes = place.weights.stat().st_size / 1e6
    console.print(f"written: {place.weights} ({megabytes:.1f} MB), {place.config}", markup=False, soft_wrap=True)


def _export_for_speed(source: str, dtype: str | None, num_samples: int | None) -> None:
    opened = open_run(source)
    with console.status("") as status:
        folder, checked = write_export(opened.model, opened.config, source, dtype, num_samples, status.update)
    console.print(
        f"{source}: {checked.speed_up:.1f} x as fast; differs by {checked.error_db:.1f} dB, {checked.margin_db:.1f} dB"
        f" below its own error on {checked.mixtures}; written: {folder}",
        markup=False,
        soft_wrap=True,
    )


@app.command("compete", short_help="all separators and networks on a test set, and the leaderboard")
def compete_command(
    testset: Annotated[Path, typer.Argument(help="folder of a test set with its truth")],
    out: Annotated[Path, typer.Option(help="folder of the submissions and of the leaderboard")],
    processes: Annotated[int, typer.Option(min=1, help="at a time, of one thread each")] = 2,
    minutes: Annotated[float | None, typer.Option(min=0, help="stop then; the same command goes on")] = None,
    max_seconds: Annotated[float, typer.Option(min=0, help="leave a separator out where a mixture takes longer")] = 2.5,
) -> None:
    """Run every separator of conf/separator and every network of the zoo on a test set, and compare them."""
    from rfsep.app.compete import Limits, compete

    if failed := compete(testset, out, Limits(processes, minutes, max_seconds)):
        raise InputError(f"{failed} separators failed; {out} has their logs")


@app.command("curves", short_help="learning curves of several runs")
def curves_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders of train.py")],
    out: Annotated[Path, typer.Option(help="picture: .png, .svg or .pdf")],
    metric: Annotated[str | None, typer.Option(help="of metrics.csv, such as val/ber or val/mse_db/-12")] = None,
) -> None:
    """Draw learning curves of several runs on one plot: validation BER, or else MSE, over training FLOPs."""
    from rfsep.training.curves import compare_runs  # Lightning takes seconds to import

    drawn = compare_runs(runs, metric, out)
    console.print(f"{drawn} of {len(runs)} runs in {out}", markup=False, soft_wrap=True)


@app.command("prior", short_help="what a diffusion prior has learned")
def prior_command(
    run: Annotated[str, typer.Argument(help="run folder of train.py with objective=ddpm, or zoo:NAME")],
    num_windows: Annotated[int, typer.Option(min=1, help="windows to sample")] = 50,
    num_samples: Annotated[int | None, typer.Option(min=320, help="of a window; default: the training's")] = None,
    lag: Annotated[int, typer.Option(min=1, max=159, help="whose correlation is told: the FFT size of OFDM")] = 64,
    out: Annotated[Path | None, typer.Option(help="folder for prior.json and prior.png; default: the run's")] = None,
) -> None:
    """Sample a diffusion prior, and compare losses, spectrum, correlations and symbols with the signal's own."""
    register_resolvers()
    folder = out or Path("runs", "prior", run.removeprefix("zoo:")) if run.startswith("zoo:") else out or Path(run)
    checked = check_prior(run, num_windows, num_samples)
    found = summary(checked.learned, checked.period, lag)
    write_json(folder / "prior.json", {"run": run, "signal": checked.name, **found})
    write_prior_figure(folder / "prior.png", checked.learned, checked.period, checked.name)
    loss = f"{found['noise_mse']:.4f} (a Gaussian signal's: {found['noise_mse_gaussian']:.4f})"
    console.print(f"MSE of the noise {loss}; written: {folder / 'prior.json'}, {folder / 'prior.png'}", soft_wrap=True)


@app.command("tokenizer", short_help="what a tokenizer keeps of its signal")
def tokenizer_command(
    run: Annotated[str, typer.Argument(help="run folder of train.py with objective=tokenizer, or zoo:NAME")],
    num_bits: Annotated[int, typer.Option(min=1, help="to send, or samples of a signal without known bits")] = 1000000,
    num_samples: Annotated[int, typer.Option(min=1024, help="of a window")] = 2560,
    out: Annotated[Path | None, typer.Option(help="folder for tokenizer.json and .png; default: the run's")] = None,
) -> None:
    """Take a signal through its tokens: error with and without quantisation, wrong bits, which codes occur."""
    register_resolvers()
    folder = out or (Path("runs", "tokenizer", run.removeprefix("zoo:")) if run.startswith("zoo:") else Path(run))
    checked = check_tokenizer(run, num_bits, num_samples)
    tokenizer, name = checked.opened.tokenizer, str(checked.opened.signal.name)
    found = tokenizer_summary(checked.kept)
    told: dict[str, Any] = {"run": run, "signal": name, "stride": tokenizer.stride, "sizes": list(tokenizer.sizes)}
    told |= {"parameters": checked.parameters, "core_minutes": checked.opened.facts.get("core_minutes")}
    write_json(folder / "tokenizer.json", {**told, **found})
    write_tokenizer_figure(folder / "tokenizer.png", checked.kept, tokenizer.stride, name)
    wrong = f", {found['bit_errors']} of {found['num_bits']} bits wrong" if "num_bits" in found else ""
    used = f"{found['codes_used']} of {found['codes_possible']} codes used"
    files = f"{folder / 'tokenizer.json'}, {folder / 'tokenizer.png'}"
    console.print(f"MSE {found['mse_db']:.1f} dB{wrong}, {used}; written: {files}", markup=False, soft_wrap=True)


@app.command("tokenizer-runs", short_help="how several tokenizers were trained, and what they reached")
def tokenizer_runs_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders of train.py with objective=tokenizer")],
    out: Annotated[Path, typer.Option(help="JSON file")],
) -> None:
    """Say of several tokenizers how they were trained and what they reached, side by side."""
    register_resolvers()
    write_json(out, {"runs": [learned(run) for run in runs]})
    console.print(f"{len(runs)} runs in {out}", markup=False, soft_wrap=True)


def _shown(value: Any) -> str:
    """A value as text: six digits, ranges and pairs with a comma."""
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def lines(identified: Identified) -> list[str]:
    """One line a finding, those without a value left out.

    >>> from rfsep.identification.identify import Finding
    >>> lines(Identified(Finding("ofdm", 1.0), fft_size=Finding(64, 0.999)))
    ['kind: ofdm  (confidence 1.00)', 'fft_size: 64  (confidence 0.99)']
    """
    return [
        f"{name}: {_shown(finding.value)}  (confidence {int(finding.confidence * 100 + 1e-6) / 100:.2f})"
        for name, finding in identified._asdict().items()
        if finding.value is not None
    ]


def as_yaml(interference: str, frames: Tensor, identified: Identified, sample_rate_hz: float | None) -> str:
    """The findings, and the modem as `rfsep.app.trust.read_interference` takes it, where one is known."""
    arguments = modem_arguments(identified)
    kind = OfdmModem if identified.kind.value == "ofdm" else LinearModem
    target = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    content = {
        "examples": {"num_frames": frames.shape[0], "num_samples": frames.shape[1]},
        "sample_rate_hz": sample_rate_hz,
        "findings": {
            name: {"value": _plain_value(finding.value), "confidence": round(finding.confidence, 4)}
            for name, finding in identified._asdict().items()
        },
        "modem": None
        if arguments is None
        else target | {name: _plain_value(value) for name, value in arguments.items()},
        "carrier_offset": identified.carrier_offset.value,
    }
    title = f"# what rfsep identify made of {' '.join(interference.split())}\n"
    return title + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _plain_value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _refuse(text: str, status: int) -> NoReturn:
    errors.print(text)
    sys.exit(status)


def main() -> None:
    """Run the command; what the user got wrong is told in one line and ends with exit status 2."""
    try:
        status = app(standalone_mode=False)
    except TyperException as error:
        _refuse(f"error: {' '.join(error.format_message().split())}", 2)
    except (InputError, OSError, *CONFIG_ERRORS) as error:
        _refuse(f"error: {one_line(error)}", 2)
    except (KeyboardInterrupt, typer.Abort):
        _refuse("interrupted; nothing was written", 130)
    sys.exit(status if isinstance(status, int) else 0)
