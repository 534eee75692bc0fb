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
from itertools import pairwise, product
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]
Range = tuple[float, float]
Point = tuple[float, float]
T = TypeVar("T")

_TABLE = 64  # lattice noise repeats after this many cells, more than any picture holds


class Rng(np.random.Generator):
    """A stream of random numbers that also draws choices, colours and fields of noise."""

    def child(self) -> "Rng":
        """Return a new stream seeded by this one, so that what it draws shifts nothing drawn here."""
        return Rng(np.random.PCG64(int(self.random() * 2**53)))

    def between(self, low: float, high: float) -> float:
        """Draw a number from [low, high)."""
        return low + (high - low) * self.random()

    def whole(self, low: int, high: int) -> int:
        """Draw an integer from low..high, both included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of `options`."""
        return options[int(self.random() * len(options))]

    def chance(self, share: float) -> bool:
        """Return True with probability `share`."""
        return self.random() < share

    def sign(self) -> float:
        """Draw -1.0 or 1.0."""
        return 1.0 if self.random() < 0.5 else -1.0

    def colour(self, light: Range, saturation: Range, hue: float | None = None) -> Array:
        """Draw a colour (3,) of given lightness and saturation; hue 0 is red, 1/3 green, 2/3 blue."""
        h = self.random() if hue is None else hue
        level, depth = self.between(*light), self.between(*saturation)
        return np.clip(level * (1 + depth * wave(h + 0.25 - np.arange(3) / 3)), 0, 1)

    def noise(self, v: Array, u: Array, scale: float = 1.0) -> Array:
        """Value noise in -1..1 with `scale` random values per unit of the coordinates (v, u)."""
        table = 2 * self.random((_TABLE, _TABLE)) - 1
        v, u = v * scale, u * scale
        i, j = np.floor(v), np.floor(u)
        s, t = smooth(v - i), smooth(u - j)
        i0, j0 = i.astype(np.intp) % _TABLE, j.astype(np.intp) % _TABLE
        i1, j1 = (i0 + 1) % _TABLE, (j0 + 1) % _TABLE
        return mix(mix(table[i0, j0], table[i0, j1], t), mix(table[i1, j0], table[i1, j1], t), s)

    def fractal(self, v: Array, u: Array, scale: float = 1.0, octaves: int = 2) -> Array:
        """Sum of value noises at doubling frequency and half the strength, in about -1..1."""
        v, u = v * scale, u * scale
        total = self.noise(v, u)
        for k in range(1, octaves):
            # Each octave is turned a little, which hides the lattice.
            c, s = rotor(0.1 * k)
            a, b = (v * c - u * s) * 2**k, (v * s + u * c) * 2**k
            total = total + self.noise(a + 0.37, b + 0.71) / 2**k
        return total / (2 - 0.5 ** (octaves - 1))

    def grain(self, canvas: "Canvas") -> Array:
        """Independent noise per pixel, triangular in -1..1, (H, W)."""
        shape = (canvas.height, canvas.width)
        return self.random(shape) - self.random(shape)

    def cells(self, v: Array, u: Array, jitter: float = 1.0) -> tuple[Array, Array, Array]:
        """Cellular noise with one point per unit cell.

        Returns the distances to the nearest and the second nearest point, and a value in 0..1 that is
        constant within each point's cell.
        """
        table = self.random((3, 32, 32))
        i, j = np.floor(v), np.floor(u)
        i0, j0 = i.astype(np.intp), j.astype(np.intp)
        first = np.full(np.broadcast_shapes(v.shape, u.shape), np.inf)
        second, label = first.copy(), np.zeros_like(first)
        for di, dj in product((-1, 0, 1), repeat=2):
            a, b = (i0 + di) % 32, (j0 + dj) % 32
            dv = i + di + 0.5 + jitter * (table[0, a, b] - 0.5) - v
            du = j + dj + 0.5 + jitter * (table[1, a, b] - 0.5) - u
            squared = dv * dv + du * du
            nearer = squared < first
            second = np.where(nearer, first, np.minimum(second, squared))
            label = np.where(nearer, table[2, a, b], label)
            first = np.where(nearer, squared, first)
        return np.sqrt(first), np.sqrt(second), label


def stream(*names: str | int) -> Rng:
    """Return the random stream that belongs to a path of names, independent of all other paths."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return Rng(np.random.PCG64(int.from_bytes(digest[:16], "little")))


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

    def full(self, value: float) -> Array:
        """Return a field (H, W) of one value."""
        return np.full((self.height, self.width), value)

    def middle(self, rng: Rng, jitter: float) -> Point:
        """Draw a point (y, x) within `jitter` of the picture's middle along either side."""
        return self.tall / 2 + rng.between(-jitter, jitter), self.wide / 2 + rng.between(-jitter, jitter)

    def point(self, rng: Rng) -> Point:
        """Draw a point (y, x) anywhere in the picture."""
        return rng.between(0, self.tall), rng.between(0, self.wide)

    def local(self, y: float, x: float, turns: float = 0.0) -> tuple[Array, Array]:
        """Return the grid's coordinates (v, u) in a frame centred at (y, x) and turned by `turns`."""
        c, s = rotor(turns)
        dy, dx = self.y - y, self.x - x
        return dy * c - dx * s, dy * s + dx * c

    def cover(self, distance: Array, soft: float = 0.0) -> Array:
        """Turn a signed distance (negative inside) into coverage 0..1, (H, W).

        The edge is one pixel wide, or `soft` units where that is wider.
        """
        return np.clip(0.5 - distance / max(1 / self.unit, soft), 0, 1) + self.full(0.0)

    def inside(self, distance: Array) -> Mask:
        """Return which pixels lie inside a signed distance, (H, W)."""
        return self.cover(distance) > 0.5

    def path(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return the distance to a polyline of (y, x) points, and how far along it (0..1) that is."""
        best, along = self.full(np.inf), self.full(0.0)
        for k, ((y0, x0), (y1, x1)) in enumerate(pairwise(points)):
            dy, dx = y1 - y0, x1 - x0
            t = ((self.y - y0) * dy + (self.x - x0) * dx) / max(dy * dy + dx * dx, 1e-9)
            t = np.clip(t, 0, 1)
            distance = disc(self.y - y0 - t * dy, self.x - x0 - t * dx, 0)
            nearer = distance < best
            best = np.where(nearer, distance, best)
            along = np.where(nearer, (k + t) / (len(points) - 1), along)
        return best, along


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


# Fields.


def fraction(a: Array) -> Array:
    """Return a - floor(a)."""
    return a - np.floor(a)


def smooth(a: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """Smooth step: 0 below `low`, 1 above `high`."""
    t = np.clip((a - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


# Pictures: (H, W) or (H, W, 3).


def mix(image: Array | float, paint: Array | float, cover: Array) -> Array:
    """Lay `paint` over `image` where `cover` (H, W) is 1; each is a value, a colour or a picture."""
    coloured = np.ndim(image) % 2 or np.ndim(paint) % 2
    return image + (paint - image) * (cover[..., None] if coloured else cover)


def tinted(field: Array, dark: Array, light: Array) -> Array:
    """Map a field 0..1 (H, W) to a picture (H, W, 3) between two colours."""
    return dark + (light - dark) * np.clip(field, 0, 1)[..., None]


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
