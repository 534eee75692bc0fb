"""Drawing by arithmetic that gives the same pixels on every machine.

Every routine uses only operations that IEEE 754 rounds in one way (add, multiply, divide, square root,
compare, round) and the bit stream of PCG64. There is no libm, no BLAS, no thread and no sum whose order
depends on the processor; sine is a polynomial. Coordinates are in units of the picture's short side,
with y before x; angles are in whole turns; values and colours lie in 0..1.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator
T = TypeVar("T")

_TABLE = 64  # lattice noise repeats after this many cells, more than any picture holds


def stream(*names: str | int) -> Rng:
    """Return the random stream that belongs to a path of names, independent of all other paths."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def child(rng: Rng) -> Rng:
    """Return a new stream seeded by `rng`, so that what it draws does not shift what `rng` draws next."""
    return np.random.Generator(np.random.PCG64(int(rng.random() * 2**53)))


def between(rng: Rng, low: float, high: float) -> float:
    """Draw a number from [low, high)."""
    return low + (high - low) * float(rng.random())


def whole(rng: Rng, low: int, high: int) -> int:
    """Draw an integer from low..high, both included."""
    return low + int(rng.random() * (high - low + 1))


def pick(rng: Rng, options: Sequence[T]) -> T:
    """Draw one of `options`."""
    return options[int(rng.random() * len(options))]


def chance(rng: Rng, share: float) -> bool:
    """Return True with probability `share`."""
    return bool(rng.random() < share)


def sign(rng: Rng) -> float:
    """Draw -1.0 or 1.0."""
    return 1.0 if rng.random() < 0.5 else -1.0


def wave(turns: Array) -> Array:
    """Sine of an angle in turns, within 0.0011."""
    t = 2 * (turns - np.rint(turns))
    s = 4 * t * (1 - np.abs(t))
    return 0.225 * s * (np.abs(s) - 1) + s


def rotor(turns: float) -> tuple[float, float]:
    """Return (cos, sin) of an angle in turns, scaled to length one."""
    s, c = (float(v) for v in wave(np.array([turns, turns + 0.25])))
    length = math.sqrt(c * c + s * s)
    return c / length, s / length


@dataclass(frozen=True)
class Canvas:
    """A pixel grid of `height` x `width`; `tall` and `wide` are its sides in units of the shorter one."""

    height: int
    width: int

    @property
    def unit(self) -> int:
        """Pixels per unit."""
        return min(self.height, self.width)

    @property
    def tall(self) -> float:
        """Height in units."""
        return self.height / self.unit

    @property
    def wide(self) -> float:
        """Width in units."""
        return self.width / self.unit

    @cached_property
    def y(self) -> Array:
        """Pixel centres along the height, (H, 1)."""
        return ((np.arange(self.height) + 0.5) / self.unit)[:, None]

    @cached_property
    def x(self) -> Array:
        """Pixel centres along the width, (1, W)."""
        return ((np.arange(self.width) + 0.5) / self.unit)[None, :]

    def local(self, y: float, x: float, turns: float = 0.0) -> tuple[Array, Array]:
        """Return the grid's coordinates (v, u) in a frame centred at (y, x) and turned by `turns`."""
        c, s = rotor(turns)
        dy, dx = self.y - y, self.x - x
        return dy * c - dx * s, dy * s + dx * c

    def cover(self, distance: Array, soft: float = 0.0) -> Array:
        """Turn a signed distance (negative inside) into coverage 0..1, (H, W).

        The edge is one pixel wide, or `soft` units where that is wider.
        """
        edge = max(1 / self.unit, soft)
        return np.clip(0.5 - distance / edge, 0, 1) + np.zeros((self.height, self.width))


# Signed distances: negative inside.


def disc(v: Array, u: Array, radius: float) -> Array:
    """Distance to a disc around the frame's origin."""
    return np.sqrt(v * v + u * u) - radius


def oval(v: Array, u: Array, a: float, b: float) -> Array:
    """Approximate distance to an ellipse with half axes a (along v) and b (along u)."""
    return (np.sqrt((v / a) * (v / a) + (u / b) * (u / b)) - 1) * min(a, b)


def box(v: Array, u: Array, a: float, b: float, corner: float = 0.0) -> Array:
    """Distance to a rectangle with half sides a and b and rounded corners."""
    q, r = np.abs(v) - a + corner, np.abs(u) - b + corner
    out = np.sqrt(np.maximum(q, 0) * np.maximum(q, 0) + np.maximum(r, 0) * np.maximum(r, 0))
    return out + np.minimum(np.maximum(q, r), 0) - corner


def polygon(v: Array, u: Array, radius: float, sides: int, turns: float = 0.0) -> Array:
    """Distance to a regular polygon with inscribed circle `radius`."""
    edges = [rotor(turns + k / sides) for k in range(sides)]
    distance = v * edges[0][0] + u * edges[0][1]
    for c, s in edges[1:]:
        distance = np.maximum(distance, v * c + u * s)
    return distance - radius


