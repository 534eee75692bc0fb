"""Plain CLIP with a two-state prompt ensemble: the naive baseline of the papers."""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch.nn.functional as F
from torch import Tensor

from methods import maps
from methods.backbones import blocks, clip
from methods.base import Features, Prediction
from methods.clip_based import ClipBased
from methods.prompts import ABNORMAL_STATES, NORMAL_STATES, SHORT_TEMPLATES, PromptEnsemble, ensemble_texts

ENSEMBLE = PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, SHORT_TEMPLATES)


class Clip(ClipBased):
    """Plain CLIP (arXiv 2103.00020) against averaged sentences about normal and abnormal objects.

    The image score is the class token's abnormal probability at CLIP's own temperature. For the map the
    patch tokens of the last block go the class token's way, through ln_post and projection, which CLIP
    never trained them for.
    """

    title = "CLIP"
    prompting = "prompt ensemble with the name"
    paper = "https://arxiv.org/abs/2103.00020"
    notes = "A baseline of this suite's own making, not an official implementation of any paper's CLIP row."

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 336,
        "temperature": 0.01,  # divides the similarities before the softmax; OpenAI's logit scale is 100
        "quick_gelu": True,  # QuickGELU instead of GELU, as OpenAI trained the weights
    }
    presets = {
        "518": {"image_size": 518},  # the size at which the methods built on it run
        "mini": {"backbone": "mini", "image_size": 140},
    }

    encoder_options = ("backbone", "image_size", "quick_gelu")

    def __init__(self, model: open_clip.CLIP, learned: object = None, **options: Any) -> None:
        """Take a built CLIP; nothing is learned."""
        super().__init__(model, **options)
        self._text = ensemble_texts(ENSEMBLE, self.encode_text)

    def encode(self, images: Tensor) -> Features:
        """Return unit embeddings `image` (B, E) and `patches` (B, N, E)."""
        hidden = clip.embed_image(self.model, images, self.positions)
        hidden, _ = blocks.run_blocks(clip.vision_blocks(self.model), hidden)
        unit = F.normalize(clip.project(self.model, hidden).float(), dim=-1)
        return {"image": unit[:, 0], "patches": unit[:, 1:]}

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare both with the texts; softmax, then enlarge the map."""
        text = self._text(prompts, features["image"])
        image, patches = (
            maps.similarity_logits(features[name], text, self.options["temperature"]).softmax(dim=-1)
            for name in ("image", "patches")
        )
        grid = maps.to_grid(patches[..., 1:], self.grid)
        return Prediction(image[:, 1], maps.upsample(grid, self.image_size, align_corners=False)[:, 0])
