"""The contract that every zero-shot detector fulfils."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from methods.learning import Recipe
from methods.weights import WeightFile

Features = dict[str, Tensor]
"""What a frozen encoder says of a batch of images: named tensors, each with the batch axis first."""


class Prediction(NamedTuple):
    """What a method answers for a batch; higher is more anomalous."""

    scores: Tensor
    """Image scores (B,), float32."""
    maps: Tensor
    """Final anomaly maps (B, S, S), float32, upsampled and smoothed as the method defines."""
    also: dict[str, Tensor] = {}
    """Further image scores (B,) by name, stored beside the first; for example one per class token."""


class ZeroShotDetector(nn.Module, ABC):
    """One method: the subclass in `methods/<key>.py` that declares a `title` (see `methods.registry`).

    Implement `forward`; or, when the image encoder is frozen and unprompted, split it into `encode` and
    `score`, so that features can be computed once and scored many times. Results must not depend on how
    images are batched or ordered. A method never sees dataset files, labels or masks at test time.
    """

    title: ClassVar[str]
    """How the paper calls it; heads a column of a table."""
    paper: ClassVar[str] = ""
    code: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    notes: ClassVar[str] = ""

    version: ClassVar[int] = 1
    """Part of every cell's key: raise it when a change of code changes numbers."""
    defaults: ClassVar[Mapping[str, Any]] = {
        "image_size": 224,  # side of the square network input and of the anomaly maps, in pixels
    }
    """Every knob that can change a number, with the paper's value. Always has `image_size`. `list` shows
    the comment behind an option as its meaning."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named option sets, for example ablations: `run --methods key:preset`. `mini` is the demo's."""
    sources: ClassVar[Mapping[str, str] | None] = None
    """Target -> what its weights were trained on ("*": any other target); None: nothing is learned."""
    target_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Target -> options the paper uses there, for example another prompt ensemble on medical images."""
    selected_on: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Source -> targets whose test images chose the published checkpoint (an epoch, say)."""
    recipe: ClassVar[Recipe | None] = None
    """How the paper trains what it learns; None: nothing is learned. See `begin`, `learned` and `loss`."""
    encoder_options: ClassVar[Sequence[str] | None] = None
    """Options that `preprocess` and `encode` depend on; None: its features must not be cached."""
    privileged: ClassVar[bool] = False
    """True only for the oracle: `reveal` is called with the truth before `forward`. Never ranked."""

    def __init__(self, **options: Any) -> None:
        """Set `self.options`: the defaults overridden by `options`; an unknown option raises `TypeError`."""
        super().__init__()
        self.options = self.resolve(options)

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `TypeError` for one the method does not have."""
        unknown = sorted(set(options) - set(cls.defaults))
        if unknown:
            raise TypeError(
                f"{cls.__name__} has no option {', '.join(unknown)}; it has {', '.join(sorted(cls.defaults))}"
            )
        return {**cls.defaults, **options}

    @classmethod
    def source_for(cls, target: str, options: Mapping[str, Any]) -> str | None:
        """Return what the protocol trains on for `target`; None if nothing is learned."""
        if cls.sources is None:
            return None
        return cls.sources.get(target, cls.sources["*"])

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return the weight files needed, by role (`vision`, `learned`, ...)."""
        return {}

    @classmethod
    def load(cls, files: Mapping[str, Path], **options: Any) -> Self:
        """Build the method from local weight files, by the roles of `files`; loading is strict."""
        return cls(**options)

    @classmethod
    def write_untrained(cls, paths: Mapping[str, Path], options: Mapping[str, Any], seed: int) -> None:
        """Write untrained weights (`methods.fill`) in the published formats to the paths, by role."""

    @property
    def image_size(self) -> int:
        """Side of the square network input and of the anomaly maps, in pixels."""
        return int(self.options["image_size"])

    def preprocess(self, image: Image.Image) -> Tensor:
        """Turn an RGB picture into the network input (3, S, S), float32.

        The default squashes to the square, bilinear with Pillow's anti-aliasing, and scales to [0, 1].
        """
        return to_tensor(image.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR))

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Prediction:
        """Score images (B, 3, S, S); `prompts` holds the object's name for each of the B images."""
        return self.score(self.encode(images), prompts)

    def encode(self, images: Tensor) -> Features:
        """Return what depends on the images alone and on nothing learned; may be cached for many scorings."""
        raise NotImplementedError(f"{type(self).__name__} implements neither forward nor encode and score")

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Finish `encode`'s features to scores and maps."""
        raise NotImplementedError(f"{type(self).__name__} implements neither forward nor encode and score")

    @classmethod
    def begin(cls, files: Mapping[str, Path], seed: int, **options: Any) -> Self:
        """Build the method as training begins: frozen parts from `files`, what it learns drawn by `seed`."""
        raise NotImplementedError(f"{cls.__name__} learns nothing")

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, by the names it is saved under."""
        return {}

    def loss(
        self, features: Features, prompts: Sequence[str], labels: Tensor, masks: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss terms that `recipe.losses` weighs, for `encode`d images of a batch.

        Object names `prompts` (B), `labels` (B,) and `masks` (B, S, S) of 0 and 1.
        """
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    def reveal(self, labels: Tensor, masks: Tensor) -> None:
        """Take the truth of the next batch: labels (B,) and masks (B, S, S). Only the oracle listens."""


def to_tensor(image: Image.Image) -> Tensor:
    """Turn an RGB picture into a float32 tensor (3, H, W) in [0, 1]."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255)
