"""All kinds by name, their split between stand-ins and training, and how a defect is put on a scene."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets.standin.camera import photograph
from datasets.standin.defects import LESIONS, PART_DEFECTS, SURFACE_DEFECTS
from datasets.standin.marks import loose_parts
from datasets.standin.objects import OBJECTS
from datasets.standin.organs import ORGANS
from datasets.standin.raster import Array, Canvas, Mask, Rng, between, child, pick, quantise
from datasets.standin.scene import Kind, Scene
from datasets.standin.textures import TEXTURES
from datasets.standin.training_defects import (
    TRAINING_LESIONS,
    TRAINING_PART_DEFECTS,
    TRAINING_SURFACE_DEFECTS,
)
from datasets.standin.training_families import FAMILY_OBJECTS, FAMILY_ORGANS, FAMILY_TEXTURES
from datasets.standin.training_family_defects import FAMILY_LESIONS, FAMILY_SURFACE_DEFECTS
from datasets.standin.training_objects import TRAINING_OBJECTS

SURFACE = SURFACE_DEFECTS | TRAINING_SURFACE_DEFECTS | FAMILY_SURFACE_DEFECTS
PARTS = PART_DEFECTS | TRAINING_PART_DEFECTS
IN_ORGANS = LESIONS | TRAINING_LESIONS | FAMILY_LESIONS
SCANS = ("head_ct", "head_mri", "thyroid", "chest", "liver", "bone", "phantom")  # organs drawn in grey
DEFECTS = SURFACE | PARTS | IN_ORGANS
ALL_ORGANS = ORGANS | FAMILY_ORGANS
SCENES: dict[str, Kind] = (
    TEXTURES | OBJECTS | TRAINING_OBJECTS | FAMILY_TEXTURES | FAMILY_OBJECTS | ALL_ORGANS
)


@dataclass(frozen=True)
class Kinds:
    """A choice of texture, object, organ and defect kinds, by name."""

    textures: tuple[str, ...]
    objects: tuple[str, ...]
    organs: tuple[str, ...]
    defects: tuple[str, ...]

    @property
    def scenes(self) -> tuple[str, ...]:
        """Textures, objects and organs together."""
        return self.textures + self.objects + self.organs


# The split. A model trained on TRAINING_KINDS has seen nothing of what the stand-in datasets show.
STANDIN_KINDS = Kinds(
    textures=("woven", "grid", "leather", "wood", "perforated", "marbled", "brushed", "cloudy"),
    objects=tuple(OBJECTS),
    organs=("head_ct", "head_mri", "skin", "colon", "thyroid"),
    defects=(*SURFACE_DEFECTS, *PART_DEFECTS, *LESIONS),
)
TRAINING_KINDS = Kinds(
    textures=(
        *("knit", "corduroy", "terrazzo", "bricks", "honeycomb"),
        *("ripples", "scales", "mosaic", "felt", "cast"),
        *FAMILY_TEXTURES,
    ),
    objects=(*TRAINING_OBJECTS, *FAMILY_OBJECTS),
    organs=("retina", "chest", "liver", "bone", "histology", *FAMILY_ORGANS),
    defects=(
        *(*TRAINING_SURFACE_DEFECTS, *FAMILY_SURFACE_DEFECTS),
        *(*TRAINING_PART_DEFECTS, *TRAINING_LESIONS, *FAMILY_LESIONS),
    ),
)
# The families among the training kinds, to be drawn more often than their number would have it.
FAMILIES = Kinds(
    tuple(FAMILY_TEXTURES), tuple(FAMILY_OBJECTS), tuple(FAMILY_ORGANS), defects=TRAINING_KINDS.defects
)

_TRIES = 12
_SHARE = (0.006, 0.16)  # of the picture that a defect should cover
_CHANGE = 0.09  # mean change inside the defect that counts as visible


def fitting(kinds: Kinds, name: str, scene: Scene) -> list[str]:
    """Return the defect kinds of `kinds` that make sense on `scene`, drawn by the kind `name`."""
    if name in ALL_ORGANS:
        return [d for d in kinds.defects if d in IN_ORGANS]
    return [d for d in kinds.defects if d in SURFACE or (d in PARTS and loose_parts(scene))]


def damage(rng: Rng, scene: Scene, defect: str, strength: float) -> tuple[Array, Mask]:
    """Put a defect on a scene: the picture (H, W, 3) in 0..1 and the defect's mask (H, W), never empty.

    A defect that came out too small, too large or hardly visible is drawn again; after some tries the
    most visible one is taken, one of fitting size where there is any.
    """
    normal = quantise(scene.render()).astype(np.int64)
    best: tuple[bool, int] = (False, 0)
    kept: tuple[Array, Mask] | None = None
    for _ in range(_TRIES):
        image, cover = DEFECTS[defect](child(rng), scene, strength)
        mask = cover > 0.4
        area = int(np.count_nonzero(mask))
        if area == 0:
            continue
        # The sum is one of integers: a float sum may round differently elsewhere and tip the choice.
        change = int(np.abs(quantise(image).astype(np.int64) - normal).max(axis=2)[mask].sum()) // area
        rank = _SHARE[0] <= area / mask.size <= _SHARE[1], change
        if kept is None or rank > best:
            best, kept = rank, (image, mask)
        if best[0] and best[1] >= 255 * _CHANGE:
            break
    if kept is None:
        raise RuntimeError(f"defect {defect!r} left no mark in {_TRIES} tries: use it with another scene")
    return kept


class Pair(NamedTuple):
    """A normal picture and its damaged twin, uint8 (H, W, 3); the mask (H, W); the names of both kinds."""

    normal: npt.NDArray[np.uint8]
    defective: npt.NDArray[np.uint8]
    mask: Mask
    kind: str
    defect: str


def draw_pair(
    rng: Rng,
    kinds: Kinds,
    size: int | tuple[int, int],
    strength: tuple[float, float] = (0.4, 1.0),
    wear: float = 1.0,
) -> Pair:
    """Draw one scene of `kinds` twice, without and with a defect, as the same camera sees it.

    `size` is the side in pixels, or (height, width); `strength` the range of the defect's strength in
    0..1; `wear` scales the variation of the camera. The same generator state gives the same pair.
    """
    canvas = Canvas(size, size) if isinstance(size, int) else Canvas(*size)
    name = pick(rng, kinds.scenes)
    scene = SCENES[name](child(rng), child(rng), canvas)
    defect = pick(rng, fitting(kinds, name, scene))
    image, mask = damage(child(rng), scene, defect, between(rng, *strength))
    seed = child(rng).bit_generator.state
    pictures = []
    for picture in (scene.render(), image):
        camera = child(rng)
        camera.bit_generator.state = seed
        pictures.append(photograph(camera, canvas, picture, wear, scan=name in SCANS))
    return Pair(pictures[0], pictures[1], mask, name, defect)
