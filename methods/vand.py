"""VAND (April-GAN), zero-shot: linear layers bring CLIP's patch tokens of four levels to its texts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import maps
from methods.base import Features, Prediction, TrainingBatch
from methods.clip_based import ClipBased
from methods.learning import Recipe, Stage, dice, focal, summed
from methods.prompts import ABNORMAL_STATES, NORMAL_STATES, PromptEnsemble, ensemble_texts
from methods.weights import WeightFile

TEMPLATES = (
    "a bad photo of a {}.",
    "a low resolution photo of the {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a bright photo of a {}.",
    "a dark photo of the {}.",
    "a photo of my {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a photo of one {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "a low resolution photo of a {}.",
    "a photo of a large {}.",
    "a blurry photo of a {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a photo of the small {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "a dark photo of a {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
ENSEMBLE = PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, TEMPLATES)

_COMMIT = "f13b8a634e04f9fde8fa03db125b25af5695d8e1"
_PUBLISHED = f"https://raw.githubusercontent.com/ByChelsea/VAND-APRIL-GAN/{_COMMIT}/exps/pretrained"


class Vand(ClipBased):
    """VAND (April-GAN), zero-shot track, as its code has it (arXiv 2305.17382).

    Patch tokens after four blocks, each level through its own linear layer, are compared with averaged
    text features; the map is the sum of the four levels' abnormal probabilities, 0 to 4. The image score
    is the class token's abnormal probability; the map plays no part in it.
    """

    title = "VAND"
    prompting = "prompt ensemble with the name"
    paper = "https://arxiv.org/abs/2305.17382"
    code = "https://github.com/ByChelsea/VAND-APRIL-GAN"
    licence = "MIT"
    official_precision = "float16"
    notes = "Numbers follow the released code: exact GELU on weights trained with QuickGELU, 518 px."

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        "layers": (6, 12, 18, 24),  # blocks whose outputs are compared, counted from 1
        "temperature": 0.01,  # the code's constant factor 100; CLIP's own logit scale is not read
        "quick_gelu": False,  # QuickGELU, not GELU; the code drops it when the size is not the pretrained one
    }
    presets = {
        "native": {"image_size": 336, "quick_gelu": True},  # what the code does at CLIP's own size
        "mini": {"backbone": "mini", "image_size": 140, "layers": (2, 3, 5, 6)},
    }
    sources = {"*": "mvtec", "mvtec": "visa"}
    recipe = Recipe(
        stages=(
            Stage(
                epochs=3,
                epochs_on={"visa": 15},
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice": 1.0},
                mosaic={"mvtec": 0.2},
                mosaic_of="defects",
            ),
        ),
        seed=111,
    )

    encoder_options = ("backbone", "image_size", "layers", "quick_gelu")

    learned_key = "trainable_linearlayer"
    published = {
        source: WeightFile(
            name=f"vand/trained_on_{source}.pth",
            url=f"{_PUBLISHED}/{source}_pretrained.pth",
            rough_size=12_600_000,
            git_sha1=digest,
            licence="MIT",
        )
        for source, digest in (
            ("mvtec", "a057cec6c2ba5996baa0160a51e155908156813f"),
            ("visa", "86d6848c543f8393663d35c0333498ffb5ce9b68"),
        )
    }

    fc: nn.ModuleList

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a built CLIP and the linear layers `fc.<level>.{weight,bias}`, as `learned` returns them."""
        super().__init__(model, learned, **options)
        self._text = ensemble_texts(ENSEMBLE, self.encode_text)

    @classmethod
    def learned_modules(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]
    ) -> dict[str, nn.Module]:
        """Return the linear layers, one a level."""
        wide, joint = backbone["visual.proj"].shape
        return {"fc": nn.ModuleList(nn.Linear(wide, joint) for _ in options["layers"])}

    @property
    def encoder(self) -> Mapping[str, Any]:
        """VCP-CLIP's as well, if layers and activation are the same."""
        return self.clip_encoder("plain_levels", layers=list(self.options["layers"]))

    def encode(self, images: Tensor) -> Features:
        """Return `image` (B, E), the raw class embedding, and `levels` (B, L, 1 + N, W), block outputs."""
        return self.plain_levels(images, self.options["layers"])

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare with the texts."""
        text = self.text_features(prompts, features["image"])
        unit = F.normalize(features["image"], dim=-1)
        image = maps.similarity_logits(unit, text, self.options["temperature"])
        levels = [level[:, 1] for level in self.probabilities(features, text)]
        return Prediction(image.softmax(dim=-1)[:, 1], torch.stack(levels).sum(dim=0))

    def text_features(self, prompts: Sequence[str], like: Tensor) -> Tensor:
        """Return unit text features (B, 2, E), normal first; computed once per prompt."""
        return self._text(prompts, like)

    def patch_logits(self, features: Features, text: Tensor) -> Iterator[Tensor]:
        """Yield each level's (B, N, 2): the patches' cosines with (normal, abnormal) over the temperature."""
        for level, linear in zip(features["levels"].unbind(1), self.fc, strict=True):
            patches = F.normalize(linear(level[:, 1:]), dim=-1)
            yield maps.similarity_logits(patches, text, self.options["temperature"])

    def probabilities(self, features: Features, text: Tensor) -> Iterator[Tensor]:
        """Yield each level's (normal, abnormal) probabilities (B, 2, S, S): softmax of enlarged logits."""
        for logits in self.patch_logits(features, text):
            yield maps.probability_maps(logits, self.grid, self.image_size)

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars; labels are not used."""
        text, masks = self.text_features(batch.prompts, features["image"]), batch.masks
        levels = list(self.probabilities(features, text))
        return {
            "focal": summed(focal, levels, masks),
            "dice": summed(dice, [level[:, 1] for level in levels], masks),
        }
