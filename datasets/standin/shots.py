"""One picture of a stand-in dataset, determined by its place in the dataset and the seed."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from datasets.standin.camera import photograph
from datasets.standin.damage import damage
from datasets.standin.defects import DEFECTS
from datasets.standin.objects import OBJECTS
from datasets.standin.organs import ORGANS, SCANS
from datasets.standin.raster import Canvas, Mask, Pixels, between, child, stream
from datasets.standin.recipes import RECIPES, ClassRecipe
from datasets.standin.scene import Kind
from datasets.standin.textures import TEXTURES

SCENES: dict[str, Kind] = TEXTURES | OBJECTS | ORGANS


class Shot(NamedTuple):
    """A picture, uint8 (H, W, 3) or grey (H, W); its mask (H, W), empty where normal; its defect's folder."""

    image: Pixels
    mask: Mask
    defect: str | None


@dataclass(frozen=True)
class Studio:
    """Takes the pictures of one dataset: `key` at `seed`, at full or (for tests) half size."""

    key: str
    seed: int
    tiny: bool

    @property
    def classes(self) -> tuple[ClassRecipe, ...]:
        """The classes shown at this scale."""
        classes = RECIPES[self.key].classes
        return classes[:2] if self.tiny else classes

    @property
    def normal(self) -> int:
        """Normal test pictures per class."""
        return min(2, RECIPES[self.key].normal) if self.tiny else RECIPES[self.key].normal

    @property
    def anomalous(self) -> int:
        """Anomalous test pictures per class."""
        return 2 if self.tiny else RECIPES[self.key].anomalous

    @property
    def train(self) -> int:
        """Training pictures per class and label, there to fill the layout: no zero-shot method sees them."""
        return 1 if self.tiny else 2

    def take(
        self, look: ClassRecipe, split: str, anomalous: bool, index: int, third: int | None = None
    ) -> Shot:
        """Take picture `index` of a class's split and label.

        A defect stays in the middle of the given `third` of the height (0, 1 or 2), where one is given.
        """
        recipe = RECIPES[self.key]
        label = "anomalous" if anomalous else "normal"
        rng = stream(self.seed, self.key, look.name, split, label, index)
        height, width = recipe.sizes[index % len(recipe.sizes)]
        canvas = Canvas(height // 2, width // 2) if self.tiny else Canvas(height, width)
        scene = SCENES[look.kind](stream(self.seed, self.key, look.name, "style"), child(rng), canvas)
        mask = np.zeros((canvas.height, canvas.width), dtype=bool)
        folder, image = None, scene.render()
        if anomalous:
            folder, defect = look.defects[index % len(look.defects)]
            if third is not None:
                middle = np.abs(canvas.y / canvas.tall * 3 - third - 0.5) < 0.15
                off_edge = np.minimum(canvas.x, canvas.wide - canvas.x) > 0.25
                scene = replace(scene, aim=middle & off_edge)
            image, mask = damage(child(rng), scene, DEFECTS[defect], between(rng, *recipe.strength))
        # The k-th normal and the k-th anomalous picture share their light, tone, dust and noise, so that
        # not even by chance do these differ between the two groups.
        camera = stream(self.seed, self.key, look.name, split, "camera", index)
        shot = photograph(camera, canvas, image, recipe.wear, look.kind in SCANS)
        return Shot(to_grey(shot) if recipe.grey else shot, mask, folder)


def to_grey(image: Pixels) -> Pixels:
    """Return the brightness (H, W) of an RGB picture (H, W, 3), in integers."""
    red, green, blue = (image[..., k].astype(np.int64) for k in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
