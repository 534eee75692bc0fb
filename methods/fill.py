"""Untrained stand-in weights whose values follow from a seed, a parameter's name and its shape.

Two implementations of a network that agree on names and shapes get the same weights without a file
passing between them. That is what the parity tests rest on, and how the suite is tried at true size
where the published weights are not at hand. Results under such weights are chance.
"""

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

_SMALL = ("embedding", "pos_embed", "cls_token", "register_tokens", "mask_token")


def fill(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return float32 values for the parameter `name`, identical on every machine.

    Matrices are scaled by 1/sqrt(fan-in), embeddings by 0.1; gains lie around 1 and biases around 0.
    `logit_scale` and `temperature` get the constants ln(1/0.07) and 0.05.
    """
    if name.endswith("logit_scale"):
        return np.full(shape, math.log(1 / 0.07), dtype=np.float32)
    if name.endswith("temperature"):
        return np.full(shape, 0.05, dtype=np.float32)
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    values = generator.standard_normal(shape, dtype=np.float32)
    if any(part in name for part in _SMALL):
        return values * np.float32(0.1)
    if len(shape) <= 1:
        if name.endswith(("weight", "gamma", "scale")):
            return 1 + np.float32(0.1) * values
        return np.float32(0.02) * values
    # CLIP stores its two projections (in, out); every other matrix is (out, in, ...).
    stored_in_out = name.endswith(("text_projection", "visual.proj"))
    fan_in = shape[0] if stored_in_out else math.prod(shape[1:])
    return values / np.float32(math.sqrt(fan_in))


def filled(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return `state` with every floating-point tensor replaced by its filled values."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(fill(name, tuple(tensor.shape), seed))).reshape(
            tensor.shape
        )
        if tensor.is_floating_point()
        else tensor
        for name, tensor in state.items()
    }
