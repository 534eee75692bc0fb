"""Defect kinds to train on. Each function is one kind (see `marks.Defect`)."""

import numpy as np

from datasets.standin.marks import Defect, blob, contrast, loose_parts, spot, stroke
from datasets.standin.raster import (
    Array,
    Rng,
    between,
    blur,
    box,
    colour,
    disc,
    fractal,
    mix,
    noise,
    path,
    pick,
    rotor,
    sample,
    sign,
    smooth,
    wave,
    whole,
)
from datasets.standin.scene import Part, Scene

# On surfaces.


def fibre(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A coloured thread lying in loops, with its shadow."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    points = stroke(rng, y, x, between(rng, 0.5, 0.9), 12, 0.1)
    d, _ = path(canvas, points)
    shade = contrast(rng, image, canvas, y, x)
    thread = colour(rng, (0.75, 0.95) if shade > 0 else (0.08, 0.3), (0, 0.8))
    cover = canvas.cover(d - between(rng, 0.01, 0.016)) * scene.region
    shadow = canvas.cover(np.roll(d, (2, 1), axis=(0, 1)) - 0.014) * scene.region
    return mix(mix(image, 0.75 * image, shadow), thread, cover * (0.4 + 0.6 * strength)), cover


def dent(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A round depression or bump: bright on one flank, dark on the other."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    radius = between(rng, 0.08, 0.14)
    c, s = rotor(float(rng.random()))
    v, u = canvas.y - y, canvas.x - x
    flank = (v * s + u * c) / radius * smooth(1 - disc(v, u, 0) / (1.25 * radius), 0, 0.7)
    shade = (0.4 + 0.7 * strength) * 1.4 * flank * scene.region
    cover = canvas.cover(disc(v, u, radius)) * scene.region
    return np.clip(image + shade[..., None] * (0.25 + 0.5 * image), 0, 1), cover


def smear(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """The surface is wiped: detail is dragged out and greyed along one direction."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    v, u = canvas.local(y, x, float(rng.random()))
    d = box(v, u, between(rng, 0.06, 0.1), between(rng, 0.1, 0.18), 0.05) + 0.03 * noise(rng, 30 * v, 6 * u)
    wiped = blur(image, max(2, canvas.unit // 18))
    haze = (
        contrast(rng, image, canvas, y, x) * (0.1 + 0.25 * strength) * (1 + 0.5 * noise(rng, 50 * v, 5 * u))
    )
    cover = canvas.cover(d, 0.03) * scene.region
    return mix(image, np.clip(wiped + haze[..., None], 0, 1), cover * (0.5 + 0.5 * strength)), cover


def shift(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A straight-edged block of the surface has slipped or turned, leaving a seam."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    v, u = canvas.local(y, x, float(rng.random()))
    d = box(v, u, between(rng, 0.07, 0.11), between(rng, 0.1, 0.16))
    c, s = rotor(pick(rng, (0.125, 0.25, 0.375)))
    rows, columns = (canvas.y - y) * c - (canvas.x - x) * s + y, (canvas.y - y) * s + (canvas.x - x) * c + x
    slipped = sample(image, rows * canvas.unit + whole(rng, 3, 6), columns * canvas.unit + whole(rng, 3, 6))
    cover = canvas.cover(d) * scene.region
    seam = canvas.cover(np.abs(d) - 0.008) * scene.region
    turned = mix(image, np.clip(slipped * (1 + 0.12 * sign(rng)), 0, 1), cover * (0.6 + 0.4 * strength))
    return mix(turned, 0.45 * turned, seam * (0.3 + 0.5 * strength)), cover


def corrosion(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A patch of pits or crust: fine rough spots that crowd towards its middle."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    d = blob(rng, canvas, y, x, between(rng, 0.09, 0.15), 0.4, 2)
    spots = smooth(noise(rng, 32 * canvas.y, 32 * canvas.x) - 0.3 + 6 * np.clip(-d, 0, 0.1), 0, 0.3)
    shade = contrast(rng, image, canvas, y, x)
    crust = colour(rng, (0.7, 0.95), (0, 0.4)) if shade > 0 else colour(rng, (0.15, 0.3), (0, 0.7))
    cover = canvas.cover(d, 0.02) * scene.region
    return mix(image, crust, cover * spots * (0.4 + 0.6 * strength)), cover


def patch(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A sticker or a piece of tape: a flat rectangle with a thin edge."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    v, u = canvas.local(y, x, float(rng.random()))
    d = box(v, u, between(rng, 0.04, 0.08), between(rng, 0.08, 0.15), 0.01)
    shade = contrast(rng, image, canvas, y, x)
    film = colour(rng, (0.7, 0.95) if shade > 0 else (0.15, 0.4), (0, 0.6))
    sheen = film * (1 + 0.08 * wave(6 * u) + 0.05 * fractal(rng, 12 * v, 12 * u))[..., None]
    cover = canvas.cover(d) * scene.region
    edge = canvas.cover(np.abs(d) - 0.006) * scene.region
    taped = mix(image, sheen, cover * (0.35 + 0.55 * strength))
    return mix(taped, 0.6 * taped, 0.6 * edge), cover


def bubbles(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A few blisters: thin rings with a highlight."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    cover = np.zeros((canvas.height, canvas.width))
    for _ in range(whole(rng, 2, 4)):
        radius = between(rng, 0.035, 0.065)
        v, u = canvas.y - y, canvas.x - x
        ring = smooth(0.013 - np.abs(disc(v, u, radius)), 0, 0.013) * scene.region
        gleam = (
            smooth(0.35 * radius - disc(v + 0.4 * radius, u + 0.4 * radius, 0), 0, 0.3 * radius)
            * scene.region
        )
        shade = contrast(rng, image, canvas, y, x)
        image = mix(image, np.clip(image + 0.6 * shade, 0, 1), ring * (0.4 + 0.6 * strength))
        image = mix(image, 1.0, gleam * (0.3 + 0.5 * strength))
        cover = np.maximum(cover, canvas.cover(disc(v, u, radius)) * scene.region)
        y, x = y + 2 * radius * sign(rng), x + between(rng, -0.1, 0.1)
    return image, cover


def discoloured(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A wedge-shaped area has taken on another hue and brightness."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    v, u = canvas.local(y, x, float(rng.random()))
    half = between(rng, 0.1, 0.16)
    d = np.maximum(np.maximum(-u - half, u - half), np.abs(v) - 0.25 * (u + half) - 0.02)
    other = np.roll(image, pick(rng, (1, 2)), axis=-1) * colour(rng, (0.9, 1.0), (0.1, 0.4))
    other = other + 0.25 * contrast(rng, image, canvas, y, x) * strength
    cover = canvas.cover(d, 0.015) * scene.region
    return mix(image, np.clip(other, 0, 1), cover * (0.5 + 0.5 * strength)), cover


# On parts.


def moved(part: Part, rows: int, columns: int) -> Part:
    """Return the part shifted by whole pixels; what leaves the picture is lost."""
    h, w = part.cover.shape
    source = slice(max(0, -rows), h - max(0, rows)), slice(max(0, -columns), w - max(0, columns))
    target = slice(max(0, rows), h - max(0, -rows)), slice(max(0, columns), w - max(0, -columns))
    cover = np.zeros_like(part.cover)
    cover[target] = part.cover[source]
    if part.paint.ndim == 1:
        return Part(cover, part.paint)
    paint = np.zeros_like(part.paint)
    paint[target] = part.paint[source]
    return Part(cover, paint)


def misplaced_part(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """One of the loose parts lies beside its place."""
    k = pick(rng, loose_parts(scene))
    reach = scene.canvas.unit * (0.06 + 0.06 * strength)
    c, s = rotor(float(rng.random()))
    stray = moved(scene.parts[k], round(reach * s), round(reach * c))
    rest = [part for j, part in enumerate(scene.parts) if j != k]
    return scene.render([*rest, stray]), np.maximum(scene.parts[k].cover, stray.cover)


def extra_part(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A second copy of a loose part lies where none belongs."""
    k = pick(rng, loose_parts(scene))
    reach = scene.canvas.unit * between(rng, 0.14, 0.24)
    c, s = rotor(float(rng.random()))
    stray = moved(scene.parts[k], round(reach * s), round(reach * c))
    return scene.render([*scene.parts, Part(stray.cover, stray.paint)]), stray.cover


# In organs.


def cyst(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A smooth round cavity, even inside, with a thin bright wall."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    v, u = canvas.local(y, x)
    d = disc(v, u, between(rng, 0.06, 0.11))
    shade = contrast(rng, image, canvas, y, x)
    fluid = np.clip(image + shade * (0.15 + 0.3 * strength), 0, 1)
    wall = canvas.cover(np.abs(d) - 0.008, 0.01) * scene.region
    cover = canvas.cover(d) * scene.region
    even = mix(image, blur(fluid, 2), cover)
    return mix(even, np.clip(even - 0.4 * shade, 0, 1), wall * (0.3 + 0.6 * strength)), cover


def calcification(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A cluster of small bright grains, dark where the tissue is bright."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    shade = contrast(rng, image, canvas, y, x)
    grains, near = np.zeros((canvas.height, canvas.width)), np.full((canvas.height, canvas.width), np.inf)
    for _ in range(whole(rng, 6, 12)):
        c, s = rotor(float(rng.random()))
        reach = 0.1 * float(rng.random())
        d = disc(canvas.y - y - reach * s, canvas.x - x - reach * c, between(rng, 0.012, 0.022))
        grains, near = np.maximum(grains, canvas.cover(d)), np.minimum(near, d)
    salt = np.clip(image + shade * (0.35 + 0.5 * strength), 0, 1)
    return mix(image, salt, grains * scene.region), canvas.cover(near - 0.015) * scene.region


def infiltrate(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """Tissue clouded by coarse flecks without a sharp border."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    d = blob(rng, canvas, y, x, between(rng, 0.1, 0.16), 0.5, 2)
    flecks = smooth(fractal(rng, 13 * canvas.y, 13 * canvas.x), -0.4, 0.5)
    shade = contrast(rng, image, canvas, y, x) * (0.2 + 0.4 * strength)
    soft = canvas.cover(d, 0.06) * scene.region
    return np.clip(image + (shade * flecks * soft)[..., None], 0, 1), canvas.cover(d) * scene.region


def ulcer(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A crater: pale or dark floor inside a raised ragged rim of the opposite shade."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    radius = between(rng, 0.07, 0.12)
    d = blob(rng, canvas, y, x, radius, 0.35)
    shade = contrast(rng, image, canvas, y, x) * (0.2 + 0.35 * strength)
    floor = np.clip(image + shade * colour(rng, (0.8, 1.0), (0, 0.4)), 0, 1)
    rim = canvas.cover(np.abs(d) - 0.018, 0.015) * scene.region
    cover = canvas.cover(d) * scene.region
    return mix(mix(image, floor, cover), np.clip(image - 0.7 * shade, 0, 1), rim), cover


SURFACE_DEFECTS: dict[str, Defect] = {
    f.__name__: f for f in (fibre, dent, smear, shift, corrosion, patch, bubbles, discoloured)
}
PART_DEFECTS: dict[str, Defect] = {f.__name__: f for f in (misplaced_part, extra_part)}
LESIONS: dict[str, Defect] = {f.__name__: f for f in (cyst, calcification, infiltrate, ulcer)}
