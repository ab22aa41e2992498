"""The broadcast channel's places and its values on the air, against the standard written out."""

import numpy as np
import torch

from rfsep.signals.lte.broadcast import broadcast_carriers, received_points
from rfsep.signals.lte.pilots import pilot_carriers, pilot_shift


def test_channel_has_240_carriers_beside_the_pilots() -> None:
    cell = 301
    carriers = [broadcast_carriers(cell, symbol) for symbol in range(4)]
    assert [len(one) for one in carriers] == [48, 48, 72, 72]
    for port in (0, 1):
        pilots = set(pilot_carriers(pilot_shift(cell, 0, port)).tolist())
        assert pilots.isdisjoint(carriers[0].tolist())
        assert pilots.isdisjoint(carriers[1].tolist())  # where ports 2 and 3 would have theirs
    assert carriers[2].tolist() == [*range(-36, 0), *range(1, 37)]


def test_one_port_sends_qpsk() -> None:
    gains = torch.tensor([[2.0, 1j]])
    points = received_points(gains)
    assert points.shape == (2, 4, 1)
    assert torch.allclose((points / gains[0][:, None, None]) ** 4, torch.full((2, 4, 1), -1 + 0j), atol=1e-5)


def test_two_ports_send_alamouti_pairs() -> None:
    """Clause 6.3.4.3: port 0 has x, y on neighbouring carriers, and port 1 has -y*, x*."""
    draw = np.random.default_rng(0)
    gains = draw.normal(size=(2, 4)) + 1j * draw.normal(size=(2, 4))
    values = (draw.choice([-1, 1], 4) + 1j * draw.choice([-1, 1], 4)) / 2**0.5
    sent = np.zeros((2, 4), complex)
    sent[0] = values
    sent[1, 0::2], sent[1, 1::2] = -values[1::2].conj(), values[0::2].conj()
    received = torch.from_numpy((gains * sent).sum(0) / 2**0.5).to(torch.complex64).view(2, 1, 2)
    points = received_points(torch.from_numpy(gains).to(torch.complex64))
    assert points.shape == (2, 16, 2)
    assert torch.allclose((points - received).abs().sum(-1).amin(-1), torch.zeros(2), atol=1e-5)
