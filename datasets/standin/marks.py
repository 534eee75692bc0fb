"""What several defect kinds share: where a defect lies, its outline, and the shade that sets it off."""

import math
from collections.abc import Callable

import numpy as np

from datasets.standin.raster import Array, Canvas, Rng, between, noise, oval, quantise, rotor, sign
from datasets.standin.scene import Scene

# A defect takes (rng, scene, strength in 0..1): the damaged picture (H, W, 3) and the defect's cover (H, W).
Defect = Callable[[Rng, Scene, float], tuple[Array, Array]]


def spot(rng: Rng, scene: Scene) -> tuple[float, float]:
    """Return the place (y, x) of a random pixel in the scene's region, off the picture's margin."""
    canvas = scene.canvas
    off_edge = (np.minimum(canvas.y, canvas.tall - canvas.y) > 0.1) & (
        np.minimum(canvas.x, canvas.wide - canvas.x) > 0.1
    )
    inside = np.flatnonzero(scene.region & (off_edge if scene.aim is None else scene.aim))
    row, column = divmod(int(inside[int(rng.random() * len(inside))]), canvas.width)
    return (row + 0.5) / canvas.unit, (column + 0.5) / canvas.unit


def blob(
    rng: Rng, canvas: Canvas, y: float, x: float, radius: float, rough: float = 0.35, long: float = 1.5
) -> Array:
    """Return the signed distance to an irregular rounded outline around (y, x).

    `rough` sets how far the outline strays from an ellipse whose axes differ by up to the factor `long`.
    """
    v, u = canvas.local(y, x, float(rng.random()))
    stretch = math.sqrt(between(rng, 1, long))
    wobble = noise(rng, 1.6 * v / radius, 1.6 * u / radius) + 0.35 * noise(
        rng, 4 * v / radius, 4 * u / radius
    )
    return oval(v, u, radius / stretch, radius * stretch) + rough * radius * wobble


def stroke(
    rng: Rng, y: float, x: float, length: float, steps: int, curl: float, turns: float | None = None
) -> list[tuple[float, float]]:
    """Return a line of `length` centred near (y, x) that turns by up to `curl` at every step."""
    angle = float(rng.random()) if turns is None else turns
    c, s = rotor(angle)
    y, x = y - length * s / 2, x - length * c / 2
    points = [(y, x)]
    for _ in range(steps):
        c, s = rotor(angle)
        y, x = y + length / steps * s, x + length / steps * c
        points.append((y, x))
        angle += between(rng, -curl, curl)
    return points


def level(image: Array, canvas: Canvas, y: float, x: float, reach: float = 0.08) -> float:
    """Return the mean brightness 0..1 around (y, x); summed in integers, so exact."""
    row, column, n = int(y * canvas.unit), int(x * canvas.unit), max(1, int(reach * canvas.unit))
    window = quantise(image[max(0, row - n) : row + n + 1, max(0, column - n) : column + n + 1])
    return int(window.sum(dtype=np.int64)) / (255 * max(1, window.size))


def contrast(rng: Rng, image: Array, canvas: Canvas, y: float, x: float) -> float:
    """Return +1 or -1: whether a mark at (y, x) is lighter or darker than its surroundings.

    Chance decides where the surroundings leave room on both sides.
    """
    here = level(image, canvas, y, x)
    if here > 0.62:
        return -1.0
    return 1.0 if here < 0.38 else sign(rng)


def loose_parts(scene: Scene) -> list[int]:
    """Return the indices of the parts that can be missing, swapped or misplaced."""
    return [k for k, part in enumerate(scene.parts) if part.loose]
