"""Measures the decoding of the radio-frequency transformer: part of make bench."""

import os
from functools import partial

import torch
from bench import best, write

from rfsep.app.config import build_modem, build_source, interference_of, soi_of
from rfsep.mixtures.mix import Mixer
from rfsep.models.rf_transformer import RfTransformer
from rfsep.models.tokenizer import Tokenizer
from rfsep.separators.tokens.patches import Patches
from rfsep.separators.tokens.rf_transformer import RfTransformerSeparator

_SAMPLE_RATE_HZ = 25e6


def rf_transformer() -> None:
    """Measures seconds per window with and without the cache, and per official mixture; sizes of conf/model."""
    torch.manual_seed(0)
    modem, source = build_modem(soi_of("qpsk")), build_source(interference_of("ofdm_qpsk"), "train")
    front = partial(Patches)
    model = RfTransformer(Tokenizer(), front(modem, None).num_inputs, num_phases=1).eval()  # type: ignore[arg-type]
    separator = RfTransformerSeparator(modem, torch.zeros((0, 0)), model, front)  # type: ignore[arg-type]
    mixer = Mixer(modem, source)
    mixture = mixer.draw(torch.full((16,), -12.0), 40960, torch.Generator().manual_seed(0)).mixture
    window = mixture[:1, :2560]
    with torch.inference_mode():
        sight = separator.front.look(window, separator.guidance(window), True, True)
        shown = separator.sight(sight, 2560)
        cached = best(lambda: model.write(shown))
        anew = best(lambda: model.write(shown, cached=False))
        beams = best(lambda: model.write(shown, beams=4))
    figures = {"window_cached_seconds": cached, "window_from_scratch_seconds": anew, "times_faster": anew / cached}
    figures["window_of_4_beams_seconds"] = beams
    for name, carry in {"side_by_side": False, "one_after_the_other": True}.items():
        separator.carry = carry
        seconds = best(lambda: separator.separate(mixture[:1]))
        figures[f"official_mixture_{name}_seconds"] = seconds
        figures[f"official_mixture_{name}_real_time_factor"] = seconds * _SAMPLE_RATE_HZ / 40960
    separator.carry = False
    figures["official_mixture_in_a_batch_of_16_seconds"] = best(lambda: separator.separate(mixture)) / 16
    write("rf_transformer", figures)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    rf_transformer()
