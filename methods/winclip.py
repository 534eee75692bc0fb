"""WinCLIP, zero-shot: CLIP on every window of 2 x 2 and 3 x 3 patches."""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from methods import maps
from methods.backbones import clip
from methods.backbones.blocks import attend, heads, residual
from methods.base import Features, Prediction
from methods.clip_based import ClipBased
from methods.prompts import ABNORMAL_STATES, NORMAL_STATES, PromptEnsemble, ensemble_texts

_COMMON = (
    "a cropped photo of the {}.",
    "a close-up photo of a {}.",
    "a close-up photo of the {}.",
    "a bright photo of a {}.",
    "a bright photo of the {}.",
    "a dark photo of the {}.",
    "a dark photo of a {}.",
    "a jpeg corrupted photo of the {}.",
    "a blurry photo of the {}.",
    "a blurry photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of a small {}.",
    "a photo of the small {}.",
    "a photo of a large {}.",
    "a photo of the large {}.",
    "a photo of the {} for visual inspection.",
    "a photo of a {} for visual inspection.",
    "a photo of the {} for anomaly detection.",
    "a photo of a {} for anomaly detection.",
)
TEMPLATES = {
    # The reference repeats one line, which then counts twice; the paper's list has 22 different ones.
    "reference": (*_COMMON, "a jpeg corrupted photo of the {}."),
    "paper": (*_COMMON, "a cropped photo of a {}.", "a jpeg corrupted photo of a {}."),
}
WINDOW_TOKENS = 4096
"""Tokens encoded at once in window passes; bounds memory, changes no result."""


