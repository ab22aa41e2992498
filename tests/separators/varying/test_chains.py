"""Hidden Markov chains and the tracked line, against enumeration and against signals whose line is known."""

import itertools
import math

import torch

from rfsep.separators.varying.chains import smooth
from rfsep.separators.varying.line import Evidence, Turning, track


def test_smoothing_equals_the_sum_over_all_paths() -> None:
    generator = torch.Generator().manual_seed(0)
    evidence = torch.randn((1, 5, 3), generator=generator)
    transition = torch.rand((3, 3), generator=generator)
    transition /= transition.sum(1, keepdim=True)
    stationary = torch.tensor([0.2, 0.3, 0.5])
    total, single, pairs = torch.zeros(()), torch.zeros((5, 3)), torch.zeros((3, 3))
    for path in itertools.product(range(3), repeat=5):
        weight = stationary[path[0]] * evidence[0, torch.arange(5), torch.tensor(path)].sum().exp()
        for before, after in itertools.pairwise(path):
            weight = weight * transition[before, after]
        total += weight
        for step, state in enumerate(path):
            single[step, state] += weight
        for before, after in itertools.pairwise(path):
            pairs[before, after] += weight
    found = smooth(evidence, transition, stationary, kept=5, margin=0)
    torch.testing.assert_close(found.posterior[0], single / total)
    torch.testing.assert_close(found.pairs, pairs / total)
    torch.testing.assert_close(found.log_likelihood[0], total.log())


def test_chunks_are_forgotten_within_their_margin() -> None:
    generator = torch.Generator().manual_seed(1)
    evidence = torch.randn((2, 300, 4), generator=generator)
    transition = 0.7 * torch.eye(4) + 0.075
    whole = smooth(evidence, transition, torch.full((4,), 0.25), kept=300, margin=0)
    cut = smooth(evidence, transition, torch.full((4,), 0.25), kept=64, margin=24)
    torch.testing.assert_close(cut.posterior, whole.posterior, rtol=0, atol=1e-3)


def test_a_reversed_carrier_is_followed_across_a_jump_of_its_phase() -> None:
    generator = torch.Generator().manual_seed(2)
    time = torch.arange(1024)
    truth = 0.01 * time + torch.where(time < 512, 0.3, 1.5)
    signs = 2.0 * torch.randint(2, (1024,), generator=generator) - 1
    noise = 0.2 * torch.view_as_complex(torch.randn((1024, 2), generator=generator))
    waveform = torch.polar(torch.ones(1024), truth) * signs + noise
    turning = Turning(0.0, torch.tensor([-0.01, 0.0, 0.01], dtype=torch.float64), 0.08, 0.03, False)
    second = waveform.square() / (4 * 0.04)
    line = track(Evidence(torch.zeros_like(second)[None], second[None]), turning)
    error = torch.remainder(line.angle[0] - truth + math.pi / 2, math.pi) - math.pi / 2
    away = (time - 512).abs() > 16
    assert float(error[away].abs().max()) < 0.15
    assert float(line.twice[0, away].min()) > 0.9
