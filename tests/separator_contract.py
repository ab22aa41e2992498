"""Checks the contract of a separator, for each YAML of conf/separator and for any other."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from rfsep.app.build import completed, learns_from_examples, network_arguments, separator_parts
from rfsep.app.config import build_modem, build_soi, build_source, interference_of, separator_of, soi_of
from rfsep.app.networks.runs import open_run
from rfsep.iq import power
from rfsep.mixtures.endless import Purpose, batch_generator
from rfsep.mixtures.mix import Mixer
from rfsep.signals.many_kinds.fsk import RandomFsk
from rfsep.signals.single_carrier import BurstyQam
from rfsep.types import MixtureBatch, Modem, Separated, Separator, SignalSource

CLEAR_DB, HARD_DB = 20.0, -12.0  # levels of SINR
MOST_ERRORS = 1e-2  # largest share of wrong bits at CLEAR_DB
NETWORKS = {"neural": "zoo:ofdm_qpsk"}  # trained on QPSK in OFDM-QPSK
INTERFERENCE_PRIORS = {"reverse_diffusion": "zoo:prior_ofdm_qpsk"}
# This separator tries the others, which takes a while.
QUICKLY = {"selected": {"num_samples": 640, "num_mixtures": 1}}

# These separate a kind of their own, and refuse OFDM.
OF_ONE_KIND: dict[str, SignalSource] = {
    "envelope": RandomFsk(samples_per_symbol=(20, 20), index=(1, 1)),
    "single_carrier_detection": BurstyQam("qpsk", (6, 6), (0.25, 0.25), (0, 0), (1e9, 1e9), (0, 0), 32),
}


class Asked(NamedTuple):
    """Mixtures of a SOI with OFDM-QPSK, and the largest error of an estimate.

    Attributes:
        modem: of the SOI.
        examples: frames of the interference, complex64 [F, T].
        batch: rows at CLEAR_DB, then as many at HARD_DB.
        most_error: largest error of an estimate at CLEAR_DB, in parts of the SOI's power; a zero estimate has 1.
    """

    modem: Modem
    examples: Tensor
    batch: MixtureBatch
    most_error: float


def asked(
    soi: str, num_rows: int, num_samples: int, most_error: float, interference: SignalSource | None = None
) -> Asked:
    """Returns mixtures of an option of conf/soi, ``num_rows`` at each level; examples are other frames.

    The interference is OFDM-QPSK unless another source is given.
    """
    config = soi_of(soi)
    source = build_source(interference_of("ofdm_qpsk"), "test") if interference is None else interference
    levels = torch.tensor([CLEAR_DB] * num_rows + [HARD_DB] * num_rows)
    batch = Mixer(build_soi(config), source).draw(levels, num_samples, batch_generator(Purpose.TEST, 4))
    examples = source.sample(20, 4096, batch_generator(Purpose.TEST, 3)).waveform
    return Asked(build_modem(config), examples, batch, most_error)


def made(name: str, modem: Modem, examples: Tensor) -> Separator:
    """Makes an option of conf/separator as evaluate.py does, with a network of the zoo where it needs one."""
    option = separator_of(name)
    run = open_run(NETWORKS[name]) if name in NETWORKS else None
    if name in INTERFERENCE_PRIORS:
        option = replace(option, beside={**option.beside, "interference_prior": INTERFERENCE_PRIORS[name]})
    option = completed(option, run)
    option = replace(option, method={**option.method, **QUICKLY.get(name, {})})
    frames = examples if learns_from_examples(option, run) else torch.zeros((0, 0), dtype=torch.complex64)
    arguments = network_arguments(option.method, run, modem, frames)
    separator: Separator = separator_parts(option, modem, frames, arguments).make(None)
    return separator


def check_estimate(found: Separated, question: Asked) -> None:
    """Asserts the contract on estimate and bits of ``question.batch``.

    * The estimate is complex64 of the mixture's shape; there are as many bits as were sent, each 0 or 1.
    * Where the interference is weak, the bits are right and the estimate is near the SOI.
    * Where it is strong, the estimate is no further from the SOI than the mixture is.
    """
    batch, most_error = question.batch, question.most_error
    clear = len(batch.mixture) // 2
    assert found.soi.shape == batch.mixture.shape, f"estimate of shape {tuple(found.soi.shape)}"
    assert found.soi.dtype == torch.complex64, f"estimate in {found.soi.dtype}"
    assert found.bits.shape == batch.bits.shape, f"bits of shape {tuple(found.bits.shape)}"
    assert bool((found.bits <= 1).all()), f"bits up to {found.bits.max()}"
    wrong = float((found.bits != batch.bits)[:clear].double().mean())
    assert wrong <= MOST_ERRORS, f"BER {wrong:.3g} at {CLEAR_DB:g} dB"
    error, soi, interference = (power(one) for one in (found.soi - batch.soi, batch.soi, batch.interference))
    left = float(error[:clear].mean() / soi[:clear].mean())
    assert left <= most_error, f"error {left:.3g} of the SOI's power at {CLEAR_DB:g} dB"
    left = float(error[clear:].mean() / interference[clear:].mean())
    assert left <= 1 + 1e-5, f"error {left:.3g} of the mixture's own at {HARD_DB:g} dB"


def check_rows(separator: Separator, found: Separated, question: Asked) -> None:
    """Asserts that a row does not depend on its neighbours, and that a batch may have one row.

    Batches of one shape go through the same arithmetic: a row between other neighbours comes out the same, on any
    number of threads. A batch of another shape may round otherwise, and thousands of Langevin steps amplify that; the
    bits stay the same where the interference is weak.
    """
    mixture = question.batch.mixture
    kept = torch.arange(len(mixture)) % 2 == 1
    again = separator.separate(torch.where(kept[:, None], mixture, 3 * mixture.flip(1)))
    torch.testing.assert_close(again.soi[kept], found.soi[kept], rtol=1e-4, atol=1e-5)
    assert torch.equal(again.bits[kept], found.bits[kept]), "bits depend on the other rows"
    alone = separator.separate(mixture[:1])
    assert alone.soi.shape == mixture[:1].shape, f"estimate of one row of shape {tuple(alone.soi.shape)}"
    differing = float((alone.bits != found.bits[:1]).double().mean())
    assert differing <= MOST_ERRORS, f"{differing:.3g} of the bits of a row depend on whether it is alone"
