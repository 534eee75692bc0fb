"""What a picture is made of before the camera: a ground, parts lying on it, and where defects may lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from datasets.standin.raster import Array, Canvas, Mask, Point, Range, Rng, mix, smooth


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

    The middle of a defect lies within `aim` (H, W), where that is given. A `scan` is what CT, MRI, X-ray
    or ultrasound shows: grey, without a light that falls on it.
    """

    canvas: Canvas
    ground: Array
    region: Mask
    parts: Sequence[Part] = ()
    aim: Mask | None = None
    scan: bool = False

    def render(self, parts: Sequence[Part] | None = None) -> Array:
        """Return the picture (H, W, 3), with `parts` in place of the scene's own where given."""
        image = self.ground
        for part in self.parts if parts is None else parts:
            image = mix(image, part.paint, part.cover)
        return image

    @property
    def loose_parts(self) -> list[int]:
        """The indices of the parts that can be missing, swapped or misplaced."""
        return [k for k, part in enumerate(self.parts) if part.loose]


# A kind draws a scene: `style` holds what the pictures of one class share, `rng` what varies among them.
Kind = Callable[[Rng, Rng, Canvas], Scene]


def filled(canvas: Canvas, ground: Array) -> Scene:
    """Return a scene that is all ground, open to defects everywhere."""
    return Scene(canvas, ground, canvas.full(1.0) > 0)


def scanned(canvas: Canvas, level: Array, region: Mask) -> Scene:
    """Return a scan of grey `level` (H, W) in 0..1."""
    return Scene(canvas, level[..., None] * np.ones(3), region, scan=True)


@dataclass
class Things:
    """Things that lie on a ground, collected one by one."""

    canvas: Canvas
    parts: list[Part] = field(default_factory=list)
    region: Mask | bool = False

    def add(self, shape: Array, paint: Array, *, loose: bool = False, surface: bool = False) -> None:
        """Add a thing of outline `shape`, a signed distance (H, W); its `surface` can have defects."""
        self.parts.append(Part(self.canvas.cover(shape), paint, loose))
        if surface:
            self.region = self.region | self.canvas.inside(shape + 0.02)

    def on(self, ground: Array) -> Scene:
        """Return the scene of the things on a ground (H, W, 3)."""
        return Scene(self.canvas, ground, self.region | np.zeros(ground.shape[:2], bool), self.parts)


def table(style: Rng, rng: Rng, canvas: Canvas, light: Range) -> Array:
    """Return a plain, faintly mottled ground (H, W, 3) for objects to lie on."""
    level = 1 + 0.04 * rng.fractal(canvas.y, canvas.x, 4)
    return style.colour(light, (0, 0.1)) * level[..., None]


def places(rng: Rng, canvas: Canvas, rows: int, columns: int, jitter: float = 0.01) -> list[Point]:
    """Return the (y, x) centres of a regular arrangement over the canvas, each slightly off its place."""
    return [
        (
            canvas.tall * (i + 0.5) / rows + rng.between(-jitter, jitter),
            canvas.wide * (j + 0.5) / columns + rng.between(-jitter, jitter),
        )
        for i, j in product(range(rows), range(columns))
    ]


def lit(shape: Array, paint: Array, depth: float) -> Array:
    """Shade a round body: `shape` is its signed distance, `depth` how far from the edge it levels off."""
    return paint * (0.55 + 0.45 * smooth(-shape, 0, depth))[..., None]
