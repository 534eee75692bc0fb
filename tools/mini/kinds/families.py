"""Kinds drawn by chance: each is a whole family of scenes, new with every style."""

from collections.abc import Callable

import numpy as np

from datasets.standin.marks import stroke
from datasets.standin.objects import lit, places, scene_of, table
from datasets.standin.raster import (
    Array,
    Canvas,
    Rng,
    between,
    box,
    cells,
    chance,
    colour,
    disc,
    fractal,
    fraction,
    grain,
    mix,
    noise,
    oval,
    path,
    pick,
    polygon,
    rotor,
    smooth,
    tinted,
    wave,
    whole,
)
from datasets.standin.scene import Kind, Part, Scene, filled

Shape = Callable[[Array, Array], Array]
"""Signed distance of a thing of about unit radius in a frame (v, u)."""


def _shape(style: Rng) -> Shape:
    """Draw an outline: round, oval, square, many-sided, or a ring."""
    long, sides, turns = between(style, 0.4, 0.9), whole(style, 3, 8), float(style.random())
    hole = between(style, 0.35, 0.65)
    return pick(
        style,
        (
            lambda v, u: disc(v, u, 1),
            lambda v, u: oval(v, u, long, 1),
            lambda v, u: box(v, u, long, 0.9, 0.3 * long),
            lambda v, u: polygon(v, u, 0.8, sides, turns),
            lambda v, u: np.abs(disc(v, u, 1 - hole / 2)) - hole / 2,
        ),
    )


def _tones(style: Rng, count: int) -> list[Array]:
    """Draw colours that differ in brightness, darkest first."""
    hue, spread, depth = float(style.random()), between(style, 0, 0.5), between(style, 0, 0.7)
    levels = sorted(between(style, 0.08, 0.9) for _ in range(count))
    return [
        colour(style, (level, level), (0, depth), hue + between(style, -spread, spread)) for level in levels
    ]


def _frame(style: Rng, rng: Rng, canvas: Canvas, period: float, bend: float) -> tuple[Array, Array]:
    """Return coordinates (v, u) counted in periods, turned by the style, shifted and buckled by chance."""
    v, u = canvas.local(between(rng, -1, 0), between(rng, -1, 0), pick(style, (0, 0, 0.25, style.random())))
    v, u = v / period, u / (period * between(style, 0.5, 1.5))
    sway = bend * noise(rng, 0.2 * v, 0.2 * u)
    return v + sway, u + sway


# Textures.


