"""The ``rfsep`` command, its subcommands and options. Each subcommand imports slow modules only when it runs."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from rfsep.app.captures.commands import Channel, Dataset, Datatype, embed_command, rate_number, separate_command
from rfsep.app.learn.commands import learn_command
from rfsep.app.places import add_config_dir, user_folders
from rfsep.app.scripts import loading, script

app = typer.Typer(no_args_is_help=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _rfsep(
    config_dir: Annotated[
        Path | None,
        typer.Option(help="folder of your own options, with soi/, interference/ and the others as in conf/"),
    ] = None,
) -> None:
    """Separate a radio signal of interest from interference.

    Sources, modems and separators are options of conf/soi, conf/interference and conf/separator, by the names of their
    YAML files. prepare makes test sets, train trains networks, evaluate scores and compares separators: these three
    take KEY=VALUE words, as data/prepare.py, train.py and evaluate.py of a checkout do. Each command tells more with
    --help.

    \b
    Examples:
      rfsep identify wifi20
      rfsep learn recordings/ --soi qpsk --minutes 20 --out learned
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

    Exit status: 0 done, 2 invalid input (one line names the fault), 130 interrupted.
    """
    if config_dir is not None:
        add_config_dir(config_dir)


app.command("learn", short_help="learn the best separator for an interference from examples")(learn_command)
app.command("separate", short_help="separate a recording into the samples and bits of a signal")(separate_command)
app.command("embed", short_help="embed a known signal in a recording, for experiments")(embed_command)


@app.command("identify", short_help="identify the kind of an interference")
def identify_command(
    interference: Annotated[
        str,
        typer.Argument(
            help="an option of conf/interference, a recording, a folder or a pattern of them, or a .npy of complex64"
            " [F, T]"
        ),
    ],
    num_frames: Annotated[int, typer.Option(min=1, help="frames to look at")] = 200,
    num_samples: Annotated[int, typer.Option(min=1, help="samples per frame; a .npy is used as it is")] = 8192,
    split: Annotated[str, typer.Option(help="split of recordings in conf/: train, val or test")] = "train",
    sample_rate_hz: Annotated[
        float | None,
        typer.Option(parser=rate_number, metavar="HZ", help="sample rate, where the file does not say it"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for interference.yaml and picture.png")] = None,
    datatype: Datatype = None,
    dataset: Dataset = None,
    channel: Channel = None,
) -> None:
    """Identify an interference: OFDM, single carrier, constant envelope, chirps, pulses, noise, or unknown."""
    with loading():
        from rfsep.app.identify import identify_interference
        from rfsep.storage.captures.facts import Hints

    hints = Hints(datatype, dataset, channel)
    identify_interference(interference, num_frames, num_samples, split, sample_rate_hz, out, hints)


@app.command("export", short_help="make a trained network faster for this machine, or write it as two files")
def export_command(
    run: Annotated[str, typer.Argument(help="run folder of train.py, or zoo:NAME")],
    out: Annotated[
        Path | None, typer.Option(help="folder for config.yaml and model.safetensors, or NAME.safetensors")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="with --out, type of the weights: float32 (default), bfloat16 or float16; else in which the network"
            " computes: bfloat16 (default where the processor has it) or float32"
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--as", help="official: with --out NAME.pt, as the RF Challenge's or alpha-RGS's scripts load it"),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option(min=16, max=1 << 22, help="samples per window, without --out; default: the training's"),
    ] = None,
) -> None:
    """Make a trained network faster for this machine; with --out, write it as two portable files.

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
    them. With --as official, WaveNets and DiffWaves go into a .pt under their published names, and init_from= of
    train.py takes such files.
    """
    with loading():
        from rfsep.app.networks.official import export_official
        from rfsep.app.networks.runs import export_network

    if form is None:
        export_network(run, out, dtype, num_samples)
    else:
        export_official(run, out, form, dtype, num_samples)


@app.command("compete", short_help="run all separators and networks on a test set, and make the leaderboard")
def compete_command(
    testset: Annotated[Path, typer.Argument(help="folder of a test set with its truth")],
    out: Annotated[Path, typer.Option(help="folder of the submissions and of the leaderboard")],
    processes: Annotated[int, typer.Option(min=1, help="processes at a time, with one thread each")] = 2,
    minutes: Annotated[float | None, typer.Option(min=0, help="stop after this time; the same command resumes")] = None,
    max_seconds: Annotated[float, typer.Option(min=0, help="leave out separators that take longer per mixture")] = 2.5,
    learned: Annotated[list[Path] | None, typer.Option(help="a folder of rfsep learn; may be repeated")] = None,
) -> None:
    """Run every separator of conf/separator and every network of the zoo on a test set, and compare them."""
    with loading():
        from rfsep.app.compete import Limits, compete

    compete(testset, out, Limits(processes, minutes, max_seconds), learned or [])


@app.command("curves", short_help="draw learning curves of several runs")
def curves_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders of train.py")],
    out: Annotated[Path, typer.Option(help="picture: .png, .svg or .pdf")],
    metric: Annotated[str | None, typer.Option(help="column of metrics.csv, such as val/ber or val/mse_db/-12")] = None,
) -> None:
    """Draw learning curves of several runs on one plot: validation BER, or else MSE, over training FLOPs."""
    with loading():
        from rfsep.training.curves import compare_runs

    drawn = compare_runs(runs, metric, out)
    print(f"{drawn} of {len(runs)} runs in {out}")


@app.command("prior", short_help="check what a diffusion prior has learned")
def prior_command(
    run: Annotated[str, typer.Argument(help="run folder of train.py with objective=ddpm, or zoo:NAME")],
    num_windows: Annotated[int, typer.Option(min=1, help="windows to sample")] = 50,
    num_samples: Annotated[int | None, typer.Option(min=320, help="samples per window; default: training's")] = None,
    lag: Annotated[int, typer.Option(min=1, max=159, help="lag of the correlation: the FFT size of OFDM")] = 64,
    out: Annotated[Path | None, typer.Option(help="folder for prior.json and prior.png; default: the run's")] = None,
) -> None:
    """Sample a diffusion prior, and compare losses, spectrum, correlations and symbols with the signal's own."""
    with loading():
        from rfsep.app.networks.priors import report_prior

    report_prior(run, num_windows, num_samples, lag, out)


