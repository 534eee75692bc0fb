"""Defects drawn by chance: each is a whole family (see `marks.Defect`)."""

import numpy as np

from datasets.standin.marks import Defect, blob, contrast, spot
from datasets.standin.raster import (
    Array,
    Canvas,
    Rng,
    between,
    chance,
    child,
    colour,
    fractal,
    mix,
    noise,
    path,
    pick,
    rotor,
    sign,
    smooth,
    whole,
)
from datasets.standin.scene import Scene
from tools.mini.kinds.families import lattice, mottle, pattern, tessellation


def _foreign(rng: Rng, canvas: Canvas) -> Array:
    """Draw matter of another kind (H, W, 3)."""
    return pick(rng, (pattern, mottle, tessellation, lattice))(child(rng), child(rng), canvas).ground


def graft(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """Something else in the surface's stead, within a ragged outline or in torn flecks."""
    canvas, image = scene.canvas, scene.render()
    d = blob(rng, canvas, *spot(rng, scene), between(rng, 0.06, 0.15), between(rng, 0.1, 0.6), 3)
    if chance(rng, 0.3):
        d = np.maximum(d, 0.06 * noise(rng, 18 * canvas.y, 18 * canvas.x))
    cover = canvas.cover(d, between(rng, 0, 0.03)) * scene.region
    return mix(image, _foreign(rng, canvas), cover * (0.3 + 0.7 * strength)), cover


def burst(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A star of thin rays around the point where something struck."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    shade, cover = contrast(rng, image, canvas, y, x), np.zeros((canvas.height, canvas.width))
    turn, count = float(rng.random()), whole(rng, 3, 7)
    for k in range(count):
        c, s = rotor(turn + (k + between(rng, -0.3, 0.3)) / count)
        reach = between(rng, 0.08, 0.25)
        d, along = path(canvas, [(y, x), (y + reach * s, x + reach * c)])
        cover = np.maximum(cover, canvas.cover(d - between(rng, 0.009, 0.016) * (1.1 - 0.6 * along)))
    cover = cover * scene.region
    return mix(image, np.clip(image + shade * (0.25 + 0.4 * strength), 0, 1), cover), cover


def growth(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """Matter that grew where it should not: a mass lighter or darker, its shade rising to core or rim."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    radius = between(rng, 0.06, 0.16)
    d = blob(rng, canvas, y, x, radius, between(rng, 0.1, 0.45), 2.2)
    inward = smooth(-d, 0, radius)
    profile = between(rng, 0.4, 1) + sign(rng) * between(rng, 0, 0.6) * inward
    c, s = rotor(float(rng.random()))
    profile = profile + between(rng, 0, 0.4) * ((canvas.y - y) * s + (canvas.x - x) * c) / radius
    fine = between(rng, 8, 24)
    profile = profile + between(rng, 0, 0.3) * fractal(rng, fine * canvas.y, fine * canvas.x)
    shift = contrast(rng, image, canvas, y, x) * (0.15 + 0.4 * strength)
    grey = not np.any(image[..., 0] != image[..., 2])
    tint = np.ones(3) if grey else colour(rng, (0.7, 1.0), (0, 0.6))
    base = image if chance(rng, 0.6) else np.full_like(image, between(rng, 0.3, 0.7))
    mass = np.clip(base + shift * profile[..., None] * tint, 0, 1)
    cover = canvas.cover(d, between(rng, 0.005, 0.04)) * scene.region
    return mix(image, mass, cover * (0.5 + 0.5 * strength)), cover


SURFACE_DEFECTS: dict[str, Defect] = {f.__name__: f for f in (graft, burst)}
LESIONS: dict[str, Defect] = {f.__name__: f for f in (growth,)}
