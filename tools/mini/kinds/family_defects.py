"""Defects drawn by chance: each is a whole family (see `damage.Defect`)."""

import numpy as np

from datasets.standin.damage import Damaged, Defect, Spot
from datasets.standin.raster import Array, Canvas, Rng, mix, rotor, smooth
from datasets.standin.scene import Scene
from tools.mini.kinds.families import lattice, mottle, pattern, tessellation


def _foreign(rng: Rng, canvas: Canvas) -> Array:
    """Draw matter of another kind (H, W, 3)."""
    return rng.pick((pattern, mottle, tessellation, lattice))(rng.child(), rng.child(), canvas).ground


def graft(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """Something else in the surface's stead, within a ragged outline or in torn flecks."""
    at = Spot(rng, scene)
    canvas, image = at.canvas, at.image
    d = at.blob(rng.between(0.06, 0.15), rng.between(0.1, 0.6), 3)
    if rng.chance(0.3):
        d = np.maximum(d, 0.06 * rng.noise(canvas.y, canvas.x, 18))
    cover = at.cover(d, rng.between(0, 0.03))
    return mix(image, _foreign(rng, canvas), cover * (0.3 + 0.7 * strength)), cover


def burst(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A star of thin rays around the point where something struck."""
    at = Spot(rng, scene)
    canvas, image = at.canvas, at.image
    shade, cover = at.contrast(), canvas.full(0.0)
    turn, count = rng.random(), rng.whole(3, 7)
    for k in range(count):
        c, s = rotor(turn + (k + rng.between(-0.3, 0.3)) / count)
        reach = rng.between(0.08, 0.25)
        d, along = canvas.path([(at.y, at.x), (at.y + reach * s, at.x + reach * c)])
        cover = np.maximum(cover, canvas.cover(d - rng.between(0.009, 0.016) * (1.1 - 0.6 * along)))
    cover = cover * scene.region
    return mix(image, np.clip(image + shade * (0.25 + 0.4 * strength), 0, 1), cover), cover


def growth(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """Matter that grew where it should not: a mass lighter or darker, its shade rising to core or rim."""
    at = Spot(rng, scene)
    canvas, image = at.canvas, at.image
    radius = rng.between(0.06, 0.16)
    d = at.blob(radius, rng.between(0.1, 0.45), 2.2)
    inward = smooth(-d, 0, radius)
    profile = rng.between(0.4, 1) + rng.sign() * rng.between(0, 0.6) * inward
    c, s = rotor(rng.random())
    profile = profile + rng.between(0, 0.4) * (at.v * s + at.u * c) / radius
    fine = rng.between(8, 24)
    profile = profile + rng.between(0, 0.3) * rng.fractal(canvas.y, canvas.x, fine)
    shift = at.contrast() * (0.15 + 0.4 * strength)
    grey = not np.any(image[..., 0] != image[..., 2])
    tint = np.ones(3) if grey else rng.colour((0.7, 1.0), (0, 0.6))
    base = image if rng.chance(0.6) else np.full_like(image, rng.between(0.3, 0.7))
    mass = np.clip(base + shift * profile[..., None] * tint, 0, 1)
    cover = at.cover(d, rng.between(0.005, 0.04))
    return mix(image, mass, cover * (0.5 + 0.5 * strength)), cover


SURFACE_DEFECTS: dict[str, Defect] = {f.__name__: f for f in (graft, burst)}
LESIONS: dict[str, Defect] = {f.__name__: f for f in (growth,)}