def pattern(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Something that repeats: two or three waves that cross, sharpened or folded."""
    v, u = _frame(style, rng, canvas, between(style, 0.06, 0.16), between(style, 0, 0.6))
    field = np.zeros((canvas.height, canvas.width))
    for _ in range(whole(style, 1, 3)):
        c, s = rotor(float(style.random()))
        field = field + wave(pick(style, (1.0, 1.0, 2.0)) * (v * c + u * s) + float(style.random()))
    if chance(style, 0.4):
        field = np.abs(field)
    edge = between(style, 0.15, 1.2)
    dark, light = _tones(style, 2)
    relief = smooth(field, -edge, edge) + between(style, 0, 0.15) * grain(rng, canvas)
    return filled(canvas, tinted(relief, dark, light))


def mottle(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Something uneven: clouds, flecks or fibres of one grain and direction."""
    v, u = _frame(style, rng, canvas, between(style, 0.015, 0.12), 0)
    field = fractal(rng, v, u * between(style, 0.15, 1), whole(style, 1, 3))
    if chance(style, 0.4):
        field = 1 - 4 * np.abs(field)
    edge = between(style, 0.15, 1)
    dark, light = _tones(style, 2)
    return filled(canvas, tinted(smooth(field, -edge, edge), dark, light))


def tessellation(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Something made of pieces: irregular cells with seams, in a few tones."""
    v, u = _frame(style, rng, canvas, between(style, 0.04, 0.14), 0.3)
    near, far, label = cells(rng, v, u, between(style, 0.3, 1))
    tones = np.stack(_tones(style, 4))
    few = whole(style, 1, 3)
    face = tones[1 + np.minimum((label * few).astype(np.intp), few - 1)]
    seam = smooth(far - near, 0, between(style, 0.1, 0.5))
    dome = 1 - between(style, 0, 0.5) * near
    ground = tones[0] if chance(style, 0.7) else tones[3]
    return filled(canvas, mix(np.zeros_like(face) + ground, face * dome[..., None], seam))


def lattice(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """One motif over and over, in straight or staggered rows."""
    v, u = _frame(style, rng, canvas, between(style, 0.08, 0.2), 0.1)
    u = u + pick(style, (0.0, 0.5)) * np.floor(v)
    size = between(style, 0.3, 0.5)
    motif = size * _shape(style)((fraction(v) - 0.5) / size, (fraction(u) - 0.5) / size)
    one, two, three = pick(style, (_tones(style, 3), _tones(style, 3)[::-1]))
    face = mix(np.zeros((canvas.height, canvas.width, 3)) + one, two, smooth(-motif, -0.02, 0.06))
    face = mix(face, three, smooth(-motif - between(style, 0.08, 0.2), 0, 0.06))
    return filled(canvas, face * (1 + 0.06 * fractal(rng, 2 * v, 2 * u))[..., None])


# Objects.


def _thing(style: Rng) -> Callable[[Rng, Canvas, Array, Array, float], tuple[Array, Array]]:
    """Draw how a thing looks: an outline with one or two smaller ones inside; shaded at its edge."""
    outlines = [(_shape(style), between(style, 0.3, 0.75)) for _ in range(whole(style, 1, 3))]
    tones, depth = _tones(style, len(outlines)), between(style, 0.1, 0.5)
    if chance(style, 0.5):
        tones = tones[::-1]
    rough = between(style, 0, 0.12)

    def draw(rng: Rng, canvas: Canvas, v: Array, u: Array, radius: float) -> tuple[Array, Array]:
        """Return signed distance and paint of the thing, of `radius`."""
        size, paint = radius, np.zeros((canvas.height, canvas.width, 3))
        body = radius * outlines[0][0](v / radius, u / radius)
        for (outline, shrink), tone in zip(outlines, tones, strict=True):
            shape = size * outline(v / size, u / size)
            face = tone * (1 + rough * fractal(rng, 2 * v / radius, 2 * u / radius))[..., None]
            paint = mix(
                paint,
                lit(shape, face, depth * size),
                canvas.cover(shape) if size < radius else 1.0 + 0 * shape,
            )
            size = size * shrink
        return body, paint

    return draw


def tray(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Equal things laid out in rows, all turned alike or each as it fell."""
    rows, columns = whole(style, 1, 4), whole(style, 1, 4)
    radius = between(style, 0.3, 0.47) * min(canvas.tall / rows, canvas.wide / columns)
    draw, lean = _thing(style), float(style.random())
    loose = pick(style, (0.02, 0.02, 1.0))
    bodies, parts = np.full((canvas.height, canvas.width), np.inf), []
    for y, x in places(rng, canvas, rows, columns, 0.015):
        v, u = canvas.local(y, x, lean + loose * between(rng, -0.5, 0.5))
        body, paint = draw(rng, canvas, v, u, radius)
        parts.append(Part(canvas.cover(body), paint, loose=rows * columns > 1))
        bodies = np.minimum(bodies, body)
    inside = canvas.cover(bodies + 0.1 * radius) > 0.5  # of rings too, however thin
    return Scene(canvas, table(style, rng, canvas, (0.1, 0.9)), inside, parts)


def assembly(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A plate with a few kinds of small things on it, in places that the style has fixed."""
    v, u = canvas.local(
        canvas.tall / 2 + between(rng, -0.02, 0.02),
        canvas.wide / 2 + between(rng, -0.02, 0.02),
        between(rng, -0.012, 0.012),
    )
    body = pick(style, (box(v, u, canvas.tall / 2 - 0.06, canvas.wide / 2 - 0.06, 0.04), disc(v, u, 0.45)))
    stripes = 0.15 * wave(between(style, 4, 12) * (u if chance(style, 0.5) else v))
    plate = (
        colour(style, (0.1, 0.85), (0, 0.7)) * (1 + stripes + 0.04 * fractal(rng, 6 * v, 6 * u))[..., None]
    )
    parts = [Part(canvas.cover(body), lit(body, plate, 0.03))]
    for _ in range(whole(style, 1, 3)):
        draw, radius = _thing(style), between(style, 0.05, 0.12)
        turn, count = float(style.random()), whole(style, 2, 5)
        round_, y, x = chance(style, 0.5), between(style, -0.25, 0.25), between(style, -0.25, 0.25)
        for k in range(count):
            c, s = rotor(k / count + turn)
            a, b = (0.3 * s, 0.3 * c) if round_ else (y, (k + 0.5) / count * 0.8 - 0.4 + 0.1 * x)
            shape, paint = draw(rng, canvas, v - a, u - b, radius)
            parts.append(Part(canvas.cover(np.maximum(shape, body)), paint, loose=True))
    return scene_of(canvas, table(style, rng, canvas, (0.1, 0.9)), body, parts)


# Organs.


def phantom(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A test body of a scanner: a shell, filling, and insets, often the same left and right."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, between(rng, -0.02, 0.02))
    a, b = between(rng, 0.34, 0.47), between(rng, 0.34, 0.47)
    shell = oval(v, u, a, b) + 0.02 * noise(rng, 3 * v, 3 * u)
    filling = shell + between(style, 0.02, 0.08)
    levels = [between(style, 0.05, 0.95) for _ in range(3)]
    fine = between(style, 6, 22)
    level = 0.3 + 0.4 * levels[0] + between(style, 0.03, 0.12) * fractal(rng, fine * v, fine * u)
    side = np.abs(u) if chance(style, 0.7) else u
    for _ in range(whole(style, 1, 4)):
        y, x = between(style, -0.22, 0.22), between(style, -0.05, 0.22)
        inset = oval(v - y, side - x, between(style, 0.02, 0.09), between(style, 0.02, 0.09))
        tone = pick(style, (0.1, 0.25, 0.75, 0.9))
        level = mix(level, tone, canvas.cover(inset + 0.015 * noise(rng, 6 * v, 6 * u), 0.015))
    wall = between(style, 0.5, 0.95) if chance(style, 0.7) else 0.15
    level = mix(wall + 0.06 * noise(rng, 12 * v, 12 * u), level, canvas.cover(filling, 0.012))
    level = mix(np.full_like(level, 0.03), level, canvas.cover(shell))
    return Scene(canvas, np.repeat(level[..., None], 3, axis=2), canvas.cover(filling + 0.04) > 0.5)


def tissue(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Living matter close by, in colour or grey: soft shading, layers or folds, lines, glints."""
    v, u = canvas.local(between(rng, 0, 1), between(rng, 0, 1), float(rng.random()))
    shade = 0.5 + between(style, 0.1, 0.35) * fractal(rng, 2 * v, 2 * u)
    if chance(style, 0.5):
        bend = between(style, 0.1, 0.5) * noise(rng, 2 * v, 2 * u)
        shade = shade + between(style, 0.05, 0.2) * wave(between(style, 2, 8) * v + bend)
    fine = between(style, 8, 40)
    shade = shade * (1 + between(style, 0.03, 0.3) * noise(rng, fine * v, between(style, 0.4, 1) * fine * u))
    light = colour(style, (0.6, 0.95), (0.1, 0.6), between(style, -0.05, 0.12))
    if chance(style, 0.4):
        light = np.full(3, between(style, 0.5, 0.9))
    picture = tinted(shade, between(style, 0.1, 0.5) * light, light)
    for _ in range(whole(rng, 0, 4)):
        y, x = between(rng, 0, canvas.tall), between(rng, 0, canvas.wide)
        line, _ = path(canvas, stroke(rng, y, x, between(rng, 0.3, 0.9), 6, 0.06))
        tone = light * between(style, 0.2, 0.7)
        picture = mix(picture, tone, 0.6 * canvas.cover(line - between(style, 0.003, 0.01), 0.01))
    if chance(style, 0.4):
        glint = smooth(fractal(rng, 13 * v, 13 * u), 0.6, 0.8)
        picture = mix(picture, 0.97, between(style, 0.3, 0.9) * glint)
    if chance(style, 0.4):  # a dark hollow or corner
        y, x = between(rng, 0, canvas.tall), between(rng, 0, canvas.wide)
        hollow = smooth(between(rng, 0.1, 0.25) - disc(canvas.y - y, canvas.x - x, 0), -0.1, 0.15)
        picture = picture * (1 - 0.85 * hollow)[..., None]
        return Scene(canvas, picture, hollow < 0.3)
    return filled(canvas, picture)


TEXTURES: dict[str, Kind] = {f.__name__: f for f in (pattern, mottle, tessellation, lattice)}
OBJECTS: dict[str, Kind] = {f.__name__: f for f in (tray, assembly)}
ORGANS: dict[str, Kind] = {f.__name__: f for f in (phantom, tissue)}
