"""Where on a scene a defect lies, what sets it off, and how it is drawn until it can be seen."""

import math
from collections.abc import Callable

import numpy as np

from datasets.standin.raster import Array, Canvas, Mask, Point, Rng, oval, quantise, rotor
from datasets.standin.scene import Scene

Damaged = tuple[Array, Array]
"""The damaged picture (H, W, 3) and the defect's cover (H, W)."""
Defect = Callable[[Rng, Scene, float], Damaged]
"""Takes a random stream, a scene, and the strength in 0..1."""

_TRIES = 12
_SHARE = (0.006, 0.16)  # of the picture that a defect should cover
_CHANGE = 0.09  # mean change inside the defect that counts as visible


def place(rng: Rng, scene: Scene) -> Point:
    """Draw a pixel (y, x) of the scene's region, off the picture's margin."""
    canvas, aim = scene.canvas, scene.aim
    if aim is None:
        aim = np.minimum(canvas.y, canvas.tall - canvas.y) > 0.1
        aim = aim & (np.minimum(canvas.x, canvas.wide - canvas.x) > 0.1)
    inside = np.flatnonzero(scene.region & aim)
    row, column = divmod(int(inside[int(rng.random() * len(inside))]), canvas.width)
    return (row + 0.5) / canvas.unit, (column + 0.5) / canvas.unit


def contrast(rng: Rng, image: Array, canvas: Canvas, y: float, x: float) -> float:
    """Return +1 or -1: whether a mark at (y, x) is lighter or darker than its surroundings.

    Chance decides where the surroundings leave room on both sides.
    """
    row, column, n = int(y * canvas.unit), int(x * canvas.unit), max(1, int(0.08 * canvas.unit))
    window = quantise(image[max(0, row - n) : row + n + 1, max(0, column - n) : column + n + 1])
    # Summed in integers, so exact.
    level = int(window.sum(dtype=np.int64)) / (255 * max(1, window.size))
    return -1.0 if level > 0.62 else 1.0 if level < 0.38 else rng.sign()


def stroke(
    rng: Rng, y: float, x: float, length: float, steps: int, curl: float, turns: float | None = None
) -> list[Point]:
    """Return a line of `length` centred near (y, x) that turns by up to `curl` at every step."""
    angle = rng.random() if turns is None else turns
    c, s = rotor(angle)
    y, x = y - length * s / 2, x - length * c / 2
    points = [(y, x)]
    for _ in range(steps):
        c, s = rotor(angle)
        y, x = y + length / steps * s, x + length / steps * c
        points.append((y, x))
        angle += rng.between(-curl, curl)
    return points


class Spot:
    """A place (y, x) on a scene, drawn at random, and what draws a defect there."""

    def __init__(self, rng: Rng, scene: Scene) -> None:
        self.rng, self.scene, self.canvas, self.image = rng, scene, scene.canvas, scene.render()
        self.y, self.x = place(rng, scene)
        self.v, self.u = self.canvas.local(self.y, self.x)

    def frame(self, turns: float) -> tuple[Array, Array]:
        """Return coordinates (v, u) around the spot, turned by `turns`."""
        return self.canvas.local(self.y, self.x, turns)

    def blob(self, radius: float, rough: float = 0.35, long: float = 1.5) -> Array:
        """Return the signed distance to an irregular rounded outline around the spot.

        `rough` sets how far the outline strays from an ellipse whose axes differ by up to the factor `long`.
        """
        v, u = self.frame(self.rng.random())
        stretch, noise = math.sqrt(self.rng.between(1, long)), self.rng.noise
        wobble = noise(1.6 * v / radius, 1.6 * u / radius) + 0.35 * noise(4 * v / radius, 4 * u / radius)
        return oval(v, u, radius / stretch, radius * stretch) + rough * radius * wobble

    def contrast(self) -> float:
        """Return +1 or -1: whether a mark here is lighter or darker than its surroundings."""
        return contrast(self.rng, self.image, self.canvas, self.y, self.x)

    def cover(self, distance: Array, soft: float = 0.0) -> Array:
        """Return the coverage (H, W) of a signed distance within the region open to defects."""
        return self.canvas.cover(distance, soft) * self.scene.region


def damage(rng: Rng, scene: Scene, defect: Defect, strength: float) -> tuple[Array, Mask]:
    """Put a defect on a scene: the picture (H, W, 3) in 0..1 and the defect's mask (H, W), never empty.

    A defect that came out too small, too large or hardly visible is drawn again; after some tries the
    most visible one is taken, one of fitting size where there is any.

    Raises RuntimeError for a defect that never leaves a mark.
    """
    normal = quantise(scene.render()).astype(np.int64)
    best: tuple[bool, int] = (False, -1)
    kept: tuple[Array, Mask] | None = None
    for _ in range(_TRIES):
        image, cover = defect(rng.child(), scene, strength)
        mask = cover > 0.4
        area = int(np.count_nonzero(mask))
        if area == 0:
            continue
        # The sum is one of integers: a float sum may round differently elsewhere and tip the choice.
        change = int(np.abs(quantise(image).astype(np.int64) - normal).max(axis=2)[mask].sum()) // area
        rank = _SHARE[0] <= area / mask.size <= _SHARE[1], change
        if rank > best:
            best, kept = rank, (image, mask)
        if best[0] and best[1] >= 255 * _CHANGE:
            break
    if kept is None:
        raise RuntimeError(f"defect {defect.__name__} left no mark in {_TRIES} tries")
    return kept
