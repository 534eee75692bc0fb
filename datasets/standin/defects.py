"""Defect kinds. Each function is one kind, drawn at a spot or on the parts of a scene."""

import numpy as np

from datasets.standin.damage import Damaged, Defect, Spot, contrast, place, stroke
from datasets.standin.raster import Rng, disc, mix, oval, rotor, sample, smooth
from datasets.standin.scene import Part, Scene

# On surfaces.


def scratch(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """One to three nearly straight parallel scores with a bright or dark floor and a lip."""
    at = Spot(rng, scene)
    canvas, image = at.canvas, at.image
    shade, turns = at.contrast(), rng.random()
    cover, lip = canvas.full(0.0), canvas.full(0.0)
    c, s = rotor(turns)
    for k in range(rng.whole(1, 3)):
        y, x = at.y + 0.055 * k * c, at.x - 0.055 * k * s
        d, along = canvas.path(stroke(rng, y, x, rng.between(0.25, 0.5), 4, 0.02, turns))
        half = rng.between(0.011, 0.017) * (0.4 + 0.6 * smooth(0.5 - np.abs(along - 0.5), 0, 0.2))
        cover = np.maximum(cover, at.cover(d - half))
        lip = np.maximum(lip, at.cover(np.abs(d - half - 0.008) - 0.006))
    scored = mix(image, np.clip(image - 0.2 * shade * strength, 0, 1), lip)
    return mix(scored, np.clip(image + (0.2 + 0.4 * strength) * shade, 0, 1), cover), cover


def crack(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A jagged dark line that thins out, with a branch or two."""
    at = Spot(rng, scene)
    trunk = stroke(rng, at.y, at.x, rng.between(0.35, 0.6), rng.whole(6, 9), 0.16)
    lines = [(trunk, rng.between(0.012, 0.018))]
    for _ in range(rng.whole(1, 2)):
        y, x = rng.pick(trunk[1:-1])
        lines.append((stroke(rng, y, x, rng.between(0.15, 0.25), 4, 0.16), 0.011))
    cover = at.canvas.full(0.0)
    for points, half in lines:
        d, along = at.canvas.path(points)
        cover = np.maximum(cover, at.cover(d - half * (1.1 - 0.7 * along)))
    dark = contrast(rng, at.image, at.canvas, *place(rng, scene)) < 0
    paint = (
        at.image * (0.75 - 0.6 * strength) if dark else at.image + (1 - at.image) * (0.2 + 0.45 * strength)
    )
    return mix(at.image, paint, cover), cover


def hole(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A ragged opening onto a dark or a pale backing, lit along one edge."""
    at = Spot(rng, scene)
    d, shade = at.blob(rng.between(0.055, 0.11)), at.contrast()
    backing = rng.colour(*(((0.05, 0.15), (0, 0.4)) if shade < 0 else ((0.85, 0.95), (0, 0.1))))
    depth = (0.85 + 0.25 * smooth(-d, 0, 0.06))[..., None] * backing
    rim = at.cover(np.abs(d - 0.01) - 0.01) * (at.v > at.u)
    opened = mix(at.image, at.image - 0.35 * shade * strength, rim)
    return mix(opened, depth, at.cover(d) * (0.45 + 0.55 * strength)), at.cover(d)


def stain(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A spill that tints the surface, blotchy, with a darker tide line."""
    at = Spot(rng, scene)
    image, canvas = at.image, at.canvas
    d = at.blob(rng.between(0.08, 0.15), 0.45, 2.2)
    tint = rng.colour((0.3, 0.55), (0.2, 0.8))
    spill = image + (0.45 + tint - image) * 0.75 if at.contrast() > 0 else image * tint * 1.15
    tide = 0.75 + 0.25 * smooth(d, -0.04, 0) + 0.15 * rng.fractal(canvas.y, canvas.x, 9)
    cover = at.cover(d, 0.02)
    weight = cover * np.clip(tide, 0, 1) * (0.35 + 0.6 * strength)
    return mix(image, np.clip(spill, 0, 1), weight), cover


def bent(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """The surface is pushed or twisted out of its regular course within a rounded area."""
    at = Spot(rng, scene)
    canvas, v, u = at.canvas, at.v, at.u
    radius = rng.between(0.13, 0.2)
    push = smooth(1 - disc(v, u, 0) / radius, 0, 0.8) * canvas.unit * (0.4 + 0.6 * strength)
    rows, columns = canvas.y * canvas.unit - 0.5, canvas.x * canvas.unit - 0.5
    if rng.chance(0.5):  # twist
        turn = 1.4 * rng.pick((-1, 1)) * push
        rows, columns = rows + turn * u, columns - turn * v
    else:
        c, s = rotor(rng.random())
        reach = rng.between(0.07, 0.09)
        rows, columns = rows + push * reach * s, columns + push * reach * c
    bowed = sample(at.image, rows, columns)
    return mix(at.image, bowed, scene.region.astype(float)), at.cover(disc(v, u, 0.75 * radius))


# On parts.


def missing_part(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """One of the loose parts is not there; its bed is left, darker or paler than what is around it."""
    gone = rng.pick(scene.loose_parts)
    bare = scene.render([part for k, part in enumerate(scene.parts) if k != gone])
    cover = scene.parts[gone].cover
    rows, columns = (np.flatnonzero((cover > 0.5).any(axis=axis)) for axis in (1, 0))
    y, x = ((line[0] + line[-1] + 1) / 2 / scene.canvas.unit for line in (rows, columns))
    shade = (0.1 + 0.25 * strength) * contrast(rng, bare, scene.canvas, y, x)
    rim = np.clip(4 * cover * (1 - cover), 0, 1)
    return mix(mix(bare, np.clip(bare + shade, 0, 1), cover), 0.4 * bare, rim), cover


def swapped_part(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """One of the loose parts is replaced by one of another colour."""
    parts = list(scene.parts)
    k = rng.pick(scene.loose_parts)
    old = parts[k]
    hues = np.roll(old.paint, rng.pick((1, 2)), axis=-1)
    new = 0.6 * hues + 0.4 * rng.colour((0.45, 0.7), (0.3, 0.8)) + rng.pick((-0.2, 0.2))
    parts[k] = Part(old.cover, old.paint + (np.clip(new, 0, 1) - old.paint) * (0.5 + 0.5 * strength))
    return scene.render(parts), old.cover


# In organs.


def bleed(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """Fresh blood on CT: a bright pool with a thin dark halo."""
    at = Spot(rng, scene)
    d = at.blob(rng.between(0.07, 0.12), 0.4, 2.8)
    pool = 0.62 + 0.2 * strength + 0.04 * rng.fractal(at.canvas.y, at.canvas.x, 20)
    halo = mix(at.image, 0.75 * at.image, at.cover(d - 0.02, 0.03))
    cover = at.cover(d, 0.018)
    return mix(halo, pool[..., None], cover * (0.4 + 0.6 * strength)), cover


def tumour(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A mass with a bright uneven rim and a duller core, pressing on what surrounds it."""
    radius = rng.between(0.075, 0.125)
    at = Spot(rng, scene)
    d = at.blob(radius, 0.3)
    core = 0.5 + 0.15 * rng.fractal(at.canvas.y, at.canvas.x, 16)
    rim = smooth(0.35 * radius - np.abs(d + 0.3 * radius), 0, 0.3 * radius)
    mass = np.clip(core * (1 - 0.5 * strength) + rim * (0.35 + 0.25 * strength), 0, 1)
    cover = at.cover(d, 0.015)
    return mix(at.image, mass[..., None], cover * (0.4 + 0.6 * strength)), cover


def mole(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A pigmented lesion of uneven colour and outline; some are paler or redder than the skin."""
    radius = rng.between(0.11, 0.2)
    at = Spot(rng, scene)
    d = at.blob(radius)
    brown = rng.colour((0.3, 0.5), (0.3, 0.6), rng.between(0.0, 0.08))
    tint = rng.pick((brown, brown, np.array([0.95, 0.6, 0.6]), np.array([1.15, 1.12, 1.2])))
    network = 1 + 0.25 * rng.fractal(at.canvas.y, at.canvas.x, 11)
    depth = (0.55 + 0.45 * smooth(-d, 0, radius)) * (0.35 + 0.65 * strength)
    cover = at.cover(d, 0.03)
    return mix(at.image, np.clip(at.image * tint * network[..., None], 0, 1), cover * depth), cover


def polyp(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """A dome on the bowel wall: lit on one side, shadowed on the other, with a wet highlight."""
    at = Spot(rng, scene)
    radius = rng.between(0.09, 0.16)
    d = at.blob(radius, 0.15)
    c, s = rotor(rng.random())
    slope = (at.v * s + at.u * c) / radius
    height = smooth(-d, 0, 0.7 * radius)
    flesh = rng.colour((0.55, 0.75), (0.3, 0.55), rng.between(-0.02, 0.05))
    light = 0.75 + 0.25 * height + 0.3 * slope + 0.06 * rng.fractal(at.canvas.y, at.canvas.x, 18)
    shadow = at.cover(d - 0.025, 0.04) * smooth(-slope, 0.2, 1)
    base = mix(at.image, 0.5 * at.image, shadow)
    gleam = oval(at.v - 0.4 * radius * s, at.u - 0.4 * radius * c, 0.02, 0.03)
    body = mix(np.clip(flesh * light[..., None], 0, 1), 0.97, 0.7 * at.canvas.cover(gleam, 0.02))
    cover = at.cover(d, 0.015)
    return mix(base, body, cover * (0.4 + 0.6 * strength)), cover


def nodule(rng: Rng, scene: Scene, strength: float) -> Damaged:
    """An oval darker or lighter than the gland on ultrasound, keeping its speckle, with a thin margin."""
    at = Spot(rng, scene)
    d = at.blob(rng.between(0.08, 0.14), 0.18, 1.8)
    echo = rng.pick((0.65, 0.65, -0.9)) * (0.35 + 0.65 * strength)
    inner = 1 - echo * (1 + 0.2 * rng.noise(at.canvas.y, at.canvas.x, 12))
    margin = smooth(0.012 - np.abs(d), 0, 0.012) * (0.3 if echo > 0 else -0.4) * scene.region
    cover = at.cover(d, 0.012)
    lesion = mix(at.image, np.clip(at.image * inner[..., None], 0, 1), cover)
    return np.clip(lesion * (1 + margin)[..., None], 0, 1), cover


DEFECTS: dict[str, Defect] = {
    f.__name__: f
    for f in (
        *(scratch, crack, hole, stain, bent, missing_part, swapped_part),
        *(bleed, tumour, mole, polyp, nodule),
    )
}
