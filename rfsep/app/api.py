"""The functions of ``import rfsep``: the commands as calls, and the parts that they use."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rfsep.app.build import completed, learns_from_examples, network_arguments, separator_parts
from rfsep.app.config import build_modem, build_source, interference_of, separator_of
from rfsep.app.doors import composed, evaluate_settings, prepare_settings
from rfsep.app.examples import read_examples
from rfsep.app.learn.folder import is_learned, open_learned
from rfsep.app.networks.runs import open_run
from rfsep.app.places import option_files
from rfsep.app.prepare import write_type
from rfsep.app.score import score_submissions
from rfsep.app.soi import described_soi
from rfsep.signals.recordings import SigmfRecordings
from rfsep.storage.atomic import read_json
from rfsep.storage.captures.listing import capture_paths, is_capture_name
from rfsep.types import InputError, Modem, Separator, SignalSource

# The challenge's levels.
LEVELS_DB = tuple(range(-30, 1, 3))


def load_soi(name: str) -> Modem:
    """Returns the modem of a signal of interest.

    Args:
        name: option of conf/soi, or path of a YAML that describes one, see docs/captures.md.

    Raises:
        InputError: there is none of that name, or it describes no modem.

    >>> load_soi("qpsk").num_bits(640)
    80
    """
    return build_modem(described_soi(name))


def load_interference(name: str, split: str = "train") -> SignalSource:
    """Returns a source of interference.

    Args:
        name: option of conf/interference, or recordings: a file, a folder of them, or a pattern such as ``day*/*.wav``.
            One file is split in time, several are split by file.
        split: split of the recordings: train, val or test.

    Raises:
        InputError: it is neither.

    >>> load_interference("ofdm_qpsk").sample(2, 640, torch.Generator().manual_seed(0)).waveform.shape
    torch.Size([2, 640])
    """
    if name not in option_files("interference") and is_capture_name(name):
        return SigmfRecordings(name, "files" if len(capture_paths(name)) > 1 else "time", split)
    return build_source(interference_of(name), split)


def load_examples(name: str, num_frames: int = 200, num_samples: int = 8192) -> Tensor:
    """Returns example frames of an interference that separators may learn from: complex64 [F, T], of unit power.

    Args:
        name: option of conf/interference, or recordings, see `load_interference`.
        num_frames: frames; a short recording gives fewer.
        num_samples: samples per frame.

    Raises:
        InputError: it is neither, or the frames are silent.

    >>> load_examples("white_noise", 20, 640).shape
    torch.Size([20, 640])
    """
    frames = read_examples(name, num_frames, num_samples, "train").frames
    power = float(frames.abs().square().mean())
    if not 0 < power < math.inf:
        raise InputError(f"{name}: example frames have power {power}")
    return frames / math.sqrt(power)


def load_separator(name: str, soi: Modem, examples: Tensor | None = None) -> Separator:
    """Returns a separator that is ready for mixtures of a SOI with an interference.

    Args:
        name: option of conf/separator, a folder of `learn`, or a trained network: run folder of train.py, or zoo:NAME.
        soi: modem of the SOI.
        examples: frames of the interference, complex64 [F, T], for separators that learn from them.

    Raises:
        InputError: there is none of that name, or it asks for examples.

    >>> soi, examples = load_soi("qpsk"), load_examples("ofdm_qpsk", 50, 2560)
    >>> separated = load_separator("lmmse", soi, examples).separate(examples[:2])
    >>> separated.soi.shape, separated.bits.shape
    (torch.Size([2, 2560]), torch.Size([2, 320]))
    """
    if name not in option_files("separator") and is_learned(name):
        return open_learned(name).separator(soi)
    run = None if name in option_files("separator") else open_run(name)
    option = completed(separator_of(name if run is None else "neural"), run)
    if examples is None and learns_from_examples(option, run):
        raise InputError(f"separator {name} learns the interference from examples, and none are given")
    frames = torch.zeros((0, 0), dtype=torch.complex64) if examples is None else examples
    made: Separator = separator_parts(option, soi, frames, network_arguments(option.method, run, soi, frames)).make(
        None
    )
    return made


def learn(examples: str, out: str | Path, soi: str = "qpsk", minutes: float = 20.0, processes: int = 2) -> Path:
    """Learns the best separator for an interference as ``rfsep learn`` does, and returns its folder.

    `load_separator` opens it; the same call goes on where an earlier one was stopped.

    Args:
        examples: option of conf/interference, or recordings, see `load_interference`.
        out: folder of the result.
        soi: option of conf/soi.
        minutes: minutes of two cores, about.
        processes: processes at a time; the result does not depend on it.

    Raises:
        InputError: invalid input, or the folder holds something else.
    """
    # These imports take a while, and few need them.
    from rfsep.app.learn.learn import learn as learned_by
    from rfsep.app.learn.request import LearnRequest

    return learned_by(LearnRequest(examples, soi, minutes), Path(out), processes).folder


def make_test_set(
    out: str | Path,
    soi: str = "qpsk",
    interference: str = "ofdm_qpsk",
    *,
    num_samples: int = 40960,
    num_per_sinr: int = 100,
    sinr_db: Sequence[float] = LEVELS_DB,
    seed: int | None = None,
) -> Path:
    """Writes a test set of one mixture type as ``rfsep prepare testset`` does, and returns its folder.

    Args:
        out: folder that receives ``mixture/`` and ``truth/``.
        soi: option of conf/soi.
        interference: option of conf/interference.
        num_samples: samples per mixture.
        num_per_sinr: mixtures per level.
        sinr_db: levels in dB, rising.
        seed: None to draw it from the operating system, so that nobody can make the truth again.

    Raises:
        InputError: an unknown option, or an invalid number.
    """
    words = [f"soi={soi}", f"interference={interference}", f"num_samples={num_samples}", f"num_per_sinr={num_per_sinr}"]
    words += [
        f"sinr_db=[{','.join(str(level) for level in sinr_db)}]",
        "out=.",
        f"seed={'null' if seed is None else seed}",
    ]
    write_type(replace(prepare_settings(composed("prepare", words)), out=Path(out)))
    return Path(out)


def score(submission: str | Path, testset: str | Path, out: str | Path) -> dict[str, Any]:
    """Scores one submission as ``rfsep evaluate submission=`` does, and returns the content of scores.json.

    Args:
        submission: folder with the estimates.
        testset: folder of the test set, with its truth.
        out: folder that receives scores.json and index.html.

    Raises:
        InputError: files are missing, damaged or of other shapes.
    """
    settings = replace(evaluate_settings(composed("evaluate", [])), out=Path(out), testset=Path(testset))
    score_submissions(settings, Path(testset), [Path(submission)])
    found: dict[str, Any] = read_json(Path(out) / "scores.json")
    return found
