"""Object kinds. Each function is one kind (see `scene.Kind`)."""

from itertools import product

import numpy as np

from datasets.standin.raster import Array, Canvas, Rng, box, disc, mix, oval, polygon, rotor, smooth, wave
from datasets.standin.scene import Kind, Scene, Things, lit, places, table


def bottle(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A bottle seen from above: glass rings around the mouth."""
    v, u = canvas.local(*canvas.middle(rng, 0.02))
    glass = style.colour((0.25, 0.4), (0.3, 0.7), style.pick((0.07, 0.1, 0.36, 0.58)))
    r, things = disc(v, u, 0), Things(canvas)
    body = r - 0.42 * rng.between(0.97, 1.03)
    rings = 0.55 + 0.45 * wave(r * style.between(6, 8) + style.random())
    gleam = smooth(wave((v * v - u * u) / (r * r + 0.001) * 0.25 + style.between(0, 1)), 0.3, 1)
    shade = (0.5 + 0.5 * rings + 0.35 * gleam * smooth(r, 0.15, 0.3)) * (1 + 0.05 * rng.grain(canvas))
    things.add(body, shade[..., None] * glass, surface=True)
    things.add(r - 0.17, 0.35 * glass * (1 + 0.6 * smooth(r, 0.02, 0.16))[..., None])
    return things.on(table(style, rng, canvas, (0.75, 0.9)))


def cable(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A cut cable: three insulated wires of stranded copper inside a sheath."""
    v, u = canvas.local(*canvas.middle(rng, 0.02), rng.between(-0.03, 0.03) + style.random())
    body, things = disc(v, u, 0.44), Things(canvas)
    things.add(body, lit(body, style.colour((0.65, 0.8), (0, 0.1)), 0.03), surface=True)
    things.add(body + 0.05, np.full(3, 0.2))
    copper, hue = np.array([0.85, 0.6, 0.4]), style.random()
    for k in range(3):
        c, s = rotor(k / 3)
        a, b = v - 0.2 * c, u - 0.2 * s
        wire = disc(a, b, 0.172)
        rubber = style.colour((0.45, 0.65), (0.6, 0.8), hue + k / 3)
        i, j = a / 0.055, b / 0.055 + 0.5 * (np.floor(a / 0.055) % 2)
        strand = disc(i - np.floor(i) - 0.5, j - np.floor(j) - 0.5, 0)
        core = copper * (1.05 - 0.9 * strand + 0.05 * rng.grain(canvas))[..., None]
        things.add(wire, mix(lit(wire, rubber, 0.03), core, canvas.cover(wire + 0.065)), loose=True)
    return things.on(table(style, rng, canvas, (0.3, 0.45)))


def capsules(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Two-coloured capsules lying in rows."""
    one, two = style.colour((0.5, 0.75), (0.4, 0.8)), style.colour((0.6, 0.9), (0, 0.3))
    ground, things = table(style, rng, canvas, (0.12, 0.22)), Things(canvas)
    lean = style.random()
    for y, x in places(rng, canvas, 3, 2, 0.025):
        v, u = canvas.local(y, x, lean + rng.between(-0.05, 0.05))
        shape = box(v, u, 0.092, 0.185, 0.092)
        paint = np.where(u[..., None] > 0, one, two) * (1 - 0.3 * smooth(np.abs(u), 0.012, 0.0))[..., None]
        gleam = 0.35 * smooth(0.02 - np.abs(v + 0.035), 0, 0.02) * smooth(0.13 - np.abs(u), 0, 0.03)
        things.add(shape, lit(shape, paint, 0.08) + gleam[..., None], loose=True, surface=True)
    return things.on(ground)


def candles(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Four wax candles with wicks, seen from above."""
    wax = style.colour((0.75, 0.9), (0.05, 0.3), style.between(0.0, 0.15))
    ground, things = table(style, rng, canvas, (0.2, 0.35)), Things(canvas)
    for y, x in places(rng, canvas, 2, 2, 0.015):
        v, u = canvas.local(y, x, rng.random())
        shape = disc(v, u, 0.215)
        pool = 1 - 0.16 * smooth(-disc(v, u, 0.15), -0.01, 0.02) + 0.04 * rng.fractal(v, u, 12)
        face = lit(shape, wax, 0.03) * pool[..., None]
        wick, _ = canvas.path([(y, x), (y + rng.between(-0.03, 0.03), x + rng.between(-0.03, 0.03))])
        face = mix(face, np.array([0.2, 0.16, 0.13]), canvas.cover(wick - 0.014))
        things.add(shape, face, loose=True, surface=True)
    return things.on(ground)


def macaroni(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Four bent pasta tubes."""
    dough = style.colour((0.6, 0.75), (0.35, 0.6), style.between(0.07, 0.12))
    ground, things = table(style, rng, canvas, (0.15, 0.3)), Things(canvas)
    lean = style.random()
    for y, x in places(rng, canvas, 2, 2, 0.02):
        v, u = canvas.local(y, x, lean + rng.between(-0.06, 0.06))
        v = v + 0.11
        # A tube bent around the point 0.18 below the centre of its arc.
        radius = disc(v, u, 0)
        tube = np.maximum(np.abs(radius - 0.16) - 0.072, 0.02 - v)
        ribs = 1 + 0.07 * wave((u / (radius + 0.01)) * 5)
        gleam = 0.25 * smooth(0.03 - np.abs(radius - 0.18), 0, 0.03)
        paint = lit(tube, dough, 0.06) * ribs[..., None] + gleam[..., None]
        things.add(tube, paint, loose=True, surface=True)
    return things.on(ground)


def _chip(things: Things, v: Array, u: Array, a: float, b: float, paint: Array) -> None:
    """Add the metal legs and the body of a chip."""
    body = box(v, u, a, b)
    legs = np.maximum(box(v, u, a + 0.028, b - 0.01), 0.008 - np.abs(u * 28 - np.rint(u * 28)) / 28 + 0.002)
    face = paint * (0.8 + 0.25 * smooth(-body, 0, 0.012))[..., None]
    things.add(legs, np.full(3, 0.75))
    dot = things.canvas.cover(disc(v - a + 0.03, u - b + 0.03, 0.012))
    things.add(body, mix(face, 0.6, dot), loose=True)


def pcb(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A printed circuit board with chips, capacitors, resistors and solder pads in fixed places."""
    board = style.colour((0.3, 0.4), (0.6, 0.85), style.pick((0.36, 0.4, 0.62)))
    turns, things = rng.between(-0.006, 0.006), Things(canvas)
    v, u = canvas.local(*canvas.middle(rng, 0.015), turns)
    a, b = canvas.tall / 2 - 0.06, canvas.wide / 2 - 0.06
    # Copper tracks run in a fixed pattern of steps under the lacquer.
    step = np.floor(v * 8 + style.random())
    tracks = smooth(np.abs(wave(9 * u + 0.25 * step + 0.2 * style.noise(v, u, 3))), 0.6, 0.9)
    things.add(box(v, u, a, b, 0.03), board * (1 + 0.22 * tracks)[..., None], surface=True)
    flip = style.sign()
    _chip(things, v - flip * a * 0.35, u + b * 0.4, 0.13, 0.16, np.array([0.14, 0.14, 0.16]))
    _chip(things, v + flip * a * 0.5, u - b * 0.45, 0.08, 0.11, np.array([0.16, 0.15, 0.15]))
    for k in range(3):
        can = disc(v - flip * a * 0.62, u - b * (0.1 + 0.3 * k), 0.062)
        things.add(can, lit(can, style.colour((0.6, 0.8), (0, 0.4)), 0.03), loose=True)
    low = v + flip * a * 0.62
    resistor = np.where((np.abs(low) > 0.048)[..., None], 0.8, np.array([0.55, 0.4, 0.25]))
    for k in range(4):
        things.add(box(low, u + b * (0.75 - 0.24 * k), 0.07, 0.034, 0.006), resistor, loose=True)
    for i, j in product((-1, 1), repeat=2):
        pad = disc(v - i * (a - 0.055), u - j * (b - 0.055), 0.03)
        things.add(pad, np.where((pad > -0.014)[..., None], [0.8, 0.7, 0.4], 0.08))
    return things.on(table(style, rng, canvas, (0.75, 0.85)))


def bracket(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A painted metal angle with bolts in its holes."""
    turns = style.pick((0.0, 0.25, 0.5, 0.75)) + rng.between(-0.025, 0.025)
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2 + rng.between(-0.02, 0.02), turns)
    body = np.minimum(box(v - 0.25, u, 0.13, 0.42, 0.05), box(v, u + 0.29, 0.38, 0.13, 0.05))
    coat = lit(body, style.colour((0.14, 0.3), (0, 0.3)), 0.03) * (1 + 0.1 * rng.grain(canvas))[..., None]
    things = Things(canvas)
    things.add(body, coat, surface=True)
    steel = style.colour((0.55, 0.7), (0, 0.1))
    for y, x in ((0.25, 0.29), (0.25, 0.0), (0.25, -0.29), (-0.24, -0.29), (0.0, -0.29)):
        a, b = v - y, u - x
        bolt = polygon(a, b, 0.058, 6, rng.random())
        groove = canvas.cover(np.abs(disc(a, b, 0.03)) - 0.006)
        things.add(disc(a, b, 0.072), np.full(3, 0.06))
        things.add(bolt, mix(lit(bolt, steel, 0.02), 0.35 * steel, groove), loose=True)
    return things.on(table(style, rng, canvas, (0.5, 0.65)))


def tubes(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Cut metal tubes stacked in rows, seen end on."""
    metal, things = style.colour((0.6, 0.75), (0, 0.1)), Things(canvas)
    for y, x in places(rng, canvas, round(3 * canvas.tall), round(3 * canvas.wide), 0.008):
        v, u = canvas.local(y, x)
        r = disc(v, u, 0)
        rim = np.abs(r - 0.125) - 0.026
        inside = 0.12 + 0.25 * smooth(v, -0.05, 0.1)[..., None] * metal
        face = mix(inside, lit(rim, metal, 0.02), canvas.cover(rim))
        things.add(r - 0.151, face, loose=True, surface=True)
    return things.on(table(style, rng, canvas, (0.18, 0.3)))


def flange(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A turned ring with bolts around its bore."""
    v, u = canvas.local(*canvas.middle(rng, 0.02), rng.between(-0.02, 0.02) + style.random())
    r, things = disc(v, u, 0), Things(canvas)
    metal = style.colour((0.5, 0.7), (0, 0.1))
    turned = metal * (1 + 0.08 * wave(r * 40) + 0.06 * rng.fractal(v, u, 6))[..., None]
    things.add(r - 0.44, lit(r - 0.44, turned, 0.03), surface=True)
    things.add(r - 0.17, 0.4 * metal * (1 + 0.5 * smooth(r, 0.0, 0.17))[..., None])
    count = style.whole(5, 6)
    for k in range(count):
        c, s = rotor(k / count)
        a, b = v - 0.305 * c, u - 0.305 * s
        bolt = disc(a, b, 0.062)
        slot = canvas.cover(oval(a, b, 0.012, 0.042))
        things.add(bolt - 0.01, 0.3 * metal)
        things.add(bolt, mix(lit(bolt, 1.25 * metal, 0.025), 0.3 * metal, slot), loose=True)
    return things.on(table(style, rng, canvas, (0.8, 0.9)))


OBJECTS: dict[str, Kind] = {
    kind.__name__: kind for kind in (bottle, cable, capsules, candles, macaroni, pcb, bracket, tubes, flange)
}
