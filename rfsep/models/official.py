"""Renames published networks' weights to the names and shapes used here, and back.

The networks are the WaveNet of the ICASSP 2024 RF Challenge, the DiffWave of alpha-RGS (both PyTorch) and the U-Net
(Keras). Theirs are 1-D convolutions; ours have an axis of length 1 in the middle.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_CONVOLUTIONS = {  # official names to names here; N stands for the block's number
    "input_projection": "enter",
    "residual_layers.N.dilated_conv": "blocks.N.dilated",
    "residual_layers.N.output_projection": "blocks.N.mix",
    "skip_projection": "collect",
    "output_projection": "head",
}
_STEPS = {
    "diffusion_embedding.projection1": "embedding.layers.0",
    "diffusion_embedding.projection2": "embedding.layers.2",
}
_SHIFT = "residual_layers.N.diffusion_projection"  # Theirs is per block; `shifts` here is one product.
_WIDTH = 512  # width of the steps' embedding, which is fixed there
_PARTS = ("weight", "bias")
_KERAS = re.compile(r"(batch_normalization|conv1d|conv1d_transpose)(?:_(\d+))?/(\d+)")  # kind, layer, variable
_NORM = ("weight", "bias", "running_mean", "running_var")  # Keras stores gamma, beta, mean, variance in this order


def from_official(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights as WaveNet, DiffWave or UNet of this package have them; unknown weights stay unchanged.

    Args:
        weights: weights of the challenge's WaveNet or alpha-RGS's DiffWave by their names, or of a Keras U-Net by layer
            and number of the variable (``conv1d_3/0`` is a kernel, ``conv1d_3/1`` its bias). Others are returned.

    >>> kernel = torch.zeros(256, 128, 3)
    >>> {name: tuple(value.shape) for name, value in from_official({
    ...     "input_projection.weight": torch.zeros(128, 2, 1),
    ...     "residual_layers.7.dilated_conv.weight": kernel,
    ... }).items()}
    {'enter.weight': (128, 2, 1, 1), 'blocks.7.dilated.weight': (256, 128, 1, 3)}
    """
    if "input_projection.weight" in weights:
        return _from_torch(weights)
    if any(_KERAS.fullmatch(name) for name in weights):
        return _from_keras(weights)
    return dict(weights)


def to_official(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverts `from_official` for WaveNet and DiffWave.

    Raises:
        ValueError: the official networks lack a weight or its size; the message names the first one.
    """
    diffusion = any(name.startswith("wavenet.") for name in weights)
    names = {here: official for official, here in _CONVOLUTIONS.items()}
    renamed = {}
    for name, value in weights.items():
        layer, _, part = name.removeprefix("wavenet.").rpartition(".")
        number, pattern = _numbered(layer)
        if pattern in names:
            official = names[pattern].replace("N", number)
            renamed[f"{official}.{part}"] = value.squeeze(2) if part == "weight" else value
        elif diffusion and layer == "shifts":
            renamed.update(_blocks_of(value, part, _num_blocks(weights)))
        elif diffusion and layer in _STEPS.values():
            if len(value) != _WIDTH:
                raise ValueError(f"its steps' embedding has width {len(value)}, the official DiffWave {_WIDTH}")
            renamed[f"{next(one for one in _STEPS if _STEPS[one] == layer)}.{part}"] = value
        else:
            raise ValueError(f"{name} is no weight of the official WaveNet or DiffWave")
    return renamed


def _numbered(layer: str) -> tuple[str, str]:
    """Splits a layer's name into its number and the name with N in its place."""
    found = re.search(r"\d+", layer)
    return ("", layer) if found is None else (found.group(), re.sub(r"\.\d+\.", ".N.", layer, count=1))


def _num_blocks(weights: Mapping[str, Tensor]) -> int:
    return sum(name.endswith(".dilated.weight") for name in weights)


def _blocks_of(value: Tensor, part: str, blocks: int) -> dict[str, Tensor]:
    """Splits the one product into the maps of the blocks."""
    return {f"{_SHIFT.replace('N', str(n))}.{part}": one for n, one in enumerate(value.chunk(blocks))}


def _from_torch(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    diffusion = any(name.startswith("diffusion_embedding.") for name in weights)
    renamed: dict[str, Tensor] = {}
    shifts: dict[str, dict[int, Tensor]] = {part: {} for part in _PARTS}
    for name, value in weights.items():
        layer, _, part = name.rpartition(".")
        number, pattern = _numbered(layer)
        if pattern in _CONVOLUTIONS and part in _PARTS:
            here = _CONVOLUTIONS[pattern].replace("N", number)
            renamed[f"{'wavenet.' * diffusion}{here}.{part}"] = value.unsqueeze(2) if part == "weight" else value
        elif pattern == _SHIFT and part in _PARTS:
            shifts[part][int(number)] = value
        else:
            renamed[f"{_STEPS.get(layer, layer)}.{part}" if layer else name] = value
    renamed.update({f"shifts.{part}": torch.cat([v for _, v in sorted(m.items())]) for part, m in shifts.items() if m})
    return renamed


def _from_keras(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a U-Net's weights: layers of a kind in order of creation, kernels [K, in, out] transposed."""
    numbers: dict[str, set[int]] = {"batch_normalization": set(), "conv1d": set(), "conv1d_transpose": set()}
    for known in filter(None, map(_KERAS.fullmatch, weights)):
        numbers[known.group(1)].add(int(known.group(2) or 0))
    depth = len(numbers["conv1d_transpose"])
    here = {
        "batch_normalization": ["normalise"],
        "conv1d": _unet_convolutions(depth),
        "conv1d_transpose": [f"up.{level}" for level in range(depth)],
    }
    layers = {(kind, at): name for kind in here for at, name in zip(sorted(numbers[kind]), here[kind], strict=False)}
    renamed = {}
    if numbers["batch_normalization"]:  # Keras counts no batches, and a fixed momentum needs no count.
        renamed["normalise.num_batches_tracked"] = torch.tensor(0)
    for name, value in weights.items():
        found = _KERAS.fullmatch(name)
        layer = layers.get((found.group(1), int(found.group(2) or 0))) if found else None
        parts = _NORM if layer == "normalise" else _PARTS
        variable = int(found.group(3)) if found else 0
        if layer is None or variable >= len(parts):
            renamed[name] = value
        else:
            renamed[f"{layer}.{parts[variable]}"] = _kernel(value)
    return renamed


def _unet_convolutions(depth: int) -> list[str]:
    """Lists a U-Net's convolutions without the transposed ones, in the order of the data."""
    doubles = [
        *(f"encoder.{level}" for level in range(depth)),
        "middle",
        *(f"decoder.{level}" for level in range(depth)),
    ]
    return [*(f"{double}.{at}" for double in doubles for at in (0, 2)), "head"]


def _kernel(value: Tensor) -> Tensor:
    """Maps [K, in, out] (transposed: [K, out, in]) to [out, in, 1, K] ([in, out, 1, K]); biases are unchanged."""
    return value.permute(2, 1, 0)[:, :, None].contiguous() if value.dim() == 3 else value
