"""Object kinds to train on. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.objects import lit, places, scene_of, table
from datasets.standin.raster import (
    Canvas,
    Rng,
    between,
    box,
    colour,
    disc,
    fractal,
    fraction,
    grain,
    mix,
    noise,
    oval,
    pick,
    polygon,
    rotor,
    smooth,
    wave,
    whole,
)
from datasets.standin.scene import Kind, Part, Scene


def button(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A sewing button with a raised rim and four holes."""
    cy, cx = canvas.tall / 2 + between(rng, -0.03, 0.03), canvas.wide / 2 + between(rng, -0.03, 0.03)
    v, u = canvas.local(cy, cx, float(rng.random()))
    r = disc(v, u, 0)
    body = r - between(style, 0.36, 0.43)
    shell = colour(style, (0.4, 0.85), (0, 0.6))
    rim = 1 - 0.3 * smooth(0.03 - np.abs(r - between(style, 0.26, 0.3)), 0, 0.03)
    face = lit(body, shell, 0.05) * (rim * (1 + 0.05 * fractal(rng, 9 * v, 9 * u)))[..., None]
    parts = [Part(canvas.cover(body), face)]
    ground = table(style, rng, canvas, (0.2, 0.85))
    for a, b in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        parts.append(Part(canvas.cover(disc(v - 0.09 * a, u - 0.09 * b, 0.05)), 0.4 * ground, loose=True))
    return scene_of(canvas, ground, body, parts)


