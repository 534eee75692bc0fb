"""Generated pictures to train the small backbones on: normal and damaged twins of the training kinds."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.standin.raster import Rng
from tools.mini.kinds import FAMILIES, TRAINING_KINDS, draw_pair

SIDE, GRID = 140, 10  # pixels, and patches of 14 pixels
# Heights and widths as the stand-ins have them; every picture is squashed to the square.
_SIZES = ((144, 144), (128, 128), (128, 160), (160, 136), (112, 144), (240, 112))
_STRENGTH = (0.5, 1.0)
_WEAR = (0.2, 1.0)
_GREY, _NEGATIVE = 0.3, 0.15  # shares of pictures without colour, and turned from light to dark


@dataclass(frozen=True)
class Batch:
    """Pictures (B, 3, S, S) in [0, 1], labels (B,), defects' share of each patch (B, G, G).

    `kinds` (B) names what each shows, `defects` (B) the defect that it or its twin has.
    """

    images: Tensor
    labels: Tensor
    cover: Tensor
    kinds: Sequence[str]
    defects: Sequence[str]

    def to(self, device: torch.device) -> Self:
        """Return the batch with its tensors on `device`."""
        return replace(
            self, images=self.images.to(device), labels=self.labels.to(device), cover=self.cover.to(device)
        )


@dataclass(frozen=True)
class Pool:
    """Twins (n, 2, S, S, 3), uint8, normal first; the defects' share of each patch (n, G, G); names (n)."""

    twins: np.ndarray
    cover: np.ndarray
    kinds: tuple[str, ...]
    defects: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.twins)

    def batch(self, rng: np.random.Generator, indices: Sequence[int], *, augment: bool) -> Batch:
        """Return both twins of each index; if `augment`, turned, mirrored, and in other colours."""
        images, labels, covers = [], [], []
        for index in indices:
            for label in (0, 1):
                image = self.twins[index, label]
                cover = self.cover[index] if label else np.zeros_like(self.cover[index])
                if augment:
                    quarter, mirrored = int(rng.integers(4)), bool(rng.integers(2))
                    image, cover = np.rot90(image, quarter), np.rot90(cover, quarter)
                    if mirrored:
                        image, cover = image[:, ::-1], cover[:, ::-1]
                    image = image[..., rng.permutation(3)]
                    if rng.random() < _GREY:
                        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
                    if rng.random() < _NEGATIVE:
                        image = 255 - image
                images.append(torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)))
                covers.append(torch.from_numpy(np.ascontiguousarray(cover)))
                labels.append(label)
        pixels = torch.stack(images).permute(0, 3, 1, 2).contiguous() / 255
        kinds, defects = (
            [names[index] for index in indices for _ in (0, 1)] for names in (self.kinds, self.defects)
        )
        return Batch(pixels, torch.tensor(labels), torch.stack(covers), kinds, defects)


def draw_pool(count: int, seed: int, workers: int) -> Pool:
    """Draw `count` pairs; the same seed draws the same pairs whatever the number of workers."""
    with ProcessPoolExecutor(workers) as processes:
        drawn = list(processes.map(partial(_draw, seed), range(count), chunksize=32))
    twins, covers, kinds, defects = zip(*drawn, strict=True)
    return Pool(np.stack(twins), np.stack(covers), kinds, defects)


def _draw(seed: int, index: int) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Draw one pair: textures, objects and organs by turns, every other time of a family."""
    rng = Rng(np.random.PCG64([seed, index]))
    kinds = (TRAINING_KINDS, FAMILIES)[index % 2][index % 3]
    size = _SIZES[int(rng.integers(len(_SIZES)))]
    pair = draw_pair(rng, kinds, size, _STRENGTH, float(rng.uniform(*_WEAR)))
    squashed = [
        np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for picture in (pair.normal, pair.defective)
    ]
    mask = Image.fromarray(pair.mask.astype(np.float32))
    cover = np.asarray(mask.resize((GRID, GRID), Image.Resampling.BOX))
    return np.stack(squashed), cover, pair.kind, pair.defect
