"""AnomalyCLIP: two learned prompts that call every product "object", against a frozen CLIP.

Zhou, Pang, Tian, He, Chen, ICLR 2024, arXiv 2310.18961. Only the prompts are learned. Global and local
features come from two paths through the image tower, the local one with value-value attention.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from methods.base import Features, Prediction, TrainingBatch
from methods.learning import Recipe, Stage, focal_and_dice
from methods.maps import enlarge, gaussian_smooth, similarity_logits
from methods.object_agnostic import PromptPair
from methods.weights import WeightFile

_REPOSITORY = "https://raw.githubusercontent.com/zqhang/AnomalyCLIP"
_CHECKPOINTS = f"{_REPOSITORY}/45ed4dd35c05797d854294b5e8d585c545920089/checkpoints"


class AnomalyCLIP(PromptPair):
    """CLIP with object-agnostic learned prompts and a value-value path for local features."""

    title = "AnomalyCLIP"
    prompting = "learned words, object-agnostic"
    paper = "https://arxiv.org/abs/2310.18961"
    code = "https://github.com/zqhang/AnomalyCLIP"
    licence = "MIT"
    notes = "the released weights give the authors' logs, not the paper's digits exactly"

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        # Blocks whose local features are compared, from 1; their maps are summed. The authors' test
        # programs default to 6, 12, 18, 24, but every published number was made with the last one.
        "layers": (24,),
        "n_ctx": 12,  # learned word vectors in front of "object."
        "depth": 9,  # text blocks 1 .. depth - 1 (from 0) get learned tokens of their own
        "t_n_ctx": 4,  # how many positions these overwrite
        "dpam_layer": 20,  # the authors' count: dpam_layer - 1 blocks at the end have two paths
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        "temperature": 0.07,  # divides the similarities before the softmax
    }
    presets = {
        "multilayer": {"layers": (6, 12, 18, 24)},
        "no-dpam": {"dpam_layer": 1},
        "mini": {"backbone": "mini", "image_size": 140, "layers": (6,), "dpam_layer": 5, "depth": 6},
    }
    sources = {"*": "mvtec", "mvtec": "visa"}

    encoder_options = ("backbone", "image_size", "layers", "dpam_layer")
    recipe = Recipe(
        stages=(
            Stage(
                epochs=15,
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.5, 0.999),
                losses={"focal": 4.0, "dice_abnormal": 4.0, "dice_normal": 4.0, "image": 1.0},
            ),
        ),
        seed=111,
    )

    has_projections = True
    # The publisher's folder suffix names the target, not the training data; our names say what was learned
    # from.
    published = {
        source: WeightFile(
            name=f"anomalyclip/ViT-L-14-336/trained_on_{source}_epoch_15.pth",
            url=f"{_CHECKPOINTS}/{folder}/epoch_15.pth",
            rough_size=22_700_000,
            git_sha1=digest,
            licence="MIT",
        )
        for source, folder, digest in (
            ("visa", "9_12_4_multiscale", "c90f1d9d92d158b436a8fc193f984d4cec8b1fc8"),
            ("mvtec", "9_12_4_multiscale_visa", "72adc786e031b49ea288ba5f815f0d38cf158708"),
        )
    }

    # --- images -------------------------------------------------------------------------------------

    @property
    def encoder(self) -> Mapping[str, Any]:
        """FAPrompt's as well, if layers and paths are the same."""
        return self.unit_paths_encoder(self.options["layers"])

    def encode(self, images: Tensor) -> Features:
        """Return unit-length features: `image` (B, D), and `patches` (B, layers, N, D) of the local path."""
        return self.unit_paths(images, self.options["layers"])

    def patch_probabilities(self, features: Features, text: Tensor) -> Tensor:
        """Return (normal, abnormal) probabilities (B, layers, N, 2)."""
        logits = similarity_logits(features["patches"], text, self.options["temperature"])
        return logits.softmax(dim=-1)

    def image_logits(self, features: Features, text: Tensor) -> Tensor:
        """Return (normal, abnormal) logits (B, 2) of the global features."""
        return similarity_logits(features["image"], text, self.options["temperature"])

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare with the two texts; object names play no part, nor does the map in the image score."""
        text = self.text_features()
        scores = self.image_logits(features, text).softmax(dim=-1)[:, 1]
        abnormal = self.patch_probabilities(features, text)[..., 1:]
        maps = enlarge(abnormal, self.grid, self.image_size).sum(dim=(1, 2))
        return Prediction(scores, gaussian_smooth(maps, self.options["sigma"]))

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars."""
        text = self.text_features()
        layers = enlarge(self.patch_probabilities(features, text), self.grid, self.image_size).unbind(1)
        image = F.cross_entropy(self.image_logits(features, text), batch.labels.long())
        return {"image": image, **focal_and_dice(layers, batch.masks)}
