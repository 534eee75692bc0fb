"""Object kinds of the stand-in datasets. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.raster import (
    Array,
    Canvas,
    Rng,
    between,
    box,
    colour,
    disc,
    fractal,
    grain,
    mix,
    noise,
    oval,
    path,
    pick,
    polygon,
    rotor,
    sign,
    smooth,
    wave,
    whole,
)
from datasets.standin.scene import Kind, Part, Scene


def table(style: Rng, rng: Rng, canvas: Canvas, light: tuple[float, float]) -> Array:
    """Return a plain, faintly mottled ground (H, W, 3) for objects to lie on."""
    level = 1 + 0.04 * fractal(rng, 4 * canvas.y, 4 * canvas.x)
    return colour(style, light, (0, 0.1)) * level[..., None]


def places(
    rng: Rng, canvas: Canvas, rows: int, columns: int, jitter: float = 0.01
) -> list[tuple[float, float]]:
    """Return the (y, x) centres of a regular arrangement over the canvas, each slightly off its place."""
    return [
        (
            canvas.tall * (i + 0.5) / rows + between(rng, -jitter, jitter),
            canvas.wide * (j + 0.5) / columns + between(rng, -jitter, jitter),
        )
        for i in range(rows)
        for j in range(columns)
    ]


def scene_of(canvas: Canvas, ground: Array, body: Array, parts: list[Part]) -> Scene:
    """Return a scene whose surface defects lie where `body` (a signed distance) is well inside."""
    return Scene(canvas, ground, canvas.cover(body + 0.02) > 0.5, parts)


def lit(shape: Array, paint: Array, depth: float) -> Array:
    """Shade a round body: `shape` is its signed distance, `depth` how far from the edge it levels off."""
    return paint * (0.55 + 0.45 * smooth(-shape, 0, depth))[..., None]


def bottle(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A bottle seen from above: glass rings around the mouth."""
    v, u = canvas.local(
        canvas.tall / 2 + between(rng, -0.02, 0.02), canvas.wide / 2 + between(rng, -0.02, 0.02)
    )
    glass = colour(style, (0.25, 0.4), (0.3, 0.7), pick(style, (0.07, 0.1, 0.36, 0.58)))
    r = disc(v, u, 0)
    body = r - 0.42 * between(rng, 0.97, 1.03)
    rings = 0.55 + 0.45 * wave(r * between(style, 6, 8) + float(style.random()))
    gleam = smooth(wave((v * v - u * u) / (r * r + 0.001) * 0.25 + between(style, 0, 1)), 0.3, 1)
    shade = (0.5 + 0.5 * rings + 0.35 * gleam * smooth(r, 0.15, 0.3)) * (1 + 0.05 * grain(rng, canvas))
    parts = [
        Part(canvas.cover(body), shade[..., None] * glass),
        Part(canvas.cover(r - 0.17), 0.35 * glass * (1 + 0.6 * smooth(r, 0.02, 0.16))[..., None]),
    ]
    return scene_of(canvas, table(style, rng, canvas, (0.75, 0.9)), body, parts)


