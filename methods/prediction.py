"""What a method answers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Prediction(NamedTuple):
    """What a method answers for a batch; higher is more anomalous."""

    scores: Tensor
    """Image scores (B,), float32."""
    maps: Tensor
    """Final anomaly maps (B, S, S), float32, upsampled and smoothed as the method defines."""
    also: dict[str, Tensor] = {}
    """Further image scores (B,) by name, stored beside the first; for example one per class token."""


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Return predictions for consecutive images as one."""
    if len(parts) == 1:
        return parts[0]
    return Prediction(
        torch.cat([part.scores for part in parts]),
        torch.cat([part.maps for part in parts]),
        {name: torch.cat([part.also[name] for part in parts]) for name in parts[0].also},
    )
