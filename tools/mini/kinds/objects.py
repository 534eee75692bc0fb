"""Object kinds to train on. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.raster import Canvas, Rng, box, disc, fraction, mix, oval, polygon, rotor, smooth, wave
from datasets.standin.scene import Kind, Scene, Things, filled, lit, places, table


def button(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A sewing button with a raised rim and four holes."""
    cy, cx = canvas.middle(rng, 0.03)
    v, u = canvas.local(cy, cx, rng.random())
    r = disc(v, u, 0)
    body = r - style.between(0.36, 0.43)
    shell = style.colour((0.4, 0.85), (0, 0.6))
    rim = 1 - 0.3 * smooth(0.03 - np.abs(r - style.between(0.26, 0.3)), 0, 0.03)
    face = lit(body, shell, 0.05) * (rim * (1 + 0.05 * rng.fractal(v, u, 9)))[..., None]
    things, ground = Things(canvas), table(style, rng, canvas, (0.2, 0.85))
    things.add(body, face, surface=True)
    for a, b in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        things.add(disc(v - 0.09 * a, u - 0.09 * b, 0.05), 0.4 * ground, loose=True)
    return things.on(ground)


def keypad(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A panel of rounded keys, each with a printed bar."""
    panel = table(style, rng, canvas, (0.1, 0.7))
    key, print_ = style.colour((0.3, 0.9), (0, 0.4)), style.colour((0.05, 0.9), (0, 0.6))
    rows, columns = style.whole(3, 4), style.whole(3, 4)
    a, b = 0.38 * canvas.tall / rows, 0.38 * canvas.wide / columns
    things = Things(canvas, region=True)
    for y, x in places(rng, canvas, rows, columns, 0.004):
        v, u = canvas.local(y, x, rng.between(-0.004, 0.004))
        cap = box(v, u, a, b, 0.03)
        bar = canvas.cover(box(v, u, 0.018, 0.5 * b, 0.01))
        things.add(cap, mix(lit(cap, key, 0.03), print_, bar), loose=True)
    return things.on(panel)


def biscuit(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A baked biscuit with a wavy edge and rows of pricked dots."""
    cy, cx = canvas.middle(rng, 0.03)
    v, u = canvas.local(cy, cx, rng.between(-0.02, 0.02))
    edge = 0.014 * wave(12 * v) * wave(12 * u)
    body = box(v, u, style.between(0.3, 0.42), 0.42, 0.05) + edge
    crumb = 1 + 0.12 * rng.fractal(v, u, 14) + 0.06 * rng.grain(canvas)
    dough = style.colour((0.55, 0.7), (0.25, 0.5), style.between(0.06, 0.11))
    face = lit(body, dough, 0.06) * crumb[..., None]
    p = style.between(0.12, 0.16)
    dots = disc((fraction(v / p) - 0.5) * p, (fraction(u / p) - 0.5) * p, 0.016)
    face = mix(face, 0.45 * dough, canvas.cover(np.maximum(dots, body + 0.06)))
    things = Things(canvas)
    things.add(body, face, surface=True)
    return things.on(table(style, rng, canvas, (0.15, 0.9)))


def gear(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A gear wheel with teeth, spoke holes and a keyed bore."""
    cy, cx = canvas.middle(rng, 0.02)
    turns, count = rng.random(), style.whole(10, 14)
    v, u = canvas.local(cy, cx, turns)
    r = disc(v, u, 0)
    metal, things = style.colour((0.45, 0.75), (0, 0.3)), Things(canvas)
    ground = table(style, rng, canvas, (0.1, 0.9))
    for k in range(count):
        a, b = canvas.local(cy, cx, turns + k / count)
        things.add(box(a - 0.38, b, 0.06, 0.7 / count, 0.01), 0.85 * metal, loose=True, surface=True)
    face = lit(r - 0.36, metal, 0.04) * (1 + 0.07 * rng.noise(50 * r, 2 * u))[..., None]
    things.add(r - 0.36, face, surface=True)
    for k in range(5):
        c, s = rotor(k / 5)
        things.add(disc(v - 0.21 * c, u - 0.21 * s, 0.06), 0.8 * ground, loose=True)
    things.add(np.minimum(r - 0.07, box(v - 0.07, u, 0.03, 0.02)), 0.8 * ground)
    return things.on(ground)


def blister(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A blister pack: pills in rows under foil."""
    foil = style.colour((0.6, 0.8), (0, 0.1))
    v, u = canvas.local(0, 0, rng.between(-0.01, 0.01))
    hatch = 1 + 0.06 * wave(34 * (v + u)) + 0.05 * rng.fractal(v, u, 3)
    pill = style.colour((0.5, 0.95), (0, 0.7))
    long = style.between(1.0, 1.7)
    things, rows = Things(canvas, region=True), style.pick((3, 4))
    for y, x in places(rng, canvas, rows, 3, 0.006):
        a, b = canvas.local(y, x)
        pocket = oval(a, b, 0.1, 0.1 * long)
        shape = oval(a, b, 0.075, 0.075 * long)
        things.add(pocket, lit(pocket, 0.9 * foil, 0.03))
        gleam = 0.3 * smooth(0.03 - disc(a + 0.03, b + 0.03, 0), 0, 0.03)
        things.add(shape, lit(shape, pill, 0.06) + gleam[..., None], loose=True)
    return things.on(foil * hatch[..., None])


def pins(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A connector housing with two rows of metal pins."""
    v, u = canvas.local(canvas.tall / 2 + rng.between(-0.03, 0.03), canvas.wide / 2, rng.between(-0.01, 0.01))
    body = box(v, u, style.between(0.24, 0.36), 0.45, 0.03)
    shell = style.colour((0.12, 0.8), (0, 0.5))
    cavity = box(v, u, 0.2, 0.4, 0.02)
    face = mix(lit(body, shell, 0.03), 0.45 * shell, canvas.cover(cavity))
    things = Things(canvas)
    things.add(body, face, surface=True)
    metal, count = style.colour((0.65, 0.85), (0, 0.4), 0.13), style.whole(4, 6)
    for row in (-0.1, 0.1):
        for k in range(count):
            pin = box(v - row, u - 0.72 * ((k + 0.5) / count - 0.5), 0.06, 0.2 / count, 0.01)
            things.add(pin, lit(pin, metal, 0.02), loose=True)
    return things.on(table(style, rng, canvas, (0.2, 0.9)))


def coins(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Coins or tokens with a rim and a star, laid out in staggered rows."""
    metal = style.colour((0.5, 0.75), (0.05, 0.5), style.pick((0.08, 0.13, 0.6)))
    sides, count = style.pick((3, 4, 6)), style.whole(2, 3)
    things = Things(canvas)
    radius = 0.4 / count
    for y, x in places(rng, canvas, count, count, 0.012):
        v, u = canvas.local(y, x, rng.random())
        shape = disc(v, u, radius)
        rim = 1 - 0.35 * smooth(0.012 - np.abs(shape + 0.03), 0, 0.012)
        face = lit(shape, metal, 0.02) * (rim * (1 + 0.05 * rng.fractal(v, u, 14)))[..., None]
        star = np.minimum(polygon(v, u, 0.3 * radius, sides), polygon(v, u, 0.3 * radius, sides, 0.5))
        things.add(shape, mix(face, 1.3 * metal, canvas.cover(star)), loose=True, surface=True)
    return things.on(table(style, rng, canvas, (0.1, 0.9)))


def domino(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A domino block with pips in its two halves."""
    turns = style.pick((0.0, 0.25)) + rng.between(-0.02, 0.02)
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2 + rng.between(-0.02, 0.02), turns)
    body = box(v, u, 0.44, 0.24, 0.05)
    face, ink = style.colour((0.7, 0.95), (0, 0.25)), style.colour((0.05, 0.3), (0, 0.6))
    block = lit(body, face, 0.04) * (1 + 0.04 * rng.fractal(v, u, 6))[..., None]
    things = Things(canvas)
    things.add(body, mix(block, ink, canvas.cover(box(v, u, 0.008, 0.19))), surface=True)
    eyes = style.pick((((-1, -1), (1, 1), (0, 0)), ((-1, -1), (1, 1), (-1, 1), (1, -1)), ((0, 1), (0, -1))))
    for half in (-0.22, 0.22):
        for a, b in eyes:
            pip = disc(v - half - 0.1 * a, u - 0.1 * b, 0.05)
            things.add(pip, lit(-pip, ink, 0.03), loose=True)
    return things.on(table(style, rng, canvas, (0.2, 0.7)))


def chocolate(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A bar of bevelled blocks."""
    rows, columns = style.whole(3, 4), style.whole(3, 4)
    cocoa = style.colour((0.25, 0.75), (0.2, 0.5), style.between(0.02, 0.1))
    v, u = canvas.local(rng.between(-0.01, 0.01), rng.between(-0.01, 0.01), rng.between(-0.008, 0.008))
    a, b = fraction(v * rows / canvas.tall) - 0.5, fraction(u * columns / canvas.wide) - 0.5
    bevel = box(a, b, 0.45, 0.45, 0.04)
    slope = smooth(bevel, -0.16, -0.1) * np.where(
        np.abs(a) > np.abs(b), np.where(a < 0, 0.35, -0.3), -0.1 + 0.2 * (b < 0)
    )
    level = (1 + slope) * (0.55 + 0.45 * smooth(-bevel, 0, 0.03)) * (1 + 0.04 * rng.fractal(v, u, 8))
    return filled(canvas, level[..., None] * cocoa)


OBJECTS: dict[str, Kind] = {
    kind.__name__: kind for kind in (button, keypad, biscuit, gear, blister, pins, coins, domino, chocolate)
}
