"""Defect kinds of the stand-in datasets. Each function is one kind (see `marks.Defect`)."""

import numpy as np

from datasets.standin.marks import Defect, blob, contrast, loose_parts, spot, stroke
from datasets.standin.raster import (
    Array,
    Rng,
    between,
    chance,
    colour,
    disc,
    fractal,
    mix,
    noise,
    oval,
    path,
    pick,
    rotor,
    sample,
    smooth,
    whole,
)
from datasets.standin.scene import Part, Scene

# On surfaces.


def scratch(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """One to three nearly straight parallel scores with a bright or dark floor and a lip."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    shade, turns = contrast(rng, image, canvas, y, x), float(rng.random())
    cover, lip = np.zeros((canvas.height, canvas.width)), np.zeros((canvas.height, canvas.width))
    for k in range(whole(rng, 1, 3)):
        c, s = rotor(turns)
        gap = 0.055 * k
        points = stroke(rng, y + gap * c, x - gap * s, between(rng, 0.25, 0.5), 4, 0.02, turns)
        d, along = path(canvas, points)
        half = between(rng, 0.011, 0.017) * (0.4 + 0.6 * smooth(0.5 - np.abs(along - 0.5), 0, 0.2))
        cover = np.maximum(cover, canvas.cover(d - half))
        lip = np.maximum(lip, canvas.cover(np.abs(d - half - 0.008) - 0.006))
    cover, lip = cover * scene.region, lip * scene.region
    scored = mix(image, np.clip(image - 0.2 * shade * strength, 0, 1), lip)
    return mix(scored, np.clip(image + (0.2 + 0.4 * strength) * shade, 0, 1), cover), cover


def crack(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A jagged dark line that thins out, with a branch or two."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    trunk = stroke(rng, y, x, between(rng, 0.35, 0.6), whole(rng, 6, 9), 0.16)
    lines = [(trunk, between(rng, 0.012, 0.018))]
    for _ in range(whole(rng, 1, 2)):
        y, x = pick(rng, trunk[1:-1])
        lines.append((stroke(rng, y, x, between(rng, 0.15, 0.25), 4, 0.16), 0.011))
    cover = np.zeros((canvas.height, canvas.width))
    for points, half in lines:
        d, along = path(canvas, points)
        cover = np.maximum(cover, canvas.cover(d - half * (1.1 - 0.7 * along)))
    cover = cover * scene.region
    dark = contrast(rng, image, canvas, *spot(rng, scene)) < 0
    open_ = image * (0.75 - 0.6 * strength) if dark else image + (1 - image) * (0.2 + 0.45 * strength)
    return mix(image, open_, cover), cover


def hole(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A ragged opening onto a dark or a pale backing, lit along one edge."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    d = blob(rng, canvas, y, x, between(rng, 0.055, 0.11))
    shade = contrast(rng, image, canvas, y, x)
    backing = colour(rng, (0.05, 0.15), (0, 0.4)) if shade < 0 else colour(rng, (0.85, 0.95), (0, 0.1))
    depth = (0.85 + 0.25 * smooth(-d, 0, 0.06))[..., None] * backing
    cover = canvas.cover(d) * scene.region
    rim = canvas.cover(np.abs(d - 0.01) - 0.01) * (canvas.y - y > canvas.x - x) * scene.region
    opened = mix(image, image - 0.35 * shade * strength, rim)
    return mix(opened, depth, cover * (0.45 + 0.55 * strength)), cover


def stain(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A spill that tints the surface, blotchy, with a darker tide line."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    d = blob(rng, canvas, y, x, between(rng, 0.08, 0.15), 0.45, 2.2)
    tint = colour(rng, (0.3, 0.55), (0.2, 0.8))
    if contrast(rng, image, canvas, y, x) > 0:
        spill = image + (0.45 + tint - image) * 0.75
    else:
        spill = image * tint * 1.15
    tide = 0.75 + 0.25 * smooth(d, -0.04, 0) + 0.15 * fractal(rng, 9 * canvas.y, 9 * canvas.x)
    cover = canvas.cover(d, 0.02) * scene.region
    return mix(image, np.clip(spill, 0, 1), cover * np.clip(tide, 0, 1) * (0.35 + 0.6 * strength)), cover


def bent(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """The surface is pushed or twisted out of its regular course within a rounded area."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    radius = between(rng, 0.13, 0.2)
    v, u = canvas.local(y, x)
    push = smooth(1 - disc(v, u, 0) / radius, 0, 0.8) * canvas.unit * (0.4 + 0.6 * strength)
    rows, columns = canvas.y * canvas.unit - 0.5, canvas.x * canvas.unit - 0.5
    if chance(rng, 0.5):  # twist
        turn = 1.4 * pick(rng, (-1, 1)) * push
        rows, columns = rows + turn * u, columns - turn * v
    else:
        c, s = rotor(float(rng.random()))
        reach = between(rng, 0.07, 0.09)
        rows, columns = rows + push * reach * s, columns + push * reach * c
    cover = canvas.cover(disc(v, u, 0.75 * radius)) * scene.region
    return mix(image, sample(image, rows, columns), scene.region.astype(float)), cover


# On parts.


def missing_part(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """One of the loose parts is not there; its bed is left, darker or paler than what is around it."""
    canvas, gone = scene.canvas, pick(rng, loose_parts(scene))
    bare = scene.render([part for k, part in enumerate(scene.parts) if k != gone])
    cover = scene.parts[gone].cover
    rows, columns = (np.flatnonzero((cover > 0.5).any(axis=axis)) for axis in (1, 0))
    y, x = ((place[0] + place[-1] + 1) / 2 / canvas.unit for place in (rows, columns))
    bed = np.clip(bare + (0.1 + 0.25 * strength) * contrast(rng, bare, canvas, y, x), 0, 1)
    rim = np.clip(4 * cover * (1 - cover), 0, 1)
    return mix(mix(bare, bed, cover), 0.4 * bare, rim), cover


def swapped_part(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """One of the loose parts is replaced by one of another colour."""
    parts = list(scene.parts)
    k = pick(rng, loose_parts(scene))
    old = parts[k]
    hues = np.roll(old.paint, pick(rng, (1, 2)), axis=-1)
    tone = colour(rng, (0.45, 0.7), (0.3, 0.8))
    new = 0.6 * hues + 0.4 * tone + pick(rng, (-0.2, 0.2))
    parts[k] = Part(old.cover, old.paint + (np.clip(new, 0, 1) - old.paint) * (0.5 + 0.5 * strength))
    return scene.render(parts), old.cover


# In organs.


def bleed(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """Fresh blood on CT: a bright pool with a thin dark halo."""
    canvas, image = scene.canvas, scene.render()
    d = blob(rng, canvas, *spot(rng, scene), between(rng, 0.07, 0.12), 0.4, 2.8)
    pool = 0.62 + 0.2 * strength + 0.04 * fractal(rng, 20 * canvas.y, 20 * canvas.x)
    halo = mix(image, 0.75 * image, canvas.cover(d - 0.02, 0.03) * scene.region)
    cover = canvas.cover(d, 0.018) * scene.region
    return mix(halo, np.repeat(pool[..., None], 3, axis=2), cover * (0.4 + 0.6 * strength)), cover


def tumour(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A mass with a bright uneven rim and a duller core, pressing on what surrounds it."""
    canvas, image = scene.canvas, scene.render()
    radius = between(rng, 0.075, 0.125)
    d = blob(rng, canvas, *spot(rng, scene), radius, 0.3)
    core = 0.5 + 0.15 * fractal(rng, 16 * canvas.y, 16 * canvas.x)
    rim = smooth(0.35 * radius - np.abs(d + 0.3 * radius), 0, 0.3 * radius)
    mass = np.clip(core * (1 - 0.5 * strength) + rim * (0.35 + 0.25 * strength), 0, 1)
    cover = canvas.cover(d, 0.015) * scene.region
    return mix(image, np.repeat(mass[..., None], 3, axis=2), cover * (0.4 + 0.6 * strength)), cover


def mole(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A pigmented lesion of uneven colour and outline; some are paler or redder than the skin."""
    canvas, image = scene.canvas, scene.render()
    radius = between(rng, 0.11, 0.2)
    d = blob(rng, canvas, *spot(rng, scene), radius, 0.35)
    brown = colour(rng, (0.3, 0.5), (0.3, 0.6), between(rng, 0.0, 0.08))
    tint = pick(rng, (brown, brown, np.array([0.95, 0.6, 0.6]), np.array([1.15, 1.12, 1.2])))
    network = 1 + 0.25 * fractal(rng, 11 * canvas.y, 11 * canvas.x)
    depth = (0.55 + 0.45 * smooth(-d, 0, radius)) * (0.35 + 0.65 * strength)
    cover = canvas.cover(d, 0.03) * scene.region
    return mix(image, np.clip(image * tint * network[..., None], 0, 1), cover * depth), cover


def polyp(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """A dome on the bowel wall: lit on one side, shadowed on the other, with a wet highlight."""
    canvas, image = scene.canvas, scene.render()
    y, x = spot(rng, scene)
    radius = between(rng, 0.09, 0.16)
    d = blob(rng, canvas, y, x, radius, 0.15)
    c, s = rotor(float(rng.random()))
    slope = ((canvas.y - y) * s + (canvas.x - x) * c) / radius
    height = smooth(-d, 0, 0.7 * radius)
    flesh = colour(rng, (0.55, 0.75), (0.3, 0.55), between(rng, -0.02, 0.05))
    body = (
        flesh
        * (0.75 + 0.25 * height + 0.3 * slope + 0.06 * fractal(rng, 18 * canvas.y, 18 * canvas.x))[..., None]
    )
    shadow = canvas.cover(d - 0.025, 0.04) * smooth(-slope, 0.2, 1) * scene.region
    base = mix(image, 0.5 * image, shadow)
    gleam = canvas.cover(
        oval(canvas.y - y - 0.4 * radius * s, canvas.x - x - 0.4 * radius * c, 0.02, 0.03), 0.02
    )
    cover = canvas.cover(d, 0.015) * scene.region
    return mix(base, mix(np.clip(body, 0, 1), 0.97, 0.7 * gleam), cover * (0.4 + 0.6 * strength)), cover


def nodule(rng: Rng, scene: Scene, strength: float) -> tuple[Array, Array]:
    """An oval darker or lighter than the gland on ultrasound, keeping its speckle, with a thin margin."""
    canvas, image = scene.canvas, scene.render()
    d = blob(rng, canvas, *spot(rng, scene), between(rng, 0.08, 0.14), 0.18, 1.8)
    echo = pick(rng, (0.65, 0.65, -0.9)) * (0.35 + 0.65 * strength)
    inner = 1 - echo * (1 + 0.2 * noise(rng, 12 * canvas.y, 12 * canvas.x))
    margin = smooth(0.012 - np.abs(d), 0, 0.012) * (0.3 if echo > 0 else -0.4) * scene.region
    cover = canvas.cover(d, 0.012) * scene.region
    lesion = mix(image, np.clip(image * inner[..., None], 0, 1), cover)
    return np.clip(lesion * (1 + margin)[..., None], 0, 1), cover


DEFECTS: dict[str, Defect] = {
    f.__name__: f
    for f in (
        *(scratch, crack, hole, stain, bent, missing_part, swapped_part),
        *(bleed, tumour, mole, polyp, nodule),
    )
}
