"""Texture kinds: surfaces that fill the picture. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.raster import Array, Canvas, Range, Rng, disc, fraction, mix, smooth, tinted, wave
from datasets.standin.scene import Kind, Scene, filled


def sheet_frame(
    style: Rng, rng: Rng, canvas: Canvas, period: Range, turns: float = 0.0, bend: float = 0.12
) -> tuple[Array, Array]:
    """Return coordinates counted in periods on a slightly turned, shifted, scaled and buckled sheet."""
    p = style.between(*period) * rng.between(0.94, 1.06)
    v, u = canvas.local(rng.between(-1, 0), rng.between(-1, 0), turns + rng.between(-0.008, 0.008))
    buckle = bend * rng.noise(v, u, 2.5)
    return v / p + buckle, u / p + buckle


def ridge(phase: Array) -> Array:
    """Return a round bump per period: 0 at whole phases, 1 half-way."""
    t = 2 * fraction(phase) - 1
    return 1 - t * t


def woven(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Two sets of threads going over and under each other: plain or twill."""
    v, u = sheet_frame(style, rng, canvas, (0.055, 0.085), style.pick((0.0, 0.0, 0.125)))
    step = style.pick((1, 1, 2))
    over = fraction((np.floor(v) + step * np.floor(u)) / (2 * step)) < 0.5
    warp, weft = ridge(v) * (0.55 + 0.45 * ridge(u / 2)), ridge(u) * (0.55 + 0.45 * ridge(v / 2))
    hue = style.random()
    one, two = style.colour((0.4, 0.75), (0, 0.35), hue), style.colour((0.35, 0.8), (0, 0.35), hue + 0.1)
    fuzz = 0.1 * rng.grain(canvas) + 0.12 * rng.noise(v, u, 2)
    threads = tinted(warp + fuzz, 0.35 * one, one), tinted(weft + fuzz, 0.35 * one, two)
    return filled(canvas, np.where(over[..., None], *threads))


def grid(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A wire mesh, straight or diagonal, in front of a plain ground."""
    v, u = sheet_frame(style, rng, canvas, (0.085, 0.12), style.pick((0.0, 0.125)), bend=0.06)
    width = style.between(0.17, 0.24)
    a, b = np.abs(fraction(v) - 0.5) / width, np.abs(fraction(u) - 0.5) / width
    wires = np.maximum(1 - a * a, 1 - b * b)
    light = style.between(0.55, 0.8)
    ground = np.full(3, style.between(0.12, 0.25))
    metal = tinted(0.25 + 0.75 * wires, ground, style.colour((light, light), (0, 0.12)))
    picture = mix(ground, metal, smooth(wires, -0.15, 0.25))
    return filled(canvas, picture + 0.02 * rng.grain(canvas)[..., None])


def leather(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Pebbled hide: small rounded cells parted by creases."""
    v, u = sheet_frame(style, rng, canvas, (0.04, 0.06), bend=0.3)
    near, far, label = rng.cells(v, u, 0.9)
    relief = smooth(far - near, 0.0, 0.45) * (0.78 + 0.22 * label) * (1 - 0.2 * near)
    skin = style.colour((0.35, 0.6), (0.2, 0.6), style.between(0.98, 1.1))
    return filled(canvas, tinted(relief + 0.06 * rng.grain(canvas), 0.45 * skin, skin))


def wood(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Sawn board: growth lines along one direction, with fine pores."""
    turns = style.pick((0.0, 0.25)) + rng.between(-0.01, 0.01)
    v, u = canvas.local(rng.between(0, 1), rng.between(0, 1), turns)
    lines = style.between(9, 15)
    bow = 0.5 * rng.fractal(1.2 * v, 2.2 * u)
    growth = 0.5 + 0.5 * wave(lines * u + bow + 0.8 * rng.noise(0.7 * v, 3 * u))
    pores = rng.noise(6 * v, 70 * u) * 0.5 + rng.noise(14 * v, 110 * u) * 0.5
    early = style.colour((0.6, 0.75), (0.2, 0.35), style.between(0.06, 0.1))
    return filled(canvas, tinted(0.55 * growth * growth + 0.3 + 0.3 * pores, 0.62 * early, 1.08 * early))


def perforated(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A sheet with a regular lattice of round holes, square or staggered."""
    v, u = sheet_frame(style, rng, canvas, (0.09, 0.13), bend=0.05)
    u = u + 0.5 * (fraction(np.floor(v) / 2) if style.random() < 0.6 else 0)
    dv, du = fraction(v) - 0.5, fraction(u) - 0.5
    d = disc(dv, du, style.between(0.22, 0.32))
    sheet = style.colour((0.55, 0.8), (0, 0.4))
    rim = smooth(-np.abs(d - 0.05), -0.1, 0.0) * np.where(dv + du > 0, 0.22, -0.12)
    level = 0.9 + 0.05 * rng.fractal(canvas.y, canvas.x, 3) + rim
    plate = level[..., None] * sheet
    return filled(canvas, mix(plate, style.colour((0.08, 0.2), (0, 0.3)), smooth(-d, -0.03, 0.05)))


def marbled(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Polished stone with soft clouds and a dense net of thin veins."""
    v, u = sheet_frame(style, rng, canvas, (0.07, 0.1), style.random(), bend=0.5)
    fold = 0.6 * rng.fractal(v, u, 0.7)
    veins = 1 - np.abs(rng.fractal(v + fold, 0.7 * u + fold)) * 3
    light = style.colour((0.6, 0.85), (0, 0.15))
    clouds = 0.5 + 0.5 * rng.fractal(v, u, 0.5)
    return filled(canvas, tinted(1 - 0.55 * smooth(veins, 0.1, 1) - 0.3 * clouds, 0.45 * light, light))


def brushed(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Metal brushed in one direction."""
    v, u = canvas.local(rng.between(0, 1), rng.between(0, 1), style.pick((0.0, 0.25)))
    streaks = 0.6 * rng.noise(60 * v, 1.5 * u) + 0.4 * rng.noise(110 * v, 4 * u)
    band = rng.noise(7 * v, 0.4 * u)
    metal = style.colour((0.5, 0.7), (0, 0.06))
    return filled(canvas, metal * (1 + 0.2 * streaks + 0.08 * band)[..., None])


def cloudy(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Statistically even grey texture: noise of one grain size, round or drawn out."""
    size, drawn = style.between(0.018, 0.04), style.between(1, 3.5)
    v, u = canvas.local(rng.between(0, 1), rng.between(0, 1), style.random())
    body = rng.fractal(v / size, u / (size * drawn), octaves=3)
    level, depth = style.between(0.4, 0.6), style.between(0.16, 0.26) * rng.between(0.65, 1.35)
    return filled(canvas, np.full(3, 1.0) * (level + depth * body)[..., None])


TEXTURES: dict[str, Kind] = {
    kind.__name__: kind for kind in (woven, grid, leather, wood, perforated, marbled, brushed, cloudy)
}
