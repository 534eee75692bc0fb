"""What a picture is made of before the camera: a ground, parts lying on it, and where defects may lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.standin.raster import Array, Canvas, Mask, Rng, mix


@dataclass(frozen=True)
class Part:
    """One thing in a scene: its coverage (H, W) in 0..1 and its paint, a colour (3,) or a picture (H, W, 3).

    A `loose` part is one that stands out when it is missing, swapped or in the wrong place.
    """

    cover: Array
    paint: Array
    loose: bool = False


@dataclass(frozen=True)
class Scene:
    """A ground (H, W, 3), parts laid over it in order, and the region (H, W) open to surface defects.

    The middle of a defect lies within `aim` (H, W), where that is given.
    """

    canvas: Canvas
    ground: Array
    region: Mask
    parts: Sequence[Part] = ()
    aim: Mask | None = None

    def render(self, parts: Sequence[Part] | None = None) -> Array:
        """Return the picture (H, W, 3), with `parts` in place of the scene's own where given."""
        image = self.ground
        for part in self.parts if parts is None else parts:
            image = mix(image, part.paint, part.cover)
        return image


# A kind draws a scene: `style` holds what the pictures of one class share, `rng` what varies among them.
Kind = Callable[[Rng, Rng, Canvas], Scene]


def filled(canvas: Canvas, ground: Array) -> Scene:
    """Return a scene that is all ground, open to defects everywhere."""
    return Scene(canvas, ground, np.ones((canvas.height, canvas.width), dtype=bool))
