"""What a tokenizer keeps, in numbers and drawn."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from rfsep.pages.studies.tokenizer_check import Kept, summary, write_tokenizer_figure


def kept(bit_errors: int, num_bits: int) -> Kept:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(4, 2560, dtype=torch.complex64, generator=generator)
    latents = torch.randn(200, 3, generator=generator).sign()
    counts = torch.tensor([100, 0, 60, 40])
    return Kept(source, 0.9 * source, latents, counts, 200, 1.5, 3.0, 0.01, 0.0, bit_errors, num_bits)


def test_numbers_have_their_units(tmp_path: Path) -> None:
    found = json.loads(json.dumps(summary(kept(0, 3000))))
    assert found["mse_db"] == pytest.approx(-20)
    assert found["unquantised_db"] == -120
    assert (found["codes_used"], found["codes_possible"], found["tokens"]) == (3, 4, 200)
    assert (found["bit_errors"], found["num_bits"], found["ber_limit"]) == (0, 3000, 1e-3)
    assert "ber_limit" not in summary(kept(2, 3000))
    assert "num_bits" not in summary(kept(0, 0))
    write_tokenizer_figure(tmp_path / "tokenizer.png", kept(0, 0), 16, "QPSK")
    with Image.open(tmp_path / "tokenizer.png") as picture:
        assert picture.width > picture.height > 300
