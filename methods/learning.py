"""Training: recipes and the losses that several papers share, each exactly once."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn


class Schedule(Protocol):
    """The learning rate over a stage; a pure function, so that a resumed training needs no state of it."""

    def __call__(self, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the rate of step `step` (from 0) for a parameter whose recipe says `base`."""


@dataclass(frozen=True)
class Cosine:
    """From the base rate down half a cosine to `floor`, once over the stage."""

    floor: float
    per: Literal["epoch", "step"]

    def __call__(self, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the rate of step `step` (from 0)."""
        done = step // steps_per_epoch / epochs if self.per == "epoch" else step / (steps_per_epoch * epochs)
        return self.floor + (base - self.floor) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Milestones:
    """The rate is multiplied by `factor` at each of `steps`, counted from the start of the stage."""

    steps: tuple[int, ...]
    factor: float

    def __call__(self, base: float, step: int, steps_per_epoch: int, epochs: int) -> float:
        """Return the rate of step `step` (from 0)."""
        return base * self.factor ** sum(step >= each for each in self.steps)


@dataclass(frozen=True)
class Stage:
    """One part of a training: what moves, towards what, how fast. All of it changes the trained weights."""

    epochs: int
    batch_size: int
    learning_rate: float
    losses: Mapping[str, float]
    """Weight of each term of the method's `loss` in the sum that is minimised; a term not named has 0."""
    name: str = ""
    """Told to `loss` and to `augment`; needed where there are several stages."""
    learns: Sequence[str] = ("*",)
    """Patterns (`fnmatch`) of the learned names that this stage trains; the others stay as they are."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    optimiser: type[torch.optim.Optimizer] = torch.optim.Adam
    epochs_on: Mapping[str, int] = field(default_factory=dict)
    """Source -> epochs, where a source is not trained for `epochs`."""
    rate_on: Mapping[str, float] = field(default_factory=dict)
    """Source -> learning rate, where it is not `learning_rate`."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Pattern -> learning rate of the learned names that match, whatever the source."""
    schedule: Schedule | None = None
    """None: the rates are constant."""
    clip: Mapping[str, float] = field(default_factory=dict)
    """Pattern -> largest norm of the gradient of each tensor that matches, each on its own."""
    mosaic: Mapping[str, float] = field(default_factory=dict)
    """Dataset -> probability that a sample becomes a 2 x 2 mosaic of images of its class."""
    mosaic_of: Literal["all", "defects", "anomalous"] = "all"
    """Tiles are drawn from all images; after their kind of defect was drawn; or from anomalous ones only."""
    augments: bool = False
    """Whether `augment` changes pictures in this stage: then no features are kept."""
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Option -> the values of it under which this stage takes place; empty: always."""

    def epochs_for(self, source: str) -> int:
        """Return the number of epochs on `source` (a `Source.key`)."""
        return self.epochs_on.get(source, self.epochs)

    def trained(self, learned: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Return those of the learned tensors that this stage trains."""
        return {name: each for name, each in learned.items() if _matching(name, self.learns)}

    def make_optimiser(
        self, learned: Mapping[str, nn.Parameter], source: str = ""
    ) -> torch.optim.Optimizer | None:
        """Return the optimiser of what this stage trains, one group a learning rate; None for nothing.

        Every group remembers its rate before any schedule as `base`.
        """
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.trained(learned).items():
            usual = self.rate_on.get(source, self.learning_rate)
            pattern = _matching(name, self.rates)
            groups.setdefault(self.rates[pattern] if pattern else usual, []).append(parameter)
        if not groups:
            return None
        settings: dict[str, Any] = {"betas": self.betas, "weight_decay": self.weight_decay}
        each = [{"params": members, "lr": rate, "base": rate} for rate, members in groups.items()]
        return self.optimiser(each, **settings)

    def set_rates(
        self, optimiser: torch.optim.Optimizer, step: int, steps_per_epoch: int, epochs: int
    ) -> None:
        """Give the optimiser's groups their rates of step `step` (from 0)."""
        for group in optimiser.param_groups if self.schedule else ():
            assert self.schedule is not None
            group["lr"] = self.schedule(group["base"], step, steps_per_epoch, epochs)

    def minimised(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the loss terms, a scalar."""
        return torch.stack([weight * terms[name] for name, weight in self.losses.items()]).sum()

    def clip_gradients(self, learned: Mapping[str, nn.Parameter]) -> None:
        """Shorten the gradients that `clip` names, each tensor's on its own."""
        for name, parameter in learned.items():
            if (pattern := _matching(name, self.clip)) and parameter.grad is not None:
                nn.utils.clip_grad_norm_([parameter], self.clip[pattern])


@dataclass(frozen=True)
class Recipe:
    """How a paper trains what it learns: stages one after the other, each with a fresh optimiser."""

    stages: tuple[Stage, ...]
    seed: int = 0

    def stages_for(self, options: Mapping[str, Any]) -> tuple[Stage, ...]:
        """Return the stages that take place under a method's options."""
        return tuple(
            stage
            for stage in self.stages
            if all(options[name] in values for name, values in stage.when.items())
        )


def _matching(name: str, patterns: Iterable[str]) -> str:
    """Return the first pattern that `name` matches; empty if there is none."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), "")


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


def summed(loss: Callable[[Tensor, Tensor], Tensor], layers: Iterable[Tensor], masks: Tensor) -> Tensor:
    """Return a loss of each layer's maps against the same masks, summed over the layers."""
    return torch.stack([loss(each, masks) for each in layers]).sum()


def focal_and_dice(layers: Sequence[Tensor], masks: Tensor) -> dict[str, Tensor]:
    """Return the loss terms that AnomalyCLIP and its followers compare maps with masks by.

    `layers` holds (normal, abnormal) probabilities (B, 2, S, S), `masks` (B, S, S) is of 0 and 1; each term
    is summed over the layers.
    """
    masks = masks.float()
    return {
        "focal": summed(focal, layers, masks),
        "dice_abnormal": summed(dice, [each[:, 1] for each in layers], masks),
        "dice_normal": summed(dice, [each[:, 0] for each in layers], 1 - masks),
    }
