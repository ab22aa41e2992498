"""The command ``rfsep learn``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rfsep.app.captures.commands import Datatype, SampleRate, rate_number
from rfsep.app.scripts import loading


def learn_command(
    examples: Annotated[
        str,
        typer.Argument(
            help="recordings of the interference: a file, a folder or a pattern, as rfsep separate takes them; a .npy"
            " of complex64 [F, T]; or an option of conf/interference",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the result; made, or continued", show_default=False)],
    soi: Annotated[
        str, typer.Option(help="the signal of interest, an option of conf/soi or your own FILE.yaml")
    ] = "qpsk",
    minutes: Annotated[
        float, typer.Option(help="minutes of two cores, about, on the machine of docs/reproducing.md")
    ] = 20.0,
    processes: Annotated[
        int, typer.Option(min=1, help="processes at a time, one thread each; the result does not depend on it")
    ] = 2,
    seed: Annotated[int, typer.Option(help="seed of mixtures and networks")] = 0,
    datatype: Datatype = None,
    sample_rate: SampleRate = None,
    resample: Annotated[
        float | None,
        typer.Option(
            parser=rate_number,
            metavar="HZ",
            help="rate in Hz at which the SOI has its samples per symbol (qpsk: 16); default: the recordings'",
        ),
    ] = None,
) -> None:
    """Learn the best separator for an interference from examples of it.

    \b
    rfsep learn recordings/ --soi qpsk --minutes 20 --out learned
    rfsep separate heard.sigmf-meta --run learned --out there
    rfsep evaluate separator=learned run=learned testset=DIR

    A fifth of the examples is held back: whole files where there are three or more, else the end of each. The others
    are identified; every separator that accepts them is tried on mixtures of the SOI with the part held back, at -30 to
    0 dB; networks are trained for the rest of the time, guided by the best; the result is one separator, or one per
    range of SINR where that is better beyond doubt. It is never worse than matched filter or LMMSE beyond doubt.

    Into --out go separator.yaml and what it needs (examples.safetensors, networks/), learn.json (all figures) and
    report.html.

    Ctrl-C, a kill or a power cut cost a minute at most: the same command goes on. Exit status: 0 done, 2 invalid input,
    130 interrupted.
    """
    with loading():
        from rfsep.app.learn.learn import learn
        from rfsep.app.learn.request import LearnRequest

    try:
        learn(LearnRequest(examples, soi, minutes, seed, datatype, sample_rate, resample), out, processes)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(130) from None
