"""Every separator on frames and mixtures that are too short, silent or hold NaN: a result or one line."""

import warnings
from copy import deepcopy
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from torch import Tensor

from rfsep.app.build import completed
from rfsep.app.config import build_modem, instantiate, options, separator_of, soi_of
from rfsep.signals.ofdm_modem import OfdmModem
from rfsep.signals.random_crop import RandomCrop
from rfsep.types import InputError, Separator

NAMES = [name for name in options("separator") if name not in ("neural", "reverse_diffusion", "learned")]
SHORTENED = {"selected": {"num_samples": 160, "num_mixtures": 1}, "basis": {"levels": 2, "steps": 1}}


def ofdm(num_frames: int, num_samples: int) -> Tensor:
    source = RandomCrop(OfdmModem(), power=56 / 64)
    return source.sample(num_frames, num_samples, torch.Generator().manual_seed(0)).waveform


def with_nan(frames: Tensor) -> Tensor:
    broken = frames.clone()
    broken[0, -1] = complex("nan")
    return broken


EXAMPLES = {
    "none": torch.zeros((0, 0), dtype=torch.complex64),
    "one frame": ofdm(1, 2560),
    "one short frame": ofdm(1, 512),
    **{f"{length} samples": ofdm(6, length) for length in (1, 7, 15, 79, 500)},
    "silence": torch.zeros((3, 1280), dtype=torch.complex64),
    "constant": torch.ones((3, 1280), dtype=torch.complex64),
    "NaN": with_nan(ofdm(3, 1280)),
}
MIXTURES = {
    **{f"{length} samples": ofdm(1, length) for length in (1, 7, 15, 79, 500)},
    "silence": torch.zeros((1, 320), dtype=torch.complex64),
    "NaN": with_nan(ofdm(2, 320)),
}


def method(name: str) -> dict[str, Any]:
    config: dict[str, Any] = deepcopy(dict(completed(separator_of(name), None).method)) | SHORTENED.get(name, {})
    if name == "alpha_rgs":
        config["levels"]["iterations"] = 2
    return config


def made(name: str, soi: str, examples: Tensor) -> Separator | None:
    """The separator; None where it refuses the examples in one line."""
    try:
        with warnings.catch_warnings(action="ignore"):
            found: Separator = instantiate(method(name), modem=build_modem(soi_of(soi)), examples=examples)
    except InstantiationException as error:
        if not isinstance(error.__cause__, InputError) or "\n" in str(error.__cause__):
            raise
        return None
    return found


def check(separator: Separator, soi: str, mixture: Tensor) -> None:
    """A finite estimate of the right shape, or one line."""
    try:
        found = separator.separate(mixture)
    except InputError as error:
        if "\n" in str(error):
            raise
        return
    assert found.soi.shape == mixture.shape
    assert found.bits.shape == (len(mixture), build_modem(soi_of(soi)).num_bits(mixture.shape[1]))
    finite = torch.isfinite(torch.view_as_real(mixture)).all()
    assert torch.isfinite(torch.view_as_real(found.soi)).all() or not finite


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("soi", ["qpsk", "ofdm_qpsk"])
def test_bad_examples(name: str, soi: str) -> None:
    for examples in EXAMPLES.values():
        if (separator := made(name, soi, examples)) is not None:
            check(separator, soi, ofdm(1, 320))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("soi", ["qpsk", "ofdm_qpsk"])
def test_bad_mixtures(name: str, soi: str) -> None:
    if (separator := made(name, soi, ofdm(8, 2560))) is not None:
        for mixture in MIXTURES.values():
            check(separator, soi, mixture)


@pytest.mark.parametrize(
    ("examples", "words"),
    [("none", "0 x 0 samples"), ("79 samples", None), ("silence", "nothing but zeros"), ("NaN", "NaN or infinity")],
)
def test_lmmse_says_what_is_wrong_with_its_examples(examples: str, words: str | None) -> None:
    separator = made("lmmse", "qpsk", EXAMPLES[examples])
    assert separator is not None
    if words is None:
        assert torch.isfinite(torch.view_as_real(separator.separate(ofdm(1, 320)).soi)).all()
        return
    with pytest.raises(InputError, match=words):
        separator.separate(ofdm(1, 320))