def path(canvas: Canvas, points: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    """Return the distance to a polyline of (y, x) points, and how far along it (0..1) that is."""
    best = np.full((canvas.height, canvas.width), np.inf)
    along = np.zeros_like(best)
    pieces = len(points) - 1
    for k, ((y0, x0), (y1, x1)) in enumerate(pairwise(points)):
        dy, dx = y1 - y0, x1 - x0
        t = ((canvas.y - y0) * dy + (canvas.x - x0) * dx) / max(dy * dy + dx * dx, 1e-9)
        t = np.clip(t, 0, 1)
        distance = disc(canvas.y - y0 - t * dy, canvas.x - x0 - t * dx, 0)
        nearer = distance < best
        best = np.where(nearer, distance, best)
        along = np.where(nearer, (k + t) / pieces, along)
    return best, along


# Fields.


def fraction(a: Array) -> Array:
    """Return a - floor(a)."""
    return a - np.floor(a)


def smooth(a: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """Smooth step: 0 below `low`, 1 above `high`."""
    t = np.clip((a - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: Rng, v: Array, u: Array) -> Array:
    """Value noise in -1..1 with one random value per unit cell of the coordinates (v, u)."""
    table = 2 * rng.random((_TABLE, _TABLE)) - 1
    i, j = np.floor(v), np.floor(u)
    s, t = smooth(v - i), smooth(u - j)
    i0, j0 = i.astype(np.intp) % _TABLE, j.astype(np.intp) % _TABLE
    i1, j1 = (i0 + 1) % _TABLE, (j0 + 1) % _TABLE
    top, bottom = table[i0, j0], table[i1, j0]
    top = top + (table[i0, j1] - top) * t
    bottom = bottom + (table[i1, j1] - bottom) * t
    return top + (bottom - top) * s


def fractal(rng: Rng, v: Array, u: Array, octaves: int = 2) -> Array:
    """Sum of value noises at doubling frequency and half the strength, in about -1..1."""
    total = noise(rng, v, u)
    for k in range(1, octaves):
        # Each octave is turned a little, which hides the lattice.
        c, s = rotor(0.1 * k)
        a, b = (v * c - u * s) * 2**k, (v * s + u * c) * 2**k
        total = total + noise(rng, a + 0.37, b + 0.71) / 2**k
    return total / (2 - 0.5 ** (octaves - 1))


def grain(rng: Rng, canvas: Canvas) -> Array:
    """Independent noise per pixel, triangular in -1..1, (H, W)."""
    shape = (canvas.height, canvas.width)
    return rng.random(shape) - rng.random(shape)


def cells(rng: Rng, v: Array, u: Array, jitter: float = 1.0) -> tuple[Array, Array, Array]:
    """Cellular noise with one point per unit cell.

    Returns the distances to the nearest and the second nearest point, and a value in 0..1 that is
    constant within each point's cell.
    """
    table = rng.random((3, 32, 32))
    i, j = np.floor(v), np.floor(u)
    i0, j0 = i.astype(np.intp), j.astype(np.intp)
    first = np.full(np.broadcast_shapes(v.shape, u.shape), np.inf)
    second, label = first.copy(), np.zeros_like(first)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            a, b = (i0 + di) % 32, (j0 + dj) % 32
            dv = i + di + 0.5 + jitter * (table[0, a, b] - 0.5) - v
            du = j + dj + 0.5 + jitter * (table[1, a, b] - 0.5) - u
            squared = dv * dv + du * du
            nearer = squared < first
            second = np.where(nearer, first, np.minimum(second, squared))
            label = np.where(nearer, table[2, a, b], label)
            first = np.where(nearer, squared, first)
    return np.sqrt(first), np.sqrt(second), label


# Pictures: (H, W) or (H, W, 3).


def mix(image: Array, paint: Array | float, cover: Array) -> Array:
    """Lay `paint` (a value, a colour or a picture) over `image` where `cover` (H, W) is 1."""
    return image + (paint - image) * (cover[..., None] if image.ndim == 3 else cover)


def tinted(field: Array, dark: Array, light: Array) -> Array:
    """Map a field 0..1 (H, W) to a picture (H, W, 3) between two colours."""
    return dark + (light - dark) * np.clip(field, 0, 1)[..., None]


def colour(
    rng: Rng, light: tuple[float, float], saturation: tuple[float, float], hue: float | None = None
) -> Array:
    """Draw a colour (3,) of given lightness and saturation; hue 0 is red, 1/3 green, 2/3 blue."""
    h = float(rng.random()) if hue is None else hue
    level, depth = between(rng, *light), between(rng, *saturation)
    return np.clip(level * (1 + depth * wave(h + 0.25 - np.arange(3) / 3)), 0, 1)


def blur(image: Array, radius: int, passes: int = 2) -> Array:
    """Box blur of (2 radius + 1) pixels along both axes, repeated; edges are extended."""
    for _ in range(passes):
        for axis in (0, 1):
            rest = [(0, 0)] * (image.ndim - 1)
            margin = [*rest[:axis], (radius + 1, radius), *rest[axis:]]
            total = np.cumsum(np.pad(image, margin, mode="edge"), axis=axis)
            n = image.shape[axis]
            high = np.take(total, np.arange(2 * radius + 1, 2 * radius + 1 + n), axis=axis)
            image = (high - np.take(total, np.arange(n), axis=axis)) / (2 * radius + 1)
    return image


def sample(image: Array, rows: Array, columns: Array) -> Array:
    """Read a picture at fractional pixel positions (bilinear; beyond the edge, the edge)."""
    h, w = image.shape[:2]
    r, c = np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)
    r0, c0 = np.floor(r).astype(np.intp), np.floor(c).astype(np.intp)
    r1, c1 = np.minimum(r0 + 1, h - 1), np.minimum(c0 + 1, w - 1)
    s, t = r - r0, c - c0
    top = mix(image[r0, c0], image[r0, c1], t)
    return mix(top, mix(image[r1, c0], image[r1, c1], t), s)


def quantise(image: Array) -> Pixels:
    """Round a picture in 0..1 to 8 bits."""
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
