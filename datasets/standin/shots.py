"""One picture of a stand-in dataset, determined by its place in the dataset and the seed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from datasets.standin.camera import photograph
from datasets.standin.damage import damage
from datasets.standin.defects import DEFECTS
from datasets.standin.objects import OBJECTS
from datasets.standin.organs import ORGANS
from datasets.standin.raster import Canvas, Mask, Pixels, stream
from datasets.standin.recipes import RECIPES, ClassRecipe
from datasets.standin.scene import Kind
from datasets.standin.textures import TEXTURES

SCENES: dict[str, Kind] = TEXTURES | OBJECTS | ORGANS


class Shot(NamedTuple):
    """A picture, uint8 (H, W, 3) or grey (H, W); its mask (H, W), empty where normal; its defect's folder."""

    image: Pixels
    mask: Mask
    defect: str | None


class Scale(NamedTuple):
    """How much of the stand-ins is drawn: at most so many classes, and pictures of each label in them."""

    classes: int = 1000
    pictures: int = 1000
    train: int = 2
    halved: bool = False
    """Whether the pictures' sides are."""
    alone: int = 0
    """Pictures of each label where the dataset has one class, if that is more."""


SCALES = {"full": Scale(), "small": Scale(2, 3, alone=5), "tiny": Scale(2, 2, train=1, halved=True)}
"""`full` taught the small models and measures them, `small` is the demo's, `tiny` is for tests."""


@dataclass
class Studio:
    """Takes the pictures of one dataset: `key` at `seed`.

    `normal` and `anomalous` are the numbers of test pictures per class, `train` that of training pictures
    per class and label; these only fill the layout: no zero-shot method sees them.
    """

    key: str
    seed: int
    scale: Scale

    def __post_init__(self) -> None:
        recipe, most = RECIPES[self.key], self.scale.pictures
        self.classes = recipe.classes[: self.scale.classes]
        if len(recipe.classes) == 1:
            most = max(most, self.scale.alone)
        self.normal, self.anomalous = min(most, recipe.normal), min(most, recipe.anomalous)
        self.train = self.scale.train

    def shots(self, cls: ClassRecipe, split: str, anomalous: bool) -> Iterator[Shot]:
        """Take all pictures of a class's split and label."""
        count = self.train if split == "train" else self.anomalous if anomalous else self.normal
        return (self.take(cls, split, anomalous, k) for k in range(count))

    def take(
        self, cls: ClassRecipe, split: str, anomalous: bool, index: int, third: int | None = None
    ) -> Shot:
        """Take picture `index` of a class's split and label.

        A defect stays in the middle of the given `third` of the height (0, 1 or 2), where one is given.
        """
        recipe = RECIPES[self.key]
        rng = stream(self.seed, self.key, cls.name, split, "anomalous" if anomalous else "normal", index)
        height, width = recipe.sizes[index % len(recipe.sizes)]
        canvas = Canvas(height // 2, width // 2) if self.scale.halved else Canvas(height, width)
        scene = SCENES[cls.kind](stream(self.seed, self.key, cls.name, "style"), rng.child(), canvas)
        folder, image, mask = None, scene.render(), canvas.full(0.0) > 0
        if anomalous:
            folder, defect = cls.defects[index % len(cls.defects)]
            if third is not None:
                middle = np.abs(canvas.y / canvas.tall * 3 - third - 0.5) < 0.15
                scene = replace(scene, aim=middle & (np.minimum(canvas.x, canvas.wide - canvas.x) > 0.25))
            image, mask = damage(rng.child(), scene, DEFECTS[defect], rng.between(*recipe.strength))
        # The k-th normal and the k-th anomalous picture share their light, tone, dust and noise, so that
        # not even by chance do these differ between the two groups.
        camera = stream(self.seed, self.key, cls.name, split, "camera", index)
        shot = photograph(camera, canvas, image, recipe.wear, scene.scan)
        return Shot(grey(shot) if recipe.grey else shot, mask, folder)


def grey(image: Pixels) -> Pixels:
    """Return the brightness (H, W) of an RGB picture (H, W, 3), in integers."""
    red, green, blue = (image[..., k].astype(np.int64) for k in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
