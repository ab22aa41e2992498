"""Which separators take which SOI; run as a script, this writes the table of docs/separators.md."""

import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from separator_contract import CLEAR_DB, INTERFERENCE_PRIORS, NETWORKS, OF_ONE_KIND, QUICKLY, made

from rfsep.app.config import build_modem, build_source, interference_of, soi_of
from rfsep.app.places import CONF, ROOT
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.types import InputError, MixtureBatch, Modem, SignalSource

MARK = re.compile(r"(<!-- accepted SOIs -->\n)(.*?)(<!-- end -->)", re.DOTALL)
PAGE = ROOT / "docs" / "separators.md"
NUM_SAMPLES = 480
EXAMPLES = (8, 1024)  # frames and samples of each
MOST_ERRORS = 0.05  # larger than single errors of short windows
# These need a network, or a folder of rfsep learn, or try the others.
LEFT_OUT = {*NETWORKS, *INTERFERENCE_PRIORS, *QUICKLY, "learned"}
# What the test measures again; the script takes two minutes.
TESTED = ("qpsk", "oqpsk", "gmsk", "pi4_dqpsk", "dsss", "fsk2", "ofdm_80211a")
SLOW = ("alpha_rgs", "basis", "envelope", "single_carrier_detection")
OmegaConf.register_new_resolver("root", lambda path: str(ROOT / path), replace=True)


class Outcome(NamedTuple):
    """What became of a SOI: the words of a refusal, or the bit error rate at CLEAR_DB."""

    refusal: str
    error_rate: float


def separators() -> list[str]:
    """Returns the separators of the table."""
    return sorted({path.stem for path in (CONF / "separator").glob("*.yaml")} - LEFT_OUT)


def sois() -> list[str]:
    """Returns the SOIs of the table: those with bits, once where one modem is heard in several ways."""
    names = sorted(path.stem for path in (CONF / "soi").glob("*.yaml"))
    return [name for name in names if soi_of(name).source is None and build_modem(soi_of(name)).num_bits(NUM_SAMPLES)]


def interference(separator: str) -> SignalSource:
    """Returns OFDM-QPSK, or the kind that a separator is for."""
    own = OF_ONE_KIND.get(separator)
    return build_source(interference_of("ofdm_qpsk"), "test") if own is None else own


@cache
def mixture(soi: str, own_kind: str) -> tuple[Modem, torch.Tensor, MixtureBatch]:
    """Returns modem, frames of the interference, and a mixture at CLEAR_DB."""
    modem, source = build_modem(soi_of(soi)), interference(own_kind)
    batch = Mixer(modem, source).draw(torch.tensor([CLEAR_DB]), NUM_SAMPLES, batch_generator(Purpose.TEST, 4))
    examples = source.sample(EXAMPLES[0], EXAMPLES[1], batch_generator(Purpose.TEST, 3)).waveform
    return modem, examples, batch


def outcome(separator: str, soi: str) -> Outcome:
    """Separates a short mixture of a SOI, or says why a separator does not take it."""
    modem, examples, batch = mixture(soi, separator if separator in OF_ONE_KIND else "")
    try:
        found = made(separator, modem, examples).separate(batch.mixture)
    except InstantiationException as error:
        if not isinstance(error.__cause__, InputError):
            raise
        return Outcome(str(error.__cause__), 0.0)
    return Outcome("", float((found.bits != batch.bits).double().mean()))


def row(separator: str, outcomes: dict[str, Outcome]) -> str:
    """Returns a separator's line of the table."""
    refused = [soi for soi, one in outcomes.items() if one.refusal]
    wrong = [soi for soi, one in outcomes.items() if not one.refusal and one.error_rate > MOST_ERRORS]
    others = len(outcomes) - len(refused) - len(wrong)
    taken = "all" if others == len(outcomes) else "all others"
    if others < len(refused):
        taken = ", ".join(f"`{soi}`" for soi in outcomes if soi not in (*refused, *wrong)) or "none"
        return line(separator, taken, "all others", wrong)
    return line(separator, taken, ", ".join(f"`{soi}`" for soi in refused), wrong)


def line(separator: str, taken: str, refused: str, wrong: Iterable[str]) -> str:
    """Returns the cells of a line."""
    return f"| `{separator}` | {taken} | {refused} | {', '.join(f'`{soi}`' for soi in wrong)} |\n"


def table() -> str:
    """Returns the whole table."""
    header = "| separator | takes | refuses | takes, with errors |\n| --- | --- | --- | --- |\n"
    return header + "".join(row(one, {soi: outcome(one, soi) for soi in sois()}) for one in separators())


def cells(text: str) -> dict[str, tuple[set[str], set[str]]]:
    """Returns the SOIs that each separator refuses, and those with errors, from the text of the page."""
    match, found = MARK.search(text), {}
    every = set(sois())
    for name, *columns in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", match[2] if match else "", re.M):
        taken, refused, wrong = (set(re.findall(r"`(\w+)`", column)) for column in columns)
        found[name] = (every - taken - wrong if columns[1] == "all others" else refused, wrong)
    return found


def rendered(text: str) -> str:
    """Returns the page with its table measured again."""
    return MARK.sub(lambda match: f"{match[1]}{table()}{match[3]}", text)


if __name__ == "__main__":
    page = Path(PAGE)
    page.write_text(rendered(page.read_text()))
    sys.exit(0)
