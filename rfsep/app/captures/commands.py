"""The commands ``rfsep separate`` and ``rfsep embed``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rfsep.app.places import option_files
from rfsep.app.scripts import loading

Capture = Annotated[
    Path,
    typer.Argument(
        help="the recording: SigMF (meta file, data file or archive), WAV or RF64, HDF5, MATLAB, .npy, .npz, Digital"
        " RF, BLUE, .iq.tar, or raw samples with --datatype",
        show_default=False,
    ),
]
Datatype = Annotated[
    str | None,
    typer.Option(
        help="datatype of raw samples, as SigMF names it: cf32_le, ci16_le, ci8, ...; integers are scaled to [-1, 1)"
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(help="name of the array in an HDF5, MATLAB or .npz file, of a recording in an archive, of a channel"),
]
Channel = Annotated[int | None, typer.Option(min=0, help="channel of a recording with several, counted from 0")]
Segment = Annotated[
    int | None,
    typer.Option(min=0, help="segment of a recording with gaps or retunes, from 0; default: every one"),
]


def rate_number(text: str) -> float:
    """Returns a number, or a quotient of two: 50e6/3.

    >>> rate_number("50e6/3")
    16666666.666666666

    Raises:
        BadParameter: it is neither.
    """
    parts = text.split("/")
    try:
        values = [float(part) for part in parts]
        return values[0] if len(values) == 1 else values[0] / values[1]
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"'{text}' is not a number in Hz, such as 20e6 or 50e6/3") from None


SampleRate = Annotated[
    float | None,
    typer.Option(
        parser=rate_number,
        metavar="HZ",
        help="sample rate in Hz, where the file does not state it or states it wrongly; 50e6/3 is valid too",
    ),
]


SoiSet = Annotated[
    list[str] | None,
    typer.Option(
        help="KEY=VALUE of the SOI's modem: samples_per_symbol=8, roll_off=.35, roll_off=auto (estimated); may be"
        " repeated"
    ),
]
SymbolRate = Annotated[
    str | None,
    typer.Option(
        metavar="BAUD",
        help="symbol rate of the SOI, with which any sample rate will do: 1e6, 13e6/48, or auto (estimated at"
        " --offset-hz); default: by --resample",
    ),
]


def _separators() -> list[str]:
    """Returns the names of separators, for completion in the shell."""
    return list(option_files("separator"))


def _sois() -> list[str]:
    """Returns the names of SOIs, for completion in the shell."""
    return list(option_files("soi"))


def separate_command(
    capture: Capture,
    out: Annotated[Path, typer.Option(help="folder of the results; made, or continued", show_default=False)],
    separator: Annotated[
        str | None, typer.Option(help="an option of conf/separator", autocompletion=_separators)
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="a folder of rfsep learn; or a trained network: run folder of train.py, or zoo:NAME, which runs from"
            " its export, if any (--set fast=false: as it is)"
        ),
    ] = None,
    soi: Annotated[
        str,
        typer.Option(
            help="the signal of interest: an option of conf/soi, or your own FILE.yaml like those in conf/soi",
            autocompletion=_sois,
        ),
    ] = "qpsk",
    examples: Annotated[
        str | None,
        typer.Option(
            help="interference to learn from, as the same receiver hears it: an option of conf/interference (its"
            " training split), a recording as above, a folder or a pattern of them, or a .npy of complex64 [F, T]"
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of the separator's YAML, such as method.block=1280; may be repeated"),
    ] = None,
    datatype: Datatype = None,
    dataset: Dataset = None,
    sample_rate: SampleRate = None,
    resample: Annotated[
        float | None,
        typer.Option(
            parser=rate_number,
            metavar="HZ",
            help="rate in Hz at which the SOI has its samples per symbol (qpsk: 16); default: by --symbol-rate, or the"
            " capture's",
        ),
    ] = None,
    offset_hz: Annotated[float, typer.Option(help="offset of the SOI's carrier from the capture's centre")] = 0.0,
    phase_deg: Annotated[float, typer.Option(help="phase of the SOI's carrier")] = 0.0,
    soi_start: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="sample, after --resample, at which the first symbol begins; what lies before is left out; default:"
            " estimated, less than a symbol",
        ),
    ] = None,
    soi_power_db: Annotated[
        float | None, typer.Option(help="power of the SOI in the capture's numbers; default: estimated")
    ] = None,
    keep_dc: Annotated[bool, typer.Option("--keep-dc", help="keep the receiver's DC offset")] = False,
    chunk_samples: Annotated[int, typer.Option(min=1, help="samples per chunk, about; memory grows with it")] = 163840,
    truth: Annotated[Path | None, typer.Option(help="the bits sent, .npy of uint8, to report the BER")] = None,
    channel: Channel = None,
    segment: Segment = None,
    labels: Annotated[
        str | None, typer.Option(help="label map of the sender, such as gnuradio; docs/captures.md has them all")
    ] = None,
    soi_set: SoiSet = None,
    symbol_rate: SymbolRate = None,
    track: Annotated[
        str,
        typer.Option(
            help="what is followed through the capture: none, the SOI's carrier and phase (carrier), or its clock and"
            " a short channel too (full)"
        ),
    ] = "full",
    carrier_range_hz: Annotated[
        float | None,
        typer.Option(help="largest offset of the carrier that is searched for; default: as far as symbols tell it"),
    ] = None,
    preamble: Annotated[
        str | None,
        typer.Option(
            help="bits that frames begin with, 32 or more, as 0s and 1s or 0x...: they tell start and turn, frames are"
            " cut at them"
        ),
    ] = None,
    differential: Annotated[
        str | None,
        typer.Option(help="the bits are in the phase steps of a PSK, as gray, gnuradio, liquid or natural label them"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit status 1 where a warning is due")] = False,
) -> None:
    """Separate a recording of any length, chunk by chunk, in bounded memory.

    \b
    rfsep separate heard.sigmf-meta --separator lmmse --examples lte20 --out there
    rfsep separate heard.bin --datatype ci16_le --sample-rate 20e6 --run runs/x/y --out there
    rfsep separate heard.npy --sample-rate 20e6 --resample 19.2e6 --offset-hz 1e5 \\
      --separator matched_filter --soi-start 7 --soi-power-db -20 --out there

    The recording is tuned first: DC removed, the SOI's carrier moved to zero, the rate converted, the first symbol
    moved to sample 0, the SOI scaled to its modem's own power. Timing and level are estimated from the statistics that
    repeat with the symbol period, unless they are given. Then carrier, phase, clock and a short channel are found and
    followed from chunk to chunk (--track full); what of the phase is left is a matter of the constellation's symmetry,
    and a --preamble settles it.

    Into --out go soi.sigmf-data and soi.sigmf-meta (the estimate as cf32_le, with annotation and provenance), bits.npy
    (uint8, one bit per byte, in the order of the symbols), power.npy (float32 [chunks, 8, 2]: the power of mixture and
    estimate in each eighth of a chunk), separate.json (settings, hashes, reception, memory) and report.html. A tracked
    run adds track.npy (float64 [chunks, 8, 21]: phase, delay, lock, Es/N0, EVM, carrier, channel), symbols.npy and
    llr.npy (soft bits; positive means 1); a preamble adds frames.npy and frames.json.

    Ctrl-C, a kill or a power cut cost a few seconds: the same command continues, to the same bytes. Another command
    into the same folder is refused. Exit status: 0 done, 1 done, but with a warning under --strict, 2 invalid input,
    130 interrupted.
    """
    with loading():
        from rfsep.app.captures.separate import Request, separate_capture

    request = Request(
        capture, out, separator, run, soi, examples, setting or [], datatype, dataset, sample_rate, resample, offset_hz,
        phase_deg, soi_start, soi_power_db, keep_dc, chunk_samples, truth, channel,
        segment, labels, soi_set or [], symbol_rate,
        track, carrier_range_hz, preamble, differential, strict,
    )  # fmt: skip
    try:
        in_doubt = separate_capture(request)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    if strict and in_doubt:
        raise typer.Exit(1)


ChannelOrRays = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="RAYS",
        help="rays of the SOI's channel, DELAY:DB or DELAY:DB:DEGREES in samples, as 0:0,2:-6; without degrees the"
        " phase is 0. A whole number instead: channel of a recording with several, from 0. May be given twice",
    ),
]


def channel_and_rays(words: list[str]) -> tuple[int | None, str]:
    """Returns the number of a recording's channel and the rays, both of which ``--channel`` names.

    >>> channel_and_rays(["1", "0:0,2:-6"])
    (1, '0:0,2:-6')
    """
    numbers, rays = ([word for word in words if word.isdecimal() == whole] for whole in (True, False))
    return (int(numbers[-1]) if numbers else None), ",".join(rays)


def embed_command(
    capture: Capture,
    out: Annotated[Path, typer.Option(help="folder of the capture and its truth", show_default=False)],
    sinr_db: Annotated[float, typer.Option(help="power of the SOI over that of the recording", show_default=False)],
    soi: Annotated[
        str, typer.Option(help="the embedded signal, an option of conf/soi or your own FILE.yaml", autocompletion=_sois)
    ] = "qpsk",
    seconds: Annotated[float | None, typer.Option(help="length of the result; a shorter recording is repeated")] = None,
    seed: Annotated[int, typer.Option(help="seed of the bits and of the phase noise")] = 0,
    carrier_hz: Annotated[float, typer.Option(help="offset of the SOI's carrier")] = 0.0,
    phase_deg: Annotated[float, typer.Option(help="phase of the SOI's carrier at sample 0")] = 0.0,
    clock_ppm: Annotated[
        float, typer.Option(help="by which the sender's clock is fast: its symbols come sooner")
    ] = 0.0,
    delay: Annotated[float, typer.Option(help="sample at which the first symbol begins, any fraction")] = 0.0,
    channel: ChannelOrRays = None,
    phase_noise: Annotated[
        float, typer.Option(help="standard deviation of the phase's random walk per sample, rad")
    ] = 0.0,
    datatype: Datatype = None,
    dataset: Dataset = None,
    sample_rate: SampleRate = None,
    segment: Segment = None,
    soi_set: SoiSet = None,
    symbol_rate: SymbolRate = None,
) -> None:
    """Embed a signal of random bits in a recording, at its rate and carrier, to make a capture with known truth.

    \b
    rfsep embed recordings/lte20/lte20-f1852p5.sigmf-meta --sinr-db -6 --out heard
    rfsep separate heard/capture.sigmf-meta --separator lte_pilots --examples lte20 \\
      --truth heard/truth_bits.npy --out separated
    rfsep embed recording.sigmf-meta --sinr-db 0 --carrier-hz 2400 --phase-deg 30 --clock-ppm 5 --delay 7.4 \\
      --channel 0:0,2:-6 --phase-noise 1e-3 --out moved

    The recording stays as it is, DC offset and level included; the first symbol begins at sample 0, or at --delay. With
    --symbol-rate a symbol takes its time whatever the sample rate; without it, the modem's samples per symbol. The
    clock and the delay come first, then the rays, then the oscillator. --sinr-db counts the power of a ray of 0 dB
    alone. Into --out go capture.sigmf-data and capture.sigmf-meta (cf32_le), truth_bits.npy (uint8) and truth.json
    (everything that these options say).
    """
    with loading():
        from rfsep.app.captures.embed import Link, embed_capture
        from rfsep.storage.captures.facts import Hints

    number, rays = channel_and_rays(channel or [])
    hints = Hints(datatype, dataset, number)
    link = Link(carrier_hz, phase_deg, clock_ppm, delay, rays, phase_noise)
    embed_capture(
        capture, out, sinr_db, soi, seconds, seed, hints, sample_rate, segment, link, soi_set or [], symbol_rate
    )
