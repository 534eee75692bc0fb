"""The kinds to train on, and pairs of pictures of them: one normal, its twin with a defect."""

from collections.abc import Sequence
from typing import NamedTuple

from datasets.standin.camera import photograph
from datasets.standin.damage import Defect, damage
from datasets.standin.raster import Canvas, Mask, Pixels, Rng
from datasets.standin.scene import Kind, Scene
from tools.mini.kinds import defects, families, family_defects, objects, organs, textures

_TEXTURES = textures.TEXTURES | families.TEXTURES
_OBJECTS = objects.OBJECTS | families.OBJECTS
_ORGANS = organs.ORGANS | families.ORGANS
SCENES: dict[str, Kind] = _TEXTURES | _OBJECTS | _ORGANS
_SURFACE = defects.SURFACE_DEFECTS | family_defects.SURFACE_DEFECTS
_LESIONS = defects.LESIONS | family_defects.LESIONS
DEFECTS: dict[str, Defect] = _SURFACE | defects.PART_DEFECTS | _LESIONS


class Kinds(NamedTuple):
    """A choice of texture, object and organ kinds, by name."""

    textures: tuple[str, ...]
    objects: tuple[str, ...]
    organs: tuple[str, ...]

    @property
    def scenes(self) -> tuple[str, ...]:
        """All of them."""
        return self.textures + self.objects + self.organs


# No stand-in dataset shows any of these.
TRAINING_KINDS = Kinds(tuple(_TEXTURES), tuple(_OBJECTS), tuple(_ORGANS))
# The families among them, to be drawn more often than their number would have it.
FAMILIES = Kinds(tuple(families.TEXTURES), tuple(families.OBJECTS), tuple(families.ORGANS))


def fitting(name: str, scene: Scene) -> list[str]:
    """Return the defect kinds that make sense on `scene`, drawn by the kind `name`."""
    if name in _ORGANS:
        return list(_LESIONS)
    return [*_SURFACE, *(defects.PART_DEFECTS if scene.loose_parts else ())]


class Pair(NamedTuple):
    """A normal picture and its damaged twin, uint8 (H, W, 3); the mask (H, W); the names of both kinds."""

    normal: Pixels
    defective: Pixels
    mask: Mask
    kind: str
    defect: str


def draw_pair(
    rng: Rng,
    kinds: Sequence[str],
    size: int | tuple[int, int],
    strength: tuple[float, float] = (0.4, 1.0),
    wear: float = 1.0,
) -> Pair:
    """Draw one scene of the `kinds` twice, without and with a defect, as the same camera sees it.

    `size` is the side in pixels, or (height, width); `strength` the range of the defect's strength in
    0..1; `wear` scales the variation of the camera. The same generator state gives the same pair.
    """
    canvas = Canvas(size, size) if isinstance(size, int) else Canvas(*size)
    name = rng.pick(kinds)
    scene = SCENES[name](rng.child(), rng.child(), canvas)
    defect = rng.pick(fitting(name, scene))
    image, mask = damage(rng.child(), scene, DEFECTS[defect], rng.between(*strength))
    seed = rng.child().bit_generator.state
    pictures = []
    for picture in (scene.render(), image):
        camera = rng.child()
        camera.bit_generator.state = seed
        pictures.append(photograph(camera, canvas, picture, wear, scene.scan))
    return Pair(pictures[0], pictures[1], mask, name, defect)