def keypad(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A panel of rounded keys, each with a printed bar."""
    panel = table(style, rng, canvas, (0.1, 0.7))
    key, print_ = colour(style, (0.3, 0.9), (0, 0.4)), colour(style, (0.05, 0.9), (0, 0.6))
    rows, columns = whole(style, 3, 4), whole(style, 3, 4)
    a, b = 0.38 * canvas.tall / rows, 0.38 * canvas.wide / columns
    body, parts = np.full((canvas.height, canvas.width), -0.1), []
    for y, x in places(rng, canvas, rows, columns, 0.004):
        v, u = canvas.local(y, x, between(rng, -0.004, 0.004))
        cap = box(v, u, a, b, 0.03)
        bar = canvas.cover(box(v, u, 0.018, 0.5 * b, 0.01))
        parts.append(Part(canvas.cover(cap), mix(lit(cap, key, 0.03), print_, bar), loose=True))
    return scene_of(canvas, panel, body, parts)


def biscuit(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A baked biscuit with a wavy edge and rows of pricked dots."""
    cy, cx = canvas.tall / 2 + between(rng, -0.03, 0.03), canvas.wide / 2 + between(rng, -0.03, 0.03)
    v, u = canvas.local(cy, cx, between(rng, -0.02, 0.02))
    edge = 0.014 * wave(12 * v) * wave(12 * u)
    body = box(v, u, between(style, 0.3, 0.42), 0.42, 0.05) + edge
    crumb = 1 + 0.12 * fractal(rng, 14 * v, 14 * u) + 0.06 * grain(rng, canvas)
    dough = colour(style, (0.55, 0.7), (0.25, 0.5), between(style, 0.06, 0.11))
    face = lit(body, dough, 0.06) * crumb[..., None]
    p = between(style, 0.12, 0.16)
    dots = disc((fraction(v / p) - 0.5) * p, (fraction(u / p) - 0.5) * p, 0.016)
    face = mix(face, 0.45 * dough, canvas.cover(np.maximum(dots, body + 0.06)))
    return scene_of(canvas, table(style, rng, canvas, (0.15, 0.9)), body, [Part(canvas.cover(body), face)])


def gear(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A gear wheel with teeth, spoke holes and a keyed bore."""
    cy, cx = canvas.tall / 2 + between(rng, -0.02, 0.02), canvas.wide / 2 + between(rng, -0.02, 0.02)
    turns, count = float(rng.random()), whole(style, 10, 14)
    v, u = canvas.local(cy, cx, turns)
    r = disc(v, u, 0)
    body = r - 0.36
    metal = colour(style, (0.45, 0.75), (0, 0.3))
    ground = table(style, rng, canvas, (0.1, 0.9))
    teeth = []
    for k in range(count):
        a, b = canvas.local(cy, cx, turns + k / count)
        tooth = box(a - 0.38, b, 0.06, 0.7 / count, 0.01)
        teeth.append(Part(canvas.cover(tooth), 0.85 * metal, loose=True))
        body = np.minimum(body, tooth)
    face = lit(r - 0.36, metal, 0.04) * (1 + 0.07 * noise(rng, 50 * r, 2 * u))[..., None]
    parts = [*teeth, Part(canvas.cover(r - 0.36), face)]
    for k in range(5):
        c, s = rotor(k / 5)
        parts.append(Part(canvas.cover(disc(v - 0.21 * c, u - 0.21 * s, 0.06)), 0.8 * ground, loose=True))
    parts.append(Part(canvas.cover(np.minimum(r - 0.07, box(v - 0.07, u, 0.03, 0.02))), 0.8 * ground))
    return scene_of(canvas, ground, body, parts)


def blister(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A blister pack: pills in rows under foil."""
    foil = colour(style, (0.6, 0.8), (0, 0.1))
    v, u = canvas.local(0, 0, between(rng, -0.01, 0.01))
    hatch = 1 + 0.06 * wave(34 * (v + u)) + 0.05 * fractal(rng, 3 * v, 3 * u)
    pill = colour(style, (0.5, 0.95), (0, 0.7))
    long = between(style, 1.0, 1.7)
    parts, rows = [], pick(style, (3, 4))
    for y, x in places(rng, canvas, rows, 3, 0.006):
        a, b = canvas.local(y, x)
        pocket = oval(a, b, 0.1, 0.1 * long)
        shape = oval(a, b, 0.075, 0.075 * long)
        parts.append(Part(canvas.cover(pocket), lit(pocket, 0.9 * foil, 0.03)))
        gleam = 0.3 * smooth(0.03 - disc(a + 0.03, b + 0.03, 0), 0, 0.03)
        parts.append(Part(canvas.cover(shape), lit(shape, pill, 0.06) + gleam[..., None], loose=True))
    body = np.full((canvas.height, canvas.width), -0.1)
    return scene_of(canvas, foil * hatch[..., None], body, parts)


def pins(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A connector housing with two rows of metal pins."""
    v, u = canvas.local(
        canvas.tall / 2 + between(rng, -0.03, 0.03), canvas.wide / 2, between(rng, -0.01, 0.01)
    )
    body = box(v, u, between(style, 0.24, 0.36), 0.45, 0.03)
    shell = colour(style, (0.12, 0.8), (0, 0.5))
    cavity = box(v, u, 0.2, 0.4, 0.02)
    face = mix(lit(body, shell, 0.03), 0.45 * shell, canvas.cover(cavity))
    parts = [Part(canvas.cover(body), face)]
    metal, count = colour(style, (0.65, 0.85), (0, 0.4), 0.13), whole(style, 4, 6)
    for row in (-0.1, 0.1):
        for k in range(count):
            pin = box(v - row, u - 0.72 * ((k + 0.5) / count - 0.5), 0.06, 0.2 / count, 0.01)
            parts.append(Part(canvas.cover(pin), lit(pin, metal, 0.02), loose=True))
    return scene_of(canvas, table(style, rng, canvas, (0.2, 0.9)), body, parts)


def coins(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Coins or tokens with a rim and a star, laid out in staggered rows."""
    metal = colour(style, (0.5, 0.75), (0.05, 0.5), pick(style, (0.08, 0.13, 0.6)))
    sides, count = pick(style, (3, 4, 6)), whole(style, 2, 3)
    parts, bodies = [], np.full((canvas.height, canvas.width), np.inf)
    radius = 0.4 / count
    for y, x in places(rng, canvas, count, count, 0.012):
        v, u = canvas.local(y, x, float(rng.random()))
        shape = disc(v, u, radius)
        rim = 1 - 0.35 * smooth(0.012 - np.abs(shape + 0.03), 0, 0.012)
        face = lit(shape, metal, 0.02) * (rim * (1 + 0.05 * fractal(rng, 14 * v, 14 * u)))[..., None]
        star = np.minimum(polygon(v, u, 0.3 * radius, sides), polygon(v, u, 0.3 * radius, sides, 0.5))
        parts.append(Part(canvas.cover(shape), mix(face, 1.3 * metal, canvas.cover(star)), loose=True))
        bodies = np.minimum(bodies, shape)
    return scene_of(canvas, table(style, rng, canvas, (0.1, 0.9)), bodies, parts)


def domino(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A domino block with pips in its two halves."""
    turns = pick(style, (0.0, 0.25)) + between(rng, -0.02, 0.02)
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2 + between(rng, -0.02, 0.02), turns)
    body = box(v, u, 0.44, 0.24, 0.05)
    face, ink = colour(style, (0.7, 0.95), (0, 0.25)), colour(style, (0.05, 0.3), (0, 0.6))
    block = lit(body, face, 0.04) * (1 + 0.04 * fractal(rng, 6 * v, 6 * u))[..., None]
    parts = [Part(canvas.cover(body), mix(block, ink, canvas.cover(box(v, u, 0.008, 0.19))))]
    eyes = pick(style, (((-1, -1), (1, 1), (0, 0)), ((-1, -1), (1, 1), (-1, 1), (1, -1)), ((0, 1), (0, -1))))
    for half in (-0.22, 0.22):
        for a, b in eyes:
            pip = disc(v - half - 0.1 * a, u - 0.1 * b, 0.05)
            parts.append(Part(canvas.cover(pip), lit(-pip, ink, 0.03), loose=True))
    return scene_of(canvas, table(style, rng, canvas, (0.2, 0.7)), body, parts)


def chocolate(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A bar of bevelled blocks."""
    rows, columns = whole(style, 3, 4), whole(style, 3, 4)
    cocoa = colour(style, (0.25, 0.75), (0.2, 0.5), between(style, 0.02, 0.1))
    v, u = canvas.local(between(rng, -0.01, 0.01), between(rng, -0.01, 0.01), between(rng, -0.008, 0.008))
    a, b = fraction(v * rows / canvas.tall) - 0.5, fraction(u * columns / canvas.wide) - 0.5
    bevel = box(a, b, 0.45, 0.45, 0.04)
    slope = smooth(bevel, -0.16, -0.1) * np.where(
        np.abs(a) > np.abs(b), np.where(a < 0, 0.35, -0.3), -0.1 + 0.2 * (b < 0)
    )
    level = (1 + slope) * (0.55 + 0.45 * smooth(-bevel, 0, 0.03)) * (1 + 0.04 * fractal(rng, 8 * v, 8 * u))
    return scene_of(canvas, level[..., None] * cocoa, np.full((canvas.height, canvas.width), -0.1), [])


OBJECTS: dict[str, Kind] = {
    kind.__name__: kind for kind in (button, keypad, biscuit, gear, blister, pins, coins, domino, chocolate)
}
