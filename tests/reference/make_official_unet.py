"""Writes official_unet.zip: a small U-Net of the RF Challenge's organisers, its weights as Keras writes them.

    python tests/reference/make_official_unet.py CHALLENGE

CHALLENGE is a copy of github.com/RFChallenge/icassp2024rfchallenge, whose src/unet_model.py builds the network; none of
its code is here. Made with Python 3.11 and tensorflow-cpu 2.15.1 (Keras 2.15). All weights are random, biases and the
input's normalisation too, so that no zero hides anything.

unet.h5, unet.weights.h5 and unet.keras hold the same weights in three formats, and whole.h5 the network that
``save`` writes, made as the second one of a session, whose layers have other numbers. arrays.npz holds ``mixture`` and
the network's ``estimate``, float32 [2, T, 2].
"""

import io
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

SAMPLES = 256
HERE = Path(__file__).parent


def main(checkout: str) -> None:
    import tensorflow as tf

    sys.path.insert(0, checkout)
    from src.unet_model import get_unet_model

    tf.config.set_visible_devices([], "GPU")
    tf.keras.utils.set_random_seed(17)
    network = get_unet_model((SAMPLES, 2), k_sz=3, long_k_sz=101, k_neurons=1)
    generator = np.random.default_rng(17)
    weights = []
    for weight, value in zip(network.weights, network.get_weights(), strict=True):
        scale = 1.5 / np.sqrt(np.prod(value.shape[:-1])) if value.ndim == 3 else 0.3
        drawn = scale * generator.standard_normal(value.shape)
        drawn = drawn + 0.5 if "bias" in weight.name else drawn  # few rectifiers that never open
        weights.append(np.exp(drawn) if "variance" in weight.name or "gamma" in weight.name else drawn)
    network.set_weights(weights)
    mixture = generator.standard_normal((2, SAMPLES, 2)).astype(np.float32)
    estimate = network(mixture, training=False).numpy()
    second = get_unet_model((SAMPLES, 2), k_sz=3, long_k_sz=101, k_neurons=1)
    second.set_weights(weights)
    buffer = io.BytesIO()
    np.savez(buffer, mixture=mixture, estimate=estimate)
    with tempfile.TemporaryDirectory() as name:
        network.save_weights(f"{name}/unet.h5")
        network.save_weights(f"{name}/unet.weights.h5")
        network.save(f"{name}/unet.keras")
        second.save(f"{name}/whole.h5")
        files = {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}
    with zipfile.ZipFile(HERE / "official_unet.zip", "w") as out:
        for member, content in {**files, "arrays.npz": buffer.getvalue()}.items():
            out.writestr(zipfile.ZipInfo(member), content, zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    main(sys.argv[1])
