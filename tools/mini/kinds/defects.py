"""Defect kinds to train on. Each function is one kind (see `damage.Defect`)."""

import numpy as np

from datasets.standin.damage import Damaged, Defect, Spot, contrast, stroke
from datasets.standin.raster import Rng, blur, box, disc, mix, rotor, sample, smooth, wave
from datasets.standin.scene import Part, Scene

# On surfaces.


def fibre(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A coloured thread lying in loops, with its shadow."""
    at = Spot(rng, scene)
    d, _ = at.canvas.path(stroke(rng, at.y, at.x, rng.between(0.5, 0.9), 12, 0.1))
    shade = at.contrast()
    thread = rng.colour((0.75, 0.95) if shade > 0 else (0.08, 0.3), (0, 0.8))
    cover = at.cover(d - rng.between(0.01, 0.016))
    shadow = at.cover(np.roll(d, (2, 1), axis=(0, 1)) - 0.014)
    return mix(mix(at.image, 0.75 * at.image, shadow), thread, cover * (0.4 + 0.6 * strength)), cover


def dent(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A round depression or bump: bright on one flank, dark on the other."""
    at = Spot(rng, scene)
    radius = rng.between(0.08, 0.14)
    c, s = rotor(rng.random())
    v, u = at.v, at.u
    flank = (v * s + u * c) / radius * smooth(1 - disc(v, u, 0) / (1.25 * radius), 0, 0.7)
    shade = (0.4 + 0.7 * strength) * 1.4 * flank * scene.region
    cover = at.cover(disc(v, u, radius))
    return np.clip(at.image + shade[..., None] * (0.25 + 0.5 * at.image), 0, 1), cover


def smear(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """The surface is wiped: detail is dragged out and greyed along one direction."""
    at = Spot(rng, scene)
    v, u = at.frame(rng.random())
    d = box(v, u, rng.between(0.06, 0.1), rng.between(0.1, 0.18), 0.05) + 0.03 * rng.noise(30 * v, 6 * u)
    wiped = blur(at.image, max(2, at.canvas.unit // 18))
    haze = at.contrast() * (0.1 + 0.25 * strength) * (1 + 0.5 * rng.noise(50 * v, 5 * u))
    cover = at.cover(d, 0.03)
    return mix(at.image, np.clip(wiped + haze[..., None], 0, 1), cover * (0.5 + 0.5 * strength)), cover


def shift(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A straight-edged block of the surface has slipped or turned, leaving a seam."""
    at = Spot(rng, scene)
    unit, (v, u) = at.canvas.unit, at.frame(rng.random())
    d = box(v, u, rng.between(0.07, 0.11), rng.between(0.1, 0.16))
    c, s = rotor(rng.pick((0.125, 0.25, 0.375)))
    rows, columns = at.v * c - at.u * s + at.y, at.v * s + at.u * c + at.x
    slipped = sample(at.image, rows * unit + rng.whole(3, 6), columns * unit + rng.whole(3, 6))
    cover = at.cover(d)
    seam = at.cover(np.abs(d) - 0.008)
    turned = mix(at.image, np.clip(slipped * (1 + 0.12 * rng.sign()), 0, 1), cover * (0.6 + 0.4 * strength))
    return mix(turned, 0.45 * turned, seam * (0.3 + 0.5 * strength)), cover


def corrosion(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A patch of pits or crust: fine rough spots that crowd towards its middle."""
    at = Spot(rng, scene)
    d = at.blob(rng.between(0.09, 0.15), 0.4, 2)
    spots = smooth(rng.noise(at.canvas.y, at.canvas.x, 32) - 0.3 + 6 * np.clip(-d, 0, 0.1), 0, 0.3)
    shade = at.contrast()
    crust = rng.colour((0.7, 0.95), (0, 0.4)) if shade > 0 else rng.colour((0.15, 0.3), (0, 0.7))
    cover = at.cover(d, 0.02)
    return mix(at.image, crust, cover * spots * (0.4 + 0.6 * strength)), cover


def patch(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A sticker or a piece of tape: a flat rectangle with a thin edge."""
    at = Spot(rng, scene)
    v, u = at.frame(rng.random())
    d = box(v, u, rng.between(0.04, 0.08), rng.between(0.08, 0.15), 0.01)
    shade = at.contrast()
    film = rng.colour((0.7, 0.95) if shade > 0 else (0.15, 0.4), (0, 0.6))
    sheen = film * (1 + 0.08 * wave(6 * u) + 0.05 * rng.fractal(v, u, 12))[..., None]
    cover = at.cover(d)
    edge = at.cover(np.abs(d) - 0.006)
    taped = mix(at.image, sheen, cover * (0.35 + 0.55 * strength))
    return mix(taped, 0.6 * taped, 0.6 * edge), cover


def bubbles(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A few blisters: thin rings with a highlight."""
    at = Spot(rng, scene)
    canvas, image = at.canvas, at.image
    y, x, cover = at.y, at.x, canvas.full(0.0)
    for _ in range(rng.whole(2, 4)):
        radius = rng.between(0.035, 0.065)
        v, u = canvas.local(y, x)
        ring = smooth(0.013 - np.abs(disc(v, u, radius)), 0, 0.013) * scene.region
        near = disc(v + 0.4 * radius, u + 0.4 * radius, 0)
        gleam = smooth(0.35 * radius - near, 0, 0.3 * radius) * scene.region
        shade = contrast(rng, image, canvas, y, x)
        image = mix(image, np.clip(image + 0.6 * shade, 0, 1), ring * (0.4 + 0.6 * strength))
        image = mix(image, 1.0, gleam * (0.3 + 0.5 * strength))
        cover = np.maximum(cover, at.cover(disc(v, u, radius)))
        y, x = y + 2 * radius * rng.sign(), x + rng.between(-0.1, 0.1)
    return image, cover


def discoloured(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A wedge-shaped area has taken on another hue and brightness."""
    at = Spot(rng, scene)
    v, u = at.frame(rng.random())
    half = rng.between(0.1, 0.16)
    d = np.maximum(np.maximum(-u - half, u - half), np.abs(v) - 0.25 * (u + half) - 0.02)
    other = np.roll(at.image, rng.pick((1, 2)), axis=-1) * rng.colour((0.9, 1.0), (0.1, 0.4))
    other = other + 0.25 * at.contrast() * strength
    cover = at.cover(d, 0.015)
    return mix(at.image, np.clip(other, 0, 1), cover * (0.5 + 0.5 * strength)), cover


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


def misplaced_part(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """One of the loose parts lies beside its place."""
    k = rng.pick(scene.loose_parts)
    reach = scene.canvas.unit * (0.06 + 0.06 * strength)
    c, s = rotor(rng.random())
    stray = moved(scene.parts[k], round(reach * s), round(reach * c))
    rest = [part for j, part in enumerate(scene.parts) if j != k]
    return scene.render([*rest, stray]), np.maximum(scene.parts[k].cover, stray.cover)


def extra_part(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A second copy of a loose part lies where none belongs."""
    k = rng.pick(scene.loose_parts)
    reach = scene.canvas.unit * rng.between(0.14, 0.24)
    c, s = rotor(rng.random())
    stray = moved(scene.parts[k], round(reach * s), round(reach * c))
    return scene.render([*scene.parts, Part(stray.cover, stray.paint)]), stray.cover


# In organs.


def cyst(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A smooth round cavity, even inside, with a thin bright wall."""
    at = Spot(rng, scene)
    d = disc(at.v, at.u, rng.between(0.06, 0.11))
    shade = at.contrast()
    fluid = np.clip(at.image + shade * (0.15 + 0.3 * strength), 0, 1)
    wall = at.cover(np.abs(d) - 0.008, 0.01)
    cover = at.cover(d)
    even = mix(at.image, blur(fluid, 2), cover)
    return mix(even, np.clip(even - 0.4 * shade, 0, 1), wall * (0.3 + 0.6 * strength)), cover


def calcification(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A cluster of small bright grains, dark where the tissue is bright."""
    at = Spot(rng, scene)
    canvas, image = at.canvas, at.image
    shade = at.contrast()
    grains, near = canvas.full(0.0), canvas.full(np.inf)
    for _ in range(rng.whole(6, 12)):
        c, s = rotor(rng.random())
        reach = 0.1 * rng.random()
        d = disc(at.v - reach * s, at.u - reach * c, rng.between(0.012, 0.022))
        grains, near = np.maximum(grains, canvas.cover(d)), np.minimum(near, d)
    salt = np.clip(image + shade * (0.35 + 0.5 * strength), 0, 1)
    return mix(image, salt, grains * scene.region), at.cover(near - 0.015)


def infiltrate(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """Tissue clouded by coarse flecks without a sharp border."""
    at = Spot(rng, scene)
    d = at.blob(rng.between(0.1, 0.16), 0.5, 2)
    flecks = smooth(rng.fractal(at.canvas.y, at.canvas.x, 13), -0.4, 0.5)
    shade = at.contrast() * (0.2 + 0.4 * strength)
    soft = at.cover(d, 0.06)
    return np.clip(at.image + (shade * flecks * soft)[..., None], 0, 1), at.cover(d)


def ulcer(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A crater: pale or dark floor inside a raised ragged rim of the opposite shade."""
    at = Spot(rng, scene)
    radius = rng.between(0.07, 0.12)
    d = at.blob(radius, 0.35)
    shade = at.contrast() * (0.2 + 0.35 * strength)
    floor = np.clip(at.image + shade * rng.colour((0.8, 1.0), (0, 0.4)), 0, 1)
    rim = at.cover(np.abs(d) - 0.018, 0.015)
    cover = at.cover(d)
    return mix(mix(at.image, floor, cover), np.clip(at.image - 0.7 * shade, 0, 1), rim), cover


SURFACE_DEFECTS: dict[str, Defect] = {
    f.__name__: f for f in (fibre, dent, smear, shift, corrosion, patch, bubbles, discoloured)
}
PART_DEFECTS: dict[str, Defect] = {f.__name__: f for f in (misplaced_part, extra_part)}
LESIONS: dict[str, Defect] = {f.__name__: f for f in (cyst, calcification, infiltrate, ulcer)}