class WinClip(ClipBased):
    """WinCLIP, zero-shot (CVPR 2023, arXiv 2303.14814), as its closest public re-implementation has it.

    Each window of patches is encoded on its own, with the class token and the positions of the full
    image, and gets the abnormal probability of its class embedding. A patch takes the harmonic mean over
    the windows that cover it, and over the scales, the full image being one. The image score is that of
    the full image alone.
    """

    title = "WinCLIP"
    prompting = "prompt ensemble with the name"
    paper = "https://arxiv.org/abs/2303.14814"
    code = "https://github.com/zqhang/Accurate-WinCLIP-pytorch"
    licence = "MIT"
    notes = (
        "No official code exists. Expect MVTec 90.4 image and 82.3 pixel AUROC, not the paper's 91.8, 85.1."
    )

    defaults = {
        "backbone": "ViT-B-16-plus-240",  # of OpenCLIP, after 31 epochs on LAION-400M; -e32: after 32
        "image_size": 240,
        "windows": (2, 3),  # sides of the windows, in patches
        "temperature": 0.07,  # divides the similarities before the softmax
        "templates": "reference",  # the sentences: of the re-implementation, or of the paper
        "normalise_each": False,  # give every sentence the same weight before averaging
        "underscores_as_spaces": False,  # in the names of objects
        "quick_gelu": False,  # QuickGELU instead of GELU
    }
    presets = {
        # What may separate the re-implementation from the paper.
        "paper-templates": {"templates": "paper"},
        "normalised-prompts": {"normalise_each": True},
        "e32": {"backbone": "ViT-B-16-plus-240-e32"},
        "temperature-0.01": {"temperature": 0.01},
        "spaces": {"underscores_as_spaces": True},
        "mini": {"backbone": "mini", "image_size": 140},
    }

    encoder_options = ("backbone", "image_size", "windows", "quick_gelu")

    def __init__(self, model: open_clip.CLIP, learned: object = None, **options: Any) -> None:
        """Take a built CLIP; raises `ValueError` for windows that do not fit on the patch grid."""
        super().__init__(model, **options)
        for side in self.options["windows"]:
            members = windows(self.grid, side)
            coverage = torch.zeros(len(members), self.grid[0] * self.grid[1], dtype=torch.float64)
            self.register_buffer(f"windows{side}", members, persistent=False)
            self.register_buffer(f"coverage{side}", coverage.scatter_(1, members, 1.0), persistent=False)
        self.ensemble = PromptEnsemble(
            NORMAL_STATES,
            tuple(state for state in ABNORMAL_STATES if not state.startswith("broken")),
            TEMPLATES[self.options["templates"]],
        )
        self._text = ensemble_texts(
            self.ensemble, self.encode_text, normalise_each=self.options["normalise_each"]
        )

    def encode(self, images: Tensor) -> Features:
        """Return un-normalised class embeddings: `image` (B, E) and `windows<side>` (B, windows, E)."""
        tokens = clip.embed_image(self.model, images, self.positions)
        # What depends on single tokens only is computed once per image and gathered into the windows.
        shared = (tokens, *heads(clip.vision_blocks(self.model)[0], tokens))
        everything = torch.arange(tokens.shape[1] - 1, device=tokens.device)[None]
        features = {"image": self._encode_sets(shared, everything)[:, 0]}
        for side in self.options["windows"]:
            features[f"windows{side}"] = self._encode_sets(shared, self.members(side))
        return features

    def members(self, side: int) -> Tensor:
        """Return the patches (windows, side * side), int64, of each window; all in row-major order."""
        return self.get_buffer(f"windows{side}")

    def _encode_sets(self, shared: tuple[Tensor, Tensor, Tensor, Tensor], members: Tensor) -> Tensor:
        # Sets of patches (n, size), each behind the class token, of every image -> embeddings (B, n, E).
        rows = F.pad(members + 1, (1, 0))
        batch, (count, length) = len(shared[0]), rows.shape
        sets = torch.arange(batch * count, device=rows.device)
        parts = [
            self._encode_chunk(shared, chunk[:, None] // count, rows[chunk % count])
            for chunk in sets.split(max(1, WINDOW_TOKENS // length))
        ]
        return torch.cat(parts).reshape(batch, count, -1)

    def _encode_chunk(
        self, shared: tuple[Tensor, Tensor, Tensor, Tensor], image: Tensor, rows: Tensor
    ) -> Tensor:
        tokens, *parts = shared
        hidden = tokens[image, rows]
        query, key, value = (each[image, :, rows].transpose(1, 2) for each in parts)
        blocks = clip.vision_blocks(self.model)
        for index, block in enumerate(blocks):
            if index > 0:
                query, key, value = heads(block, hidden)
            if index == len(blocks) - 1:  # only the class token is read
                query, hidden = query[:, :, :1], hidden[:, :1]
            hidden = residual(block, hidden, attend(block, query, key, value))
        return clip.project(self.model, hidden[:, 0]).float()

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare with the texts in float32, aggregate in float64."""
        text = self.text_features(prompts, features["image"])
        scores = self.probability(features["image"], text)
        scales = [
            self.scale_map(self.probability(features[f"windows{side}"], text), side)
            for side in self.options["windows"]
        ]
        fused = fuse(scales, scores).reshape(-1, 1, *self.grid)
        enlarged = maps.upsample(fused, self.image_size, align_corners=False)
        return Prediction(scores, enlarged[:, 0].float())

    def text_features(self, prompts: Sequence[str], like: Tensor) -> Tensor:
        """Return unit text features (B, 2, E), normal first; computed once per prompt."""
        if self.options["underscores_as_spaces"]:
            prompts = [prompt.replace("_", " ") for prompt in prompts]
        return self._text(prompts, like)

    def probability(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Return the abnormal probability (B, ...) of embeddings (B, ..., E)."""
        unit = F.normalize(embeddings, dim=-1)
        logits = maps.similarity_logits(unit, text, self.options["temperature"])
        return logits.softmax(dim=-1)[..., 1]

    def scale_map(self, scores: Tensor, side: int) -> Tensor:
        """Return each patch's harmonic mean over its windows: scores (B, windows) -> (B, N), float64."""
        coverage = self.get_buffer(f"coverage{side}")
        return coverage.sum(dim=0) / (_inverse(scores) @ coverage)


def fuse(scales: Sequence[Tensor], image_scores: Tensor) -> Tensor:
    """Return the harmonic mean (B, N), float64, of the scales' maps (B, N) and the image scores (B,)."""
    return (1 + len(scales)) / (_inverse(image_scores)[:, None] + sum(_inverse(scale) for scale in scales))


def _inverse(scores: Tensor) -> Tensor:
    # A probability may vanish in float32; its mean is then 0, here and not in the rest of the map.
    return scores.double().clamp_min(1e-300).reciprocal()


def windows(grid: tuple[int, int], side: int) -> Tensor:
    """Return the patches of every `side` x `side` window of the grid, stride 1: (windows, side * side)."""
    if not 1 <= side <= min(grid):
        raise ValueError(f"windows of {side} patches do not fit on a grid of {grid[0]} x {grid[1]}")
    patches = torch.arange(grid[0] * grid[1]).reshape(grid)
    return patches.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)
