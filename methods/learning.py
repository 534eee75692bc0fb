"""Training: what the recipes of several papers share, each exactly once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """How a paper trains what it learns; everything here changes the trained weights."""

    epochs: int
    batch_size: int
    learning_rate: float
    losses: Mapping[str, float]
    """Weight of each term of the method's `loss` in the sum that is minimised; a term not named has 0."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    optimiser: type[torch.optim.Optimizer] = torch.optim.Adam
    seed: int = 0
    epochs_on: Mapping[str, int] = field(default_factory=dict)
    """Source -> epochs, where a source is not trained for `epochs`."""
    mosaic: Mapping[str, float] = field(default_factory=dict)
    """Dataset -> probability that a sample becomes a 2 x 2 mosaic of images of its class."""
    mosaic_by_species: bool = False
    """Whether a tile's kind of defect is drawn before its image; else all images are equally likely."""

    def epochs_for(self, source: str) -> int:
        """Return the number of epochs on `source`."""
        return self.epochs_on.get(source, self.epochs)

    def make_optimiser(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser of `parameters`."""
        settings: dict[str, Any] = {
            "lr": self.learning_rate,
            "betas": self.betas,
            "weight_decay": self.weight_decay,
        }
        return self.optimiser(list(parameters), **settings)

    def minimised(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the loss terms, a scalar."""
        return torch.stack([weight * terms[name] for name, weight in self.losses.items()]).sum()


def state_of(tensors: Iterable[Tensor]) -> object:
    """Return a value that changes when any of the tensors is replaced, moved or written to.

    For keeping what was computed from them. Writes to tensors made in inference mode go unnoticed.
    """
    return [
        (tensor.device, tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version)
        for tensor in tensors
    ]


def focal(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Focal loss of (normal, abnormal) probabilities (B, 2, ...) against masks (B, ...) of 0 and 1.

    Gamma 2, no class weights; targets are smoothed by 1e-5. The form that VAND (April-GAN), AnomalyCLIP,
    AdaCLIP and Tipsomaly share. Mean over all pixels.
    """
    target = masks.to(probabilities.dtype)
    one_hot = torch.stack([1 - target, target], dim=1).clamp(1e-5, 1 - 1e-5)
    of_truth = (one_hot * probabilities).sum(dim=1) + 1e-5
    return (-((1 - of_truth) ** 2) * of_truth.log()).mean()


def dice(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Dice loss of maps (B, ...) against masks of their shape: 1 - mean over the B maps, smoothed by 1."""
    values, target = probabilities.flatten(1), masks.to(probabilities.dtype).flatten(1)
    overlap = 2 * (values * target).sum(dim=1) + 1
    return 1 - (overlap / (values.sum(dim=1) + target.sum(dim=1) + 1)).mean()
