"""Identifies an interference: ``rfsep identify``."""

import io
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from rfsep.app.config import console
from rfsep.app.examples import read_examples
from rfsep.identification.channel import received_arguments
from rfsep.identification.findings import Identified
from rfsep.identification.identify import identify, modem_arguments
from rfsep.pages.studies.identify import draw
from rfsep.signals.linear_modem import LinearModem
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.storage.atomic import staged
from rfsep.storage.captures.facts import Hints
from rfsep.types import InputError


def identify_interference(
    interference: str,
    num_frames: int,
    num_samples: int,
    split: str,
    sample_rate_hz: float | None,
    out: Path | None,
    hints: Hints,
) -> None:
    """Identifies an interference, prints the findings, and writes interference.yaml and picture.png.

    Args:
        interference: option of conf/interference, or a file, see `read_examples`.
        num_frames: frames to look at.
        num_samples: samples per frame.
        split: split of the recordings.
        sample_rate_hz: sample rate for a file that does not state it.
        out: folder; None for runs/identify/NAME.
        hints: a recording's datatype, array and channel.
    """
    if sample_rate_hz is not None and not 0 < sample_rate_hz < float("inf"):
        raise InputError(f"sample_rate_hz is {sample_rate_hz}, expected a positive number")
    examples = read_examples(interference, num_frames, num_samples, split, hints)
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


def _shown(value: Any) -> str:
    """Returns a value as text: six digits, ranges and pairs with a comma."""
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def lines(identified: Identified) -> list[str]:
    """Returns one line per finding that has a value.

    >>> from rfsep.identification.findings import Finding
    >>> lines(Identified(Finding("ofdm", 1.0), fft_size=Finding(64, 0.999)))
    ['kind: ofdm  (confidence 1.00)', 'fft_size: 64  (confidence 0.99)']
    """
    return [
        f"{name}: {_shown(finding.value)}  (confidence {int(finding.confidence * 100 + 1e-6) / 100:.2f})"
        for name, finding in identified._asdict().items()
        if finding.value is not None
    ]


def as_yaml(interference: str, frames: Tensor, identified: Identified, sample_rate_hz: float | None) -> str:
    """Returns the findings, and the modem as `rfsep.app.trust.read_interference` takes it, where one is known."""
    arguments, offset = modem_arguments(identified), identified.carrier_offset.value
    if arguments is not None and identified.kind.value == "ofdm" and offset is not None:
        arguments |= received_arguments(frames, OfdmModem(**arguments), offset)
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
        "carrier_offset": offset,
    }
    title = f"# written by rfsep identify for {' '.join(interference.split())}\n"
    return title + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _plain_value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
