"""What a tokenizer keeps, in numbers and drawn."""

import json
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from rfsep.pages.studies.tokenizer_check import Kept, summary, write_tokenizer_figure


def kept(bit_errors: int, num_bits: int) -> Kept:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(4, 2560, dtype=torch.complex64, generator=generator)
    latents = torch.randn(200, 3, generator=generator).sign()
    counts = torch.tensor([100, 0, 60, 40])
    return Kept(source, 0.9 * source, latents, counts, 200, 1.5, 3.0, 0.01, 0.0, bit_errors, num_bits)


def test_numbers_have_their_units() -> None:
    found = json.loads(json.dumps(summary(kept(0, 3000))))
    assert found["mse_db"] == pytest.approx(-20)
    assert found["unquantised_db"] == -120
    assert (found["codes_used"], found["codes_possible"], found["tokens"]) == (3, 4, 200)
    assert (found["bit_errors"], found["num_bits"], found["ber_limit"]) == (0, 3000, 1e-3)
    assert "ber_limit" not in summary(kept(2, 3000))
    assert "num_bits" not in summary(kept(0, 0))


def test_the_figure_shows_waveform_spectra_latents_and_shares(tmp_path: Path, drawn: list[Figure]) -> None:
    """Nine tenths of the source come back, so that the error lies 20 dB below the source at every frequency."""
    write_tokenizer_figure(tmp_path / "tokenizer.png", kept(0, 0), 16, "QPSK")
    with Image.open(tmp_path / "tokenizer.png") as picture:
        assert picture.width > picture.height > 300
    (figure,) = drawn
    curves = [{str(line.get_label()): line for line in axes.lines} for axes in figure.axes]
    signal, rebuilt = curves[0]["signal, in phase"], curves[0]["of tokens"]
    assert signal.get_xdata()[:33:16].tolist() == [0, 1, 2]  # tokens
    assert rebuilt.get_ydata() == pytest.approx(0.9 * signal.get_ydata(), abs=1e-6)
    difference = curves[1]["signal"].get_ydata() - curves[1]["error"].get_ydata()
    assert difference == pytest.approx(20, abs=0.01)
    assert set(curves[2]["tokens"].get_xdata()) == set(curves[2]["tokens"].get_ydata()) == {-1, 1}
    assert curves[3]["share of tokens"].get_ydata().tolist() == pytest.approx([0.5, 0, 0.3, 0.2])
