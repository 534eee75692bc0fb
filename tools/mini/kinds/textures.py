"""Texture kinds to train on: surfaces that fill the picture. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.raster import Canvas, Rng, blur, box, disc, fraction, mix, polygon, smooth, tinted, wave
from datasets.standin.scene import Kind, Scene, filled
from datasets.standin.textures import ridge, sheet_frame


def knit(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Knitted cloth: columns of V-shaped stitches."""
    v, u = sheet_frame(style, rng, canvas, (0.075, 0.11))
    side = 2 * np.abs(fraction(u) - 0.5)
    stitch = ridge(1.5 * v + 0.9 * side) * (0.35 + 0.65 * ridge(2 * u))
    yarn = style.colour((0.4, 0.75), (0, 0.5))
    return filled(canvas, tinted(stitch + 0.1 * rng.grain(canvas), 0.35 * yarn, yarn))


def corduroy(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Parallel ribs with a soft nap."""
    v, u = sheet_frame(style, rng, canvas, (0.05, 0.09), style.pick((0.0, 0.25, 0.1, 0.4)))
    nap = 0.2 * rng.noise(6 * v, 3 * u) + 0.1 * rng.grain(canvas)
    cloth = style.colour((0.35, 0.7), (0, 0.5))
    return filled(canvas, tinted(ridge(u) + nap, style.between(0.35, 0.6) * cloth, cloth))


def terrazzo(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Stone chips of a few colours set in cement."""
    v, u = sheet_frame(style, rng, canvas, (0.05, 0.08), bend=0.4)
    near, far, label = rng.cells(v, u, 0.8)
    cement = style.colour((0.55, 0.8), (0, 0.15))
    chips = np.stack([style.colour((0.25, 0.8), (0, 0.35)) for _ in range(4)])
    chip = chips[np.minimum((label * 4).astype(np.intp), 3)]
    return filled(canvas, mix(cement, chip, smooth(far - near, 0.15, 0.25) * (label > 0.12)))


def bricks(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Courses of bricks or tiles with mortar between them."""
    v, u = sheet_frame(style, rng, canvas, (0.09, 0.14), bend=0.04)
    u = u / style.between(1.2, 2.2) + 0.5 * (np.floor(v) % 2)
    label = rng.noise(np.floor(v), np.floor(u))
    d = box(fraction(v) - 0.5, fraction(u) - 0.5, 0.43, 0.45, 0.06)
    clay = style.colour((0.35, 0.65), (0.1, 0.5))
    face = clay * (1 + 0.1 * label + 0.07 * rng.fractal(v, u, 5))[..., None]
    return filled(canvas, mix(style.colour((0.6, 0.8), (0, 0.1)), face, smooth(-d, 0, 0.05)))


def honeycomb(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Hexagonal cells with raised walls."""
    v, u = sheet_frame(style, rng, canvas, (0.09, 0.13), bend=0.05)
    v = v / 0.866
    first = (fraction(v / 2) * 2 - 1) * 0.866, fraction(u) - 0.5
    other = (fraction(v / 2 + 0.5) * 2 - 1) * 0.866, fraction(u + 0.5) - 0.5
    d = np.minimum(polygon(*first, 0.5, 6, 0.25), polygon(*other, 0.5, 6, 0.25))
    wax = style.colour((0.5, 0.8), (0.1, 0.5))
    hollow = 0.3 + 0.5 * smooth(-d, 0.1, 0.5)
    return filled(
        canvas, mix(tinted(hollow + 0.04 * rng.grain(canvas), 0.3 * wax, wax), wax, smooth(d, -0.12, -0.05))
    )


def ripples(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Wavy parallel folds, like sand or corrugated card."""
    v, u = sheet_frame(style, rng, canvas, (0.06, 0.1), style.random(), bend=0.3)
    swing = style.between(0.1, 0.35) * wave(u / 4)
    fold = 0.5 + 0.5 * wave(v + swing)
    sand = style.colour((0.45, 0.8), (0, 0.4))
    return filled(canvas, tinted(fold + 0.08 * rng.grain(canvas), style.between(0.5, 0.7) * sand, sand))


def scales(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Rows of overlapping round scales or shingles."""
    v, u = sheet_frame(style, rng, canvas, (0.08, 0.12), bend=0.08)
    tone = style.colour((0.4, 0.75), (0, 0.5))
    row = np.floor(v)
    shade = canvas.full(0.0)
    for k in (1, 0, -1):  # each row lies over the one below it
        r = disc(v - row - k, fraction(u + 0.5 * ((row + k) % 2)) - 0.5, 0) / 0.7
        shade = np.where(r < 1, 0.3 + 0.7 * smooth(r, 0.1, 0.95), shade)
    return filled(canvas, tinted(shade + 0.06 * rng.grain(canvas), 0.3 * tone, tone))


def mosaic(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Small square tiles of two alternating colours."""
    v, u = sheet_frame(style, rng, canvas, (0.07, 0.11), style.pick((0.0, 0.125)), bend=0.05)
    odd = fraction((np.floor(v) + np.floor(u)) / 2) > 0.25
    d = box(fraction(v) - 0.5, fraction(u) - 0.5, 0.46, 0.46, 0.08)
    one, two = style.colour((0.5, 0.85), (0, 0.35)), style.colour((0.25, 0.7), (0, 0.35))
    face = np.where(odd[..., None], one, two) * (1 + 0.06 * rng.noise(np.floor(v), np.floor(u)))[..., None]
    return filled(canvas, mix(0.45, face, smooth(-d, 0, 0.05)))


def felt(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Matted fibres crossing in all directions."""
    strands = canvas.full(-1.0)
    for _ in range(4):
        v, u = canvas.local(rng.between(0, 1), rng.between(0, 1), rng.random())
        strands = np.maximum(strands, rng.noise(45 * v, 7 * u))
    wool = style.colour((0.4, 0.75), (0, 0.4))
    return filled(canvas, tinted(0.2 + 0.75 * strands, style.between(0.3, 0.5) * wool, wool))


def cast(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Smooth cast or painted surface with a fine orange-peel relief."""
    size = style.between(0.012, 0.03)
    relief = blur(rng.child().grain(canvas), max(1, round(size * canvas.unit / 2)))
    paint = style.colour((0.35, 0.8), (0, 0.5))
    slope = relief - np.roll(relief, style.whole(1, 2), axis=0)
    return filled(canvas, paint * (1 + 0.9 * slope)[..., None])


TEXTURES: dict[str, Kind] = {
    f.__name__: f for f in (knit, corduroy, terrazzo, bricks, honeycomb, ripples, scales, mosaic, felt, cast)
}
