"""Writes fsq.npz: latents through the finite scalar quantiser of vector-quantize-pytorch, against which ours is tested.

    python tests/reference/make_fsq_reference.py

Made with vector-quantize-pytorch 1.32.0 (MIT), FSQ with preserve_symmetry=True. Each choice of levels, such as 8_5_5_5,
has four entries: latents, values and gradients float32 [2, 40, D], and indices int32 [2, 40], the first digit being the
least. Gradients are those of the values times numbers that go evenly from -1 to 1, summed.
"""

from pathlib import Path

import numpy as np
import torch

LEVELS = ([8, 5, 5, 5], [2, 2], [4, 4], [3, 7])


def main() -> None:
    """Quantise random latents with each of the levels."""
    from vector_quantize_pytorch import FSQ  # not installed with the project

    generator = torch.Generator().manual_seed(0)
    arrays = {}
    for levels in LEVELS:
        latents = (3 * torch.randn(2, 40, len(levels), generator=generator)).requires_grad_()
        values, indices = FSQ(levels, preserve_symmetry=True)(latents)
        (values * torch.linspace(-1, 1, values.numel()).view_as(values)).sum().backward()
        name = "_".join(map(str, levels))
        found = {"latents": latents, "values": values, "indices": indices, "gradients": latents.grad}
        arrays |= {f"{name}_{key}": value.detach().numpy() for key, value in found.items()}
    np.savez_compressed(Path(__file__).with_name("fsq.npz"), **arrays)


if __name__ == "__main__":
    main()
