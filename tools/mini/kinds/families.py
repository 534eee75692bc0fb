"""Kinds drawn by chance: each is a whole family of scenes, new with every style."""

from collections.abc import Callable

import numpy as np

from datasets.standin.damage import stroke
from datasets.standin.raster import (
    Array,
    Canvas,
    Rng,
    box,
    disc,
    fraction,
    mix,
    oval,
    polygon,
    rotor,
    smooth,
    tinted,
    wave,
)
from datasets.standin.scene import Kind, Scene, Things, filled, lit, places, scanned, table

Shape = Callable[[Array, Array], Array]
"""Signed distance of a thing of about unit radius in a frame (v, u)."""


def _shape(style: Rng) -> Shape:
    """Draw an outline: round, oval, square, many-sided, or a ring."""
    long, sides, turns = style.between(0.4, 0.9), style.whole(3, 8), style.random()
    hole = style.between(0.35, 0.65)
    return style.pick(
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
    hue, spread, depth = style.random(), style.between(0, 0.5), style.between(0, 0.7)
    levels = sorted(style.between(0.08, 0.9) for _ in range(count))
    return [
        style.colour((level, level), (0, depth), hue + style.between(-spread, spread)) for level in levels
    ]


def _frame(style: Rng, rng: Rng, canvas: Canvas, period: float, bend: float) -> tuple[Array, Array]:
    """Return coordinates (v, u) counted in periods, turned by the style, shifted and buckled by chance."""
    v, u = canvas.local(rng.between(-1, 0), rng.between(-1, 0), style.pick((0, 0, 0.25, style.random())))
    v, u = v / period, u / (period * style.between(0.5, 1.5))
    sway = bend * rng.noise(v, u, 0.2)
    return v + sway, u + sway


# Textures.


def pattern(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Something that repeats: two or three waves that cross, sharpened or folded."""
    v, u = _frame(style, rng, canvas, style.between(0.06, 0.16), style.between(0, 0.6))
    field = canvas.full(0.0)
    for _ in range(style.whole(1, 3)):
        c, s = rotor(style.random())
        field = field + wave(style.pick((1.0, 1.0, 2.0)) * (v * c + u * s) + style.random())
    if style.chance(0.4):
        field = np.abs(field)
    edge = style.between(0.15, 1.2)
    dark, light = _tones(style, 2)
    relief = smooth(field, -edge, edge) + style.between(0, 0.15) * rng.grain(canvas)
    return filled(canvas, tinted(relief, dark, light))


def mottle(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Something uneven: clouds, flecks or fibres of one grain and direction."""
    v, u = _frame(style, rng, canvas, style.between(0.015, 0.12), 0)
    field = rng.fractal(v, u * style.between(0.15, 1), octaves=style.whole(1, 3))
    if style.chance(0.4):
        field = 1 - 4 * np.abs(field)
    edge = style.between(0.15, 1)
    dark, light = _tones(style, 2)
    return filled(canvas, tinted(smooth(field, -edge, edge), dark, light))


def tessellation(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Something made of pieces: irregular cells with seams, in a few tones."""
    v, u = _frame(style, rng, canvas, style.between(0.04, 0.14), 0.3)
    near, far, label = rng.cells(v, u, style.between(0.3, 1))
    tones = np.stack(_tones(style, 4))
    few = style.whole(1, 3)
    face = tones[1 + np.minimum((label * few).astype(np.intp), few - 1)]
    seam = smooth(far - near, 0, style.between(0.1, 0.5))
    dome = 1 - style.between(0, 0.5) * near
    ground = tones[0] if style.chance(0.7) else tones[3]
    return filled(canvas, mix(ground, face * dome[..., None], seam))


def lattice(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """One motif over and over, in straight or staggered rows."""
    v, u = _frame(style, rng, canvas, style.between(0.08, 0.2), 0.1)
    u = u + style.pick((0.0, 0.5)) * np.floor(v)
    size = style.between(0.3, 0.5)
    motif = size * _shape(style)((fraction(v) - 0.5) / size, (fraction(u) - 0.5) / size)
    one, two, three = style.pick((_tones(style, 3), _tones(style, 3)[::-1]))
    face = mix(one, two, smooth(-motif, -0.02, 0.06))
    face = mix(face, three, smooth(-motif - style.between(0.08, 0.2), 0, 0.06))
    return filled(canvas, face * (1 + 0.06 * rng.fractal(v, u, 2))[..., None])


# Objects.


def _thing(style: Rng) -> Callable[[Rng, Canvas, Array, Array, float], tuple[Array, Array]]:
    """Draw how a thing looks: an outline with one or two smaller ones inside; shaded at its edge."""
    outlines = [(_shape(style), style.between(0.3, 0.75)) for _ in range(style.whole(1, 3))]
    tones, depth = _tones(style, len(outlines)), style.between(0.1, 0.5)
    if style.chance(0.5):
        tones = tones[::-1]
    rough = style.between(0, 0.12)

    def draw(rng: Rng, canvas: Canvas, v: Array, u: Array, radius: float) -> tuple[Array, Array]:
        """Return signed distance and paint of the thing, of `radius`."""
        size, paint = radius, np.zeros(3)
        body = radius * outlines[0][0](v / radius, u / radius)
        for (outline, shrink), tone in zip(outlines, tones, strict=True):
            shape = size * outline(v / size, u / size)
            face = tone * (1 + rough * rng.fractal(2 * v / radius, 2 * u / radius))[..., None]
            whole = size == radius  # the outermost; its part has the outline
            paint = mix(
                paint, lit(shape, face, depth * size), canvas.full(1.0) if whole else canvas.cover(shape)
            )
            size = size * shrink
        return body, paint

    return draw


def tray(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Equal things laid out in rows, all turned alike or each as it fell."""
    rows, columns = style.whole(1, 4), style.whole(1, 4)
    radius = style.between(0.3, 0.47) * min(canvas.tall / rows, canvas.wide / columns)
    draw, lean = _thing(style), style.random()
    loose = style.pick((0.02, 0.02, 1.0))
    things = Things(canvas)
    for y, x in places(rng, canvas, rows, columns, 0.015):
        v, u = canvas.local(y, x, lean + loose * rng.between(-0.5, 0.5))
        body, paint = draw(rng, canvas, v, u, radius)
        things.add(body, paint, loose=rows * columns > 1)
        things.region = things.region | canvas.inside(body + 0.1 * radius)  # of rings too, however thin
    return things.on(table(style, rng, canvas, (0.1, 0.9)))


def assembly(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A plate with a few kinds of small things on it, in places that the style has fixed."""
    v, u = canvas.local(*canvas.middle(rng, 0.02), rng.between(-0.012, 0.012))
    things = Things(canvas)
    body = style.pick((box(v, u, canvas.tall / 2 - 0.06, canvas.wide / 2 - 0.06, 0.04), disc(v, u, 0.45)))
    stripes = 0.15 * wave(style.between(4, 12) * (u if style.chance(0.5) else v))
    plate = style.colour((0.1, 0.85), (0, 0.7)) * (1 + stripes + 0.04 * rng.fractal(v, u, 6))[..., None]
    things.add(body, lit(body, plate, 0.03), surface=True)
    for _ in range(style.whole(1, 3)):
        draw, radius = _thing(style), style.between(0.05, 0.12)
        turn, count = style.random(), style.whole(2, 5)
        round_, y, x = style.chance(0.5), style.between(-0.25, 0.25), style.between(-0.25, 0.25)
        for k in range(count):
            c, s = rotor(k / count + turn)
            a, b = (0.3 * s, 0.3 * c) if round_ else (y, (k + 0.5) / count * 0.8 - 0.4 + 0.1 * x)
            shape, paint = draw(rng, canvas, v - a, u - b, radius)
            things.add(np.maximum(shape, body), paint, loose=True)
    return things.on(table(style, rng, canvas, (0.1, 0.9)))


# Organs.


def phantom(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A test body of a scanner: a shell, filling, and insets, often the same left and right."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, rng.between(-0.02, 0.02))
    a, b = rng.between(0.34, 0.47), rng.between(0.34, 0.47)
    shell = oval(v, u, a, b) + 0.02 * rng.noise(v, u, 3)
    filling = shell + style.between(0.02, 0.08)
    levels = [style.between(0.05, 0.95) for _ in range(3)]
    fine = style.between(6, 22)
    level = 0.3 + 0.4 * levels[0] + style.between(0.03, 0.12) * rng.fractal(fine * v, fine * u)
    side = np.abs(u) if style.chance(0.7) else u
    for _ in range(style.whole(1, 4)):
        y, x = style.between(-0.22, 0.22), style.between(-0.05, 0.22)
        inset = oval(v - y, side - x, style.between(0.02, 0.09), style.between(0.02, 0.09))
        tone = style.pick((0.1, 0.25, 0.75, 0.9))
        level = mix(level, tone, canvas.cover(inset + 0.015 * rng.noise(v, u, 6), 0.015))
    wall = style.between(0.5, 0.95) if style.chance(0.7) else 0.15
    level = mix(wall + 0.06 * rng.noise(v, u, 12), level, canvas.cover(filling, 0.012))
    level = mix(0.03, level, canvas.cover(shell))
    return scanned(canvas, level, canvas.inside(filling + 0.04))


def tissue(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Living matter close by, in colour or grey: soft shading, layers or folds, lines, glints."""
    v, u = canvas.local(rng.between(0, 1), rng.between(0, 1), rng.random())
    shade = 0.5 + style.between(0.1, 0.35) * rng.fractal(v, u, 2)
    if style.chance(0.5):
        bend = style.between(0.1, 0.5) * rng.noise(v, u, 2)
        shade = shade + style.between(0.05, 0.2) * wave(style.between(2, 8) * v + bend)
    fine = style.between(8, 40)
    shade = shade * (1 + style.between(0.03, 0.3) * rng.noise(fine * v, style.between(0.4, 1) * fine * u))
    light = style.colour((0.6, 0.95), (0.1, 0.6), style.between(-0.05, 0.12))
    if style.chance(0.4):
        light = np.full(3, style.between(0.5, 0.9))
    picture = tinted(shade, style.between(0.1, 0.5) * light, light)
    for _ in range(rng.whole(0, 4)):
        y, x = canvas.point(rng)
        line, _ = canvas.path(stroke(rng, y, x, rng.between(0.3, 0.9), 6, 0.06))
        tone = light * style.between(0.2, 0.7)
        picture = mix(picture, tone, 0.6 * canvas.cover(line - style.between(0.003, 0.01), 0.01))
    if style.chance(0.4):
        glint = smooth(rng.fractal(v, u, 13), 0.6, 0.8)
        picture = mix(picture, 0.97, style.between(0.3, 0.9) * glint)
    if style.chance(0.4):  # a dark hollow or corner
        y, x = canvas.point(rng)
        hollow = smooth(rng.between(0.1, 0.25) - disc(canvas.y - y, canvas.x - x, 0), -0.1, 0.15)
        picture = picture * (1 - 0.85 * hollow)[..., None]
        return Scene(canvas, picture, hollow < 0.3)
    return filled(canvas, picture)


TEXTURES: dict[str, Kind] = {f.__name__: f for f in (pattern, mottle, tessellation, lattice)}
OBJECTS: dict[str, Kind] = {f.__name__: f for f in (tray, assembly)}
ORGANS: dict[str, Kind] = {f.__name__: f for f in (phantom, tissue)}