def cable(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A cut cable: three insulated wires of stranded copper inside a sheath."""
    cy, cx = canvas.tall / 2 + between(rng, -0.02, 0.02), canvas.wide / 2 + between(rng, -0.02, 0.02)
    turns = between(rng, -0.03, 0.03) + float(style.random())
    v, u = canvas.local(cy, cx, turns)
    body = disc(v, u, 0.44)
    sheath = colour(style, (0.65, 0.8), (0, 0.1))
    parts = [
        Part(canvas.cover(body), lit(body, sheath, 0.03)),
        Part(canvas.cover(body + 0.05), np.full(3, 0.2)),
    ]
    copper = np.array([0.85, 0.6, 0.4])
    hue = float(style.random())
    for k in range(3):
        c, s = rotor(k / 3)
        a, b = v - 0.2 * c, u - 0.2 * s
        wire = disc(a, b, 0.172)
        rubber = colour(style, (0.45, 0.65), (0.6, 0.8), hue + k / 3)
        i, j = a / 0.055, b / 0.055 + 0.5 * (np.floor(a / 0.055) % 2)
        strand = disc(i - np.floor(i) - 0.5, j - np.floor(j) - 0.5, 0)
        paint = lit(wire, rubber, 0.03)
        core = copper * (1.05 - 0.9 * strand + 0.05 * grain(rng, canvas))[..., None]
        parts.append(Part(canvas.cover(wire), mix(paint, core, canvas.cover(wire + 0.065)), loose=True))
    return scene_of(canvas, table(style, rng, canvas, (0.3, 0.45)), body, parts)


def capsules(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Two-coloured capsules lying in rows."""
    one, two = colour(style, (0.5, 0.75), (0.4, 0.8)), colour(style, (0.6, 0.9), (0, 0.3))
    ground = table(style, rng, canvas, (0.12, 0.22))
    bodies, parts = np.full((canvas.height, canvas.width), np.inf), []
    lean = float(style.random())
    for y, x in places(rng, canvas, 3, 2, 0.025):
        v, u = canvas.local(y, x, lean + between(rng, -0.05, 0.05))
        shape = box(v, u, 0.092, 0.185, 0.092)
        paint = np.where(u[..., None] > 0, one, two) * (1 - 0.3 * smooth(np.abs(u), 0.012, 0.0))[..., None]
        gleam = 0.35 * smooth(0.02 - np.abs(v + 0.035), 0, 0.02) * smooth(0.13 - np.abs(u), 0, 0.03)
        parts.append(Part(canvas.cover(shape), lit(shape, paint, 0.08) + gleam[..., None], loose=True))
        bodies = np.minimum(bodies, shape)
    return scene_of(canvas, ground, bodies, parts)


def candles(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Four wax candles with wicks, seen from above."""
    wax = colour(style, (0.75, 0.9), (0.05, 0.3), between(style, 0.0, 0.15))
    ground = table(style, rng, canvas, (0.2, 0.35))
    bodies, parts = np.full((canvas.height, canvas.width), np.inf), []
    for y, x in places(rng, canvas, 2, 2, 0.015):
        v, u = canvas.local(y, x, float(rng.random()))
        shape = disc(v, u, 0.215)
        pool = 1 - 0.16 * smooth(-disc(v, u, 0.15), -0.01, 0.02) + 0.04 * fractal(rng, 12 * v, 12 * u)
        face = lit(shape, wax, 0.03) * pool[..., None]
        wick = path(canvas, [(y, x), (y + between(rng, -0.03, 0.03), x + between(rng, -0.03, 0.03))])[0]
        face = mix(face, np.array([0.2, 0.16, 0.13]), canvas.cover(wick - 0.014))
        parts.append(Part(canvas.cover(shape), face, loose=True))
        bodies = np.minimum(bodies, shape)
    return scene_of(canvas, ground, bodies, parts)


def macaroni(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Four bent pasta tubes."""
    dough = colour(style, (0.6, 0.75), (0.35, 0.6), between(style, 0.07, 0.12))
    ground = table(style, rng, canvas, (0.15, 0.3))
    lean = float(style.random())
    bodies, parts = np.full((canvas.height, canvas.width), np.inf), []
    for y, x in places(rng, canvas, 2, 2, 0.02):
        v, u = canvas.local(y, x, lean + between(rng, -0.06, 0.06))
        v = v + 0.11
        # A tube bent around the point 0.18 below the centre of its arc.
        radius = disc(v, u, 0)
        tube = np.maximum(np.abs(radius - 0.16) - 0.072, 0.02 - v)
        ribs = 1 + 0.07 * wave((u / (radius + 0.01)) * 5)
        gleam = 0.25 * smooth(0.03 - np.abs(radius - 0.18), 0, 0.03)
        paint = lit(tube, dough, 0.06) * ribs[..., None] + gleam[..., None]
        parts.append(Part(canvas.cover(tube), paint, loose=True))
        bodies = np.minimum(bodies, tube)
    return scene_of(canvas, ground, bodies, parts)


def _chip(canvas: Canvas, v: Array, u: Array, a: float, b: float, paint: Array) -> list[Part]:
    """Return the metal legs and the body of a chip."""
    legs = np.maximum(box(v, u, a + 0.028, b - 0.01), 0.008 - np.abs(u * 28 - np.rint(u * 28)) / 28 + 0.002)
    face = paint * (0.8 + 0.25 * smooth(-box(v, u, a, b), 0, 0.012))[..., None]
    dot = canvas.cover(disc(v - a + 0.03, u - b + 0.03, 0.012))
    return [
        Part(canvas.cover(legs), np.full(3, 0.75)),
        Part(canvas.cover(box(v, u, a, b)), mix(face, 0.6, dot), loose=True),
    ]


def pcb(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A printed circuit board with chips, capacitors, resistors and solder pads in fixed places."""
    board = colour(style, (0.3, 0.4), (0.6, 0.85), pick(style, (0.36, 0.4, 0.62)))
    turns = between(rng, -0.006, 0.006)
    cy, cx = canvas.tall / 2 + between(rng, -0.015, 0.015), canvas.wide / 2 + between(rng, -0.015, 0.015)
    v, u = canvas.local(cy, cx, turns)
    a, b = canvas.tall / 2 - 0.06, canvas.wide / 2 - 0.06
    body = box(v, u, a, b, 0.03)
    # Copper tracks run in a fixed pattern of steps under the lacquer.
    step = np.floor(v * 8 + float(style.random()))
    tracks = smooth(np.abs(wave(9 * u + 0.25 * step + 0.2 * noise(style, 3 * v, 3 * u))), 0.6, 0.9)
    parts = [Part(canvas.cover(body), board * (1 + 0.22 * tracks)[..., None])]
    flip = sign(style)
    parts += _chip(canvas, v - flip * a * 0.35, u + b * 0.4, 0.13, 0.16, np.array([0.14, 0.14, 0.16]))
    parts += _chip(canvas, v + flip * a * 0.5, u - b * 0.45, 0.08, 0.11, np.array([0.16, 0.15, 0.15]))
    for k in range(3):
        can = disc(v - flip * a * 0.62, u - b * (0.1 + 0.3 * k), 0.062)
        paint = lit(can, colour(style, (0.6, 0.8), (0, 0.4)), 0.03)
        parts.append(Part(canvas.cover(can), paint, loose=True))
    for k in range(4):
        part = box(v + flip * a * 0.62, u + b * (0.75 - 0.24 * k), 0.07, 0.034, 0.006)
        paint = np.where((np.abs(v + flip * a * 0.62) > 0.048)[..., None], 0.8, np.array([0.55, 0.4, 0.25]))
        parts.append(Part(canvas.cover(part), paint, loose=True))
    for corner_v, corner_u in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        ring = disc(v - corner_v * (a - 0.055), u - corner_u * (b - 0.055), 0.03)
        parts.append(Part(canvas.cover(ring), np.where((ring > -0.014)[..., None], [0.8, 0.7, 0.4], 0.08)))
    return scene_of(canvas, table(style, rng, canvas, (0.75, 0.85)), body, parts)


def bracket(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A painted metal angle with bolts in its holes."""
    turns = pick(style, (0.0, 0.25, 0.5, 0.75)) + between(rng, -0.025, 0.025)
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2 + between(rng, -0.02, 0.02), turns)
    arm = box(v - 0.25, u, 0.13, 0.42, 0.05)
    leg = box(v, u + 0.29, 0.38, 0.13, 0.05)
    body = np.minimum(arm, leg)
    coat = lit(body, colour(style, (0.14, 0.3), (0, 0.3)), 0.03) * (1 + 0.1 * grain(rng, canvas))[..., None]
    parts = [Part(canvas.cover(body), coat)]
    steel = colour(style, (0.55, 0.7), (0, 0.1))
    for y, x in ((0.25, 0.29), (0.25, 0.0), (0.25, -0.29), (-0.24, -0.29), (0.0, -0.29)):
        bolt = polygon(v - y, u - x, 0.058, 6, float(rng.random()))
        face = mix(
            lit(bolt, steel, 0.02), 0.35 * steel, canvas.cover(np.abs(disc(v - y, u - x, 0.03)) - 0.006)
        )
        parts.append(Part(canvas.cover(disc(v - y, u - x, 0.072)), np.full(3, 0.06)))
        parts.append(Part(canvas.cover(bolt), face, loose=True))
    return scene_of(canvas, table(style, rng, canvas, (0.5, 0.65)), body, parts)


def tubes(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Cut metal tubes stacked in rows, seen end on."""
    metal = colour(style, (0.6, 0.75), (0, 0.1))
    rows, columns = round(3 * canvas.tall), round(3 * canvas.wide)
    bodies, parts = np.full((canvas.height, canvas.width), np.inf), []
    for y, x in places(rng, canvas, rows, columns, 0.008):
        v, u = canvas.local(y, x)
        r = disc(v, u, 0)
        rim = np.abs(r - 0.125) - 0.026
        inside = 0.12 + 0.25 * smooth(v, -0.05, 0.1)[..., None] * metal
        face = mix(
            inside + np.zeros((canvas.height, canvas.width, 3)), lit(rim, metal, 0.02), canvas.cover(rim)
        )
        parts.append(Part(canvas.cover(r - 0.151), face, loose=True))
        bodies = np.minimum(bodies, r - 0.151)
    return scene_of(canvas, table(style, rng, canvas, (0.18, 0.3)), bodies, parts)


def flange(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A turned ring with bolts around its bore."""
    cy, cx = canvas.tall / 2 + between(rng, -0.02, 0.02), canvas.wide / 2 + between(rng, -0.02, 0.02)
    v, u = canvas.local(cy, cx, between(rng, -0.02, 0.02) + float(style.random()))
    r = disc(v, u, 0)
    body = r - 0.44
    metal = colour(style, (0.5, 0.7), (0, 0.1))
    turned = metal * (1 + 0.08 * wave(r * 40) + 0.06 * fractal(rng, 6 * v, 6 * u))[..., None]
    bore = 0.4 * metal * (1 + 0.5 * smooth(r, 0.0, 0.17))[..., None]
    parts = [Part(canvas.cover(body), lit(body, turned, 0.03)), Part(canvas.cover(r - 0.17), bore)]
    count = whole(style, 5, 6)
    for k in range(count):
        c, s = rotor(k / count)
        a, b = v - 0.305 * c, u - 0.305 * s
        bolt = disc(a, b, 0.062)
        face = mix(lit(bolt, 1.25 * metal, 0.025), 0.3 * metal, canvas.cover(oval(a, b, 0.012, 0.042)))
        parts.append(Part(canvas.cover(bolt - 0.01), 0.3 * metal))
        parts.append(Part(canvas.cover(bolt), face, loose=True))
    return scene_of(canvas, table(style, rng, canvas, (0.8, 0.9)), body, parts)


OBJECTS: dict[str, Kind] = {
    kind.__name__: kind for kind in (bottle, cable, capsules, candles, macaroni, pcb, bracket, tubes, flange)
}