@app.command("tokenizer", short_help="check what a tokenizer keeps of its signal")
def tokenizer_command(
    run: Annotated[str, typer.Argument(help="run folder of train.py with objective=tokenizer, or zoo:NAME")],
    num_bits: Annotated[int, typer.Option(min=1, help="bits, or samples of a signal without known bits")] = 1000000,
    num_samples: Annotated[int, typer.Option(min=1024, help="samples per window")] = 2560,
    out: Annotated[Path | None, typer.Option(help="folder for tokenizer.json and .png; default: the run's")] = None,
) -> None:
    """Encode and decode a signal's tokens: error with and without quantisation, wrong bits, codes that occur."""
    with loading():
        from rfsep.app.networks.tokenizers import report_tokenizer

    report_tokenizer(run, num_bits, num_samples, out)


@app.command("tokenizer-runs", short_help="compare training and results of several tokenizers")
def tokenizer_runs_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders of train.py with objective=tokenizer")],
    out: Annotated[Path, typer.Option(help="JSON file")],
) -> None:
    """Compare several tokenizers side by side: their training and their results."""
    with loading():
        from rfsep.app.networks.tokenizers import report_tokenizer_runs

    report_tokenizer_runs(runs, out)


# Hydra reads the words that follow, --help included.
_HYDRA = {"allow_extra_args": True, "ignore_unknown_options": True}


def _by_hydra(name: str, context: typer.Context) -> None:
    own = [word for folder in user_folders() for word in ("--config-dir", str(folder))]
    sys.argv = [f"rfsep {name}", *context.args, *own]
    script(name)


@app.command("train", short_help="train a network, tokenizer or prior", add_help_option=False, context_settings=_HYDRA)
def train_command(context: typer.Context) -> None:
    """Train a network, tokenizer or prior: experiment=NAME KEY=VALUE ...; the same command resumes."""
    _by_hydra("train", context)


@app.command("evaluate", short_help="separate, score and compare", add_help_option=False, context_settings=_HYDRA)
def evaluate_command(context: typer.Context) -> None:
    """Separate, score and compare: separator=NAME testset=DIR, submission=DIR testset=DIR, or leaderboard=DIR."""
    _by_hydra("evaluate", context)


@app.command("prepare", short_help="make test sets", add_help_option=False, context_settings=_HYDRA)
def prepare_command(context: typer.Context) -> None:
    """Make a test set: testset soi=NAME interference=NAME out=DIR KEY=VALUE ..."""
    _by_hydra("prepare", context)


@app.command("host", short_help="run an open challenge", add_help_option=False, context_settings=_HYDRA)
def host_command(context: typer.Context) -> None:
    """Score what came into an inbox, and write the board: testset=DIR inbox=DIR out=DIR opens=TIME closes=TIME ..."""
    _by_hydra("host", context)


def _refuse(text: str, status: int) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(status)


def _is_refusal(error: Exception) -> bool:
    """Tells whether an error is the user's and is reported in one line."""
    # If this is not loaded yet, the error is none of these.
    from rfsep.app.config import CONFIG_ERRORS
    from rfsep.types import InputError

    return isinstance(error, (InputError, OSError, *CONFIG_ERRORS))


def main() -> None:
    """Runs the command; the user's errors are reported in one line and end with exit status 2."""
    try:
        status = app(standalone_mode=False)
    except TyperException as error:
        _refuse(f"error: {' '.join(error.format_message().split())}", 2)
    except (KeyboardInterrupt, typer.Abort):
        _refuse("interrupted; nothing was written", 130)
    except Exception as error:
        if not _is_refusal(error):
            raise
        from rfsep.app.config import one_line

        _refuse(f"error: {one_line(error)}", 2)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
