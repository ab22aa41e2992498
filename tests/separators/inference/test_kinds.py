"""Blocks whose constellation and loading their carriers decide together."""

import itertools
import math

import torch

from rfsep.separators.inference.kinds import Kinds
from rfsep.signals.constellations import constellation

QPSK, BPSK = constellation("qpsk").to(torch.complex128), constellation("bpsk").to(torch.complex128)
EMPTY = torch.zeros(4, dtype=torch.complex128)


def test_evidence_is_that_of_all_symbols_together() -> None:
    """Enumerated: two carriers, either QPSK on both, or BPSK of twice the power on the second alone."""
    points = [torch.stack((QPSK, QPSK)), torch.stack((EMPTY[:2], 2**0.5 * BPSK))]
    spread = (0.7, 0.4)
    mean = torch.tensor([[[0.3 + 0.2j, -1.1 + 0.4j]]], dtype=torch.complex128)
    variance = torch.tensor([[spread]], dtype=torch.float64)
    total = 0.0
    for kind in points:
        for pair in itertools.product(*kind.tolist()):
            apart = [abs(a - b) ** 2 / v for a, b, v in zip(mean[0, 0].tolist(), pair, spread, strict=True)]
            total += math.exp(-sum(apart)) / math.prod(spread) / len(kind[0]) ** 2 / 2
    assert math.isclose(float(Kinds(points).log_evidence(mean, variance)), math.log(total), rel_tol=1e-9)


def test_carriers_far_from_the_soi_decide_for_those_beneath_it() -> None:
    """Half of the carriers say nothing; the others show which blocks leave every second carrier empty."""
    loaded = torch.arange(16) % 2 == 0
    points = [QPSK.expand(16, -1), torch.where(loaded[:, None], 2**0.5 * QPSK, EMPTY)]
    draw = torch.Generator().manual_seed(1)
    kind = torch.tensor([0, 1, 1, 0, 1])
    place = torch.randint(4, (5, 16), generator=draw)
    sent = torch.where((kind == 1)[:, None], points[1][torch.arange(16), place], QPSK[place])
    variance = torch.where(torch.arange(16) < 8, 0.05, 1e3).double().expand(1, 5, 16)
    noise = torch.randn((5, 16), dtype=torch.complex128, generator=draw) * variance[0].sqrt()
    found = Kinds(points).tilted((sent + noise)[None], variance)
    assert torch.equal(found.kind[0], kind)
    assert torch.allclose(found.mean[0, :, :8], sent[:, :8], atol=1e-3)
    hidden = found.variance[0, kind == 1][:, 8:]
    assert torch.allclose(hidden, torch.where(loaded[8:], 2.0, 0.0).double().expand_as(hidden), atol=0.05)
