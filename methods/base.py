"""The contract that every zero-shot detector fulfils."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from methods.image_set import Features, ImageSet, LoadedSet
from methods.learning import Recipe
from methods.pictures import NetworkInput
from methods.precision import lowered
from methods.prediction import Prediction, joined
from methods.weights import WeightFile


class TrainingBatch(NamedTuple):
    """What is known of the B images of a training step."""

    prompts: Sequence[str]
    """The objects' names."""
    labels: Tensor
    """(B,), 0 normal, 1 anomalous."""
    masks: Tensor
    """(B, S, S) of 0 and 1, uint8."""
    stage: str = ""
    """Name of the recipe's stage."""


@dataclass(frozen=True)
class Preset:
    """A named variant: the options it sets, and what its paper does otherwise under it.

    None: as the method does. Its `target_options` go before its own options.
    """

    options: Mapping[str, Any]
    title: str | None = None
    """Where the paper gives the variant a name and a column of its own."""
    sources: Mapping[str, str] | None = None
    target_options: Mapping[str, Mapping[str, Any]] | None = None
    selected_on: Mapping[str, Sequence[str]] | None = None
    recipe: Recipe | None = None


class ZeroShotDetector(nn.Module, ABC):
    """One method: the subclass in `methods/<key>.py` that declares a `title` (see `methods.registry`).

    Implement `forward`; or, when the image encoder is frozen and unprompted, split it into `encode` and
    `score`, so that features can be computed once and scored many times; or, for a transductive method,
    `encode` and `judge`. Results must not depend on how images are batched or ordered. A method never sees
    dataset files, labels or masks at test time.

    Only image encoders may run in lower precision. `encoded` runs `encode` in `encoder_precision` and hands
    its features on in float32; texts, `score`, `judge` and `finish` run in float32. A method whose image
    encoder is prompted or adapted by what it learned runs it in `score`: then `score` runs it, and nothing
    else, inside `encoding` and goes on with `.float()` of what comes out. One with `forward` alone does so
    too, or runs in float32 always.
    """

    title: ClassVar[str]
    """How the paper calls it; heads a column of a table."""
    paper: ClassVar[str] = ""
    code: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    prompting: ClassVar[str] = "none"
    """What it says about the object: sentences with its name, learned words, nothing."""
    notes: ClassVar[str] = ""

    version: ClassVar[int] = 1
    """Part of every cell's key: raise it when a change of code changes numbers."""
    defaults: ClassVar[Mapping[str, Any]] = {
        "image_size": 224,  # side of the square network input and of the anomaly maps, in pixels
    }
    """Every knob that can change a number, with the paper's value. Always has `image_size`. `list` shows
    the comment behind an option as its meaning."""
    presets: ClassVar[Mapping[str, Mapping[str, Any] | Preset]] = {}
    """Named option sets, for example ablations: `run --methods key:preset`. `mini` is the demo's."""
    sources: ClassVar[Mapping[str, str] | None] = None
    """Target -> what its weights were trained on ("*": any other target); None: nothing is learned."""
    target_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Target -> options the paper uses there, for example another prompt ensemble on medical images."""
    source_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Source -> options the paper uses with what was trained there, in training and, below those of the
    target, in scoring."""
    selected_on: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Source -> targets whose test images chose the published checkpoint (an epoch, say)."""
    recipe: ClassVar[Recipe | None] = None
    """How the paper trains what it learns; None: nothing is learned. See `begin`, `learned` and `loss`."""
    encoder_options: ClassVar[Sequence[str] | None] = None
    """Options that `preprocess` and `encode` depend on; None: its features must not be cached."""
    handed_on: ClassVar[str] = ""
    """Under which name `encode` hands on its input: never kept, but made of the image again."""
    transductive: ClassVar[bool] = False
    """True: `judge` sees all unlabelled images of a class together. Ranked only among its kind."""
    class_normalised: ClassVar[bool] = False
    """True: `finish` makes the final image scores of the whole class's. Ranked only among its kind."""
    training_masks: ClassVar[Literal["bilinear", "nearest"]] = "bilinear"
    """How masks are brought to the input size in training; bilinear is cut above one half."""
    privileged: ClassVar[bool] = False
    """True only for the oracle: `reveal` is called with the truth before `forward`. Never ranked."""
    official_precision: ClassVar[str] = "float32"
    """What the official code runs the image encoder in on CUDA, of `methods.precision.PRECISIONS`."""
    encoder_precision: str = "float32"
    """What the image encoder runs in, of `methods.precision.PRECISIONS`; set by who runs the model."""

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
    def preset(cls, name: str | None) -> Preset:
        """Return the preset (None: no preset) with what it leaves out filled in from the method."""
        found = cls.presets[name] if name else {}
        given = found if isinstance(found, Preset) else Preset(found)
        return Preset(
            given.options,
            given.title,
            cls.sources if given.sources is None else given.sources,
            {} if given.target_options is None else given.target_options,
            cls.selected_on if given.selected_on is None else given.selected_on,
            cls.recipe if given.recipe is None else given.recipe,
        )

    @classmethod
    def source_for(cls, target: str, options: Mapping[str, Any]) -> str | None:
        """Return what the protocol trains on for `target`; None if nothing is learned."""
        if cls.sources is None:
            return None
        return cls.sources.get(target, cls.sources["*"])

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return the weight files needed, by role (`vision`, `learned`, ...), see `weights.frozen`."""
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

    @property
    def input(self) -> NetworkInput:
        """How `preprocess` makes the network input: by default bilinear, in [0, 1]."""
        return NetworkInput(self.image_size)

    @property
    def encoder(self) -> Mapping[str, Any] | None:
        """What `encode` computes, where other methods' do the same: JSON values with a `name`; None: its own.

        Models that say the same, with equal frozen weights, share features of an image. What a class says
        holds for itself and for none derived from it, see `methods.sharing`.
        """
        return None

    def preprocess(self, image: Image.Image) -> Tensor:
        """Turn an RGB picture into the network input (3, S, S), float32.

        Declare another `input` where that says it: equal inputs of several methods are made once. Override
        this one where it does not.
        """
        return self.input(image)

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Prediction:
        """Score images (B, 3, S, S); `prompts` holds the object's name for each of the B images.

        A transductive method judges them as one set.
        """
        if not self.transductive:
            return self.score(self.encoded(images), prompts)
        parts = list(self.judge(LoadedSet(self.encoded(images)), prompts[0]))
        return joined(parts)

    def encode(self, images: Tensor) -> Features:
        """Return what depends on the images alone and on nothing learned; may be cached for many scorings."""
        raise NotImplementedError(f"{type(self).__name__} implements neither forward nor encode and score")

    def encoded(self, images: Tensor) -> Features:
        """Return what `encode` makes of images in `encoder_precision`, as float32; call it instead."""
        with self.encoding(images):
            features = self.encode(images)
        half = (torch.bfloat16, torch.float16)
        return {name: each.float() if each.dtype in half else each for name, each in features.items()}

    def encoding(self, images: Tensor) -> AbstractContextManager[None]:
        """Return the context in which `score` runs an image encoder: `encoder_precision` holds in it."""
        return lowered(self.encoder_precision, images.device)

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Finish `encode`'s features to scores and maps."""
        raise NotImplementedError(f"{type(self).__name__} implements neither forward nor encode and score")

    def judge(self, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        """Yield predictions for consecutive images of the class, in the set's order. Transductive only.

        Nothing may depend on the order or on how much is encoded at once, but for the last bits. Raises
        `ValueError` for a set that is too small.
        """
        raise NotImplementedError(f"{type(self).__name__} is not transductive")

    @classmethod
    def judge_flops(cls, options: Mapping[str, Any], count: int) -> float:
        """Return the floating-point operations of `judge` on `count` images; the plan shows them if any."""
        return 0.0

    def unsettled(self, images: ImageSet) -> list[int]:
        """Return images whose score from `judge` a rounding may change: `try` compares their maps alone."""
        return []

    def finish(self, also: Mapping[str, Tensor]) -> Tensor:
        """Return the final image scores (N,) of all images of a class, from their `also` scores (N,) each.

        Called where `class_normalised`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not normalise over the class")

    @classmethod
    def begin(cls, files: Mapping[str, Path], seed: int, **options: Any) -> Self:
        """Build the method as training begins: frozen parts from `files`, what it learns drawn by `seed`."""
        raise NotImplementedError(f"{cls.__name__} learns nothing")

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, by the names it is saved under."""
        return {}

    def augment(
        self, image: Image.Image, mask: np.ndarray, stage: str, generator: torch.Generator
    ) -> tuple[Image.Image, np.ndarray]:
        """Change an RGB picture and its mask (H, W), uint8 of 0 and 1, together, before `preprocess`.

        All randomness comes from `generator` (on the CPU), which belongs to this sample in this epoch alone.
        Called in stages of the recipe that say `augments`.
        """
        return image, mask

    def augment_input(
        self, image: Tensor, mask: np.ndarray, stage: str, generator: torch.Generator
    ) -> tuple[Tensor, np.ndarray]:
        """Change a network input (3, S, S) and its mask (S, S) together, after `augment` and `preprocess`."""
        return image, mask

    def remember(self, features: Features, labels: Tensor, masks: Tensor) -> None:
        """Take from B images of the source what `kept` returns; masks (B, S, S), uint8 of 0 and 1.

        Called without gradient for all its images in their order, once, before training begins.
        """

    def kept(self) -> dict[str, Tensor]:
        """Return what `remember` took, saved beside `learned` but not trained; without rows before."""
        return {}

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Take back what `kept` returned."""

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms that the stage of `recipe` weighs, for `encode`d images of a batch."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    def reveal(self, labels: Tensor, masks: Tensor) -> None:
        """Take the truth of the next batch: labels (B,) and masks (B, S, S). Only the oracle listens."""
