"""Chance: random scores and maps, the floor under every table and a check of the whole pipeline."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from methods.base import Prediction, ZeroShotDetector


class Chance(ZeroShotDetector):
    """Uniformly random scores and pixels that follow from the image's content and `seed` alone."""

    title = "Chance"
    notes = "random numbers: AUROC 50 up to sampling noise"
    defaults = {
        "image_size": 224,
        "seed": 0,  # of the random numbers
    }

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Prediction:
        """Draw scores (B,) and maps (B, S, S) in [0, 1); the same image always gets the same."""
        drawn = [self._draw(image) for image in images]
        return Prediction(
            torch.stack([values[0] for values in drawn]).to(images.device),
            torch.stack([values[1:].view(images.shape[-2:]) for values in drawn]).to(images.device),
        )

    def _draw(self, image: Tensor) -> Tensor:
        digest = hashlib.sha256(str(self.options["seed"]).encode())
        digest.update(image.float().cpu().contiguous().numpy().tobytes())
        generator = torch.Generator().manual_seed(int.from_bytes(digest.digest()[:7], "little"))
        return torch.rand(1 + image.shape[-2] * image.shape[-1], generator=generator)
