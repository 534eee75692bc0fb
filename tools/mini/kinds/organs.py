"""Organ kinds to train on: medical scenes. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.raster import Canvas, Rng, disc, fraction, mix, oval, rotor, smooth, wave
from datasets.standin.scene import Kind, Scene, filled, scanned


def retina(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """The back of an eye: bright optic disc, branching vessels, darker macula."""
    cy, cx = canvas.tall / 2, canvas.wide / 2
    v, u = canvas.local(cy, cx)
    side = rng.sign()
    eye = disc(v, u, 0.485)
    fundus = style.colour((0.5, 0.65), (0.5, 0.75), style.between(0.02, 0.07))
    level = 1 + 0.08 * rng.fractal(v, u, 5) - 0.25 * smooth(disc(v, u, 0), 0.2, 0.5)
    macula = 0.3 * smooth(0.1 - disc(v, u + 0.08 * side, 0), 0, 0.1)
    picture = fundus * (level - macula)[..., None]
    oy, ox = cy + rng.between(-0.03, 0.03), cx + 0.24 * side
    for turns in (0.14, 0.27, 0.4, 0.6, 0.73, 0.86):
        y, x, angle, points = oy, ox, turns + 0.25 + rng.between(-0.04, 0.04), []
        for _ in range(6):
            points.append((y, x))
            c, s = rotor(angle)
            y, x = y + 0.09 * s, x + 0.09 * c * 1.2
            angle = angle + rng.between(-0.04, 0.04) - 0.02 * side * s
        d, along = canvas.path(points)
        vessel = canvas.cover(d - 0.012 * (1 - 0.7 * along))
        picture = mix(picture, picture * np.array([0.55, 0.35, 0.4]), 0.8 * vessel)
    optic = canvas.cover(disc(canvas.y - oy, canvas.x - ox, 0.06), 0.03)
    picture = mix(picture, np.array([0.95, 0.85, 0.55]), 0.85 * optic)
    shown = canvas.cover(eye)
    return Scene(canvas, mix(0.02, picture, shown), canvas.inside(eye + 0.06) & (optic < 0.5))


def chest(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A chest radiograph: two dark lungs behind ribs, bright heart and spine."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2 + rng.between(-0.02, 0.02), rng.between(-0.01, 0.01))
    lung = oval(v + 0.02 + 0.12 * np.abs(u), np.abs(u) - 0.21, 0.34, rng.between(0.125, 0.145))
    body = 0.6 + 0.05 * rng.fractal(v, u, 3) - 0.45 * smooth(np.abs(u) + 0.1 * np.abs(v), 0.4, 0.5)
    ribs = smooth(wave(9 * (v + 0.35 * np.abs(u) + 0.4 * u * u)), 0.3, 0.9)
    air = 0.22 + 0.13 * ribs + 0.05 * rng.fractal(v, u, 9)
    level = mix(body + 0.06 * ribs, air, canvas.cover(lung, 0.05))
    heart = oval(v - 0.14, u + 0.06, 0.17, rng.between(0.12, 0.15))
    level = mix(level, 0.72, 0.85 * canvas.cover(heart, 0.05))
    spine = smooth(0.05 - np.abs(u), 0, 0.02) * (0.75 + 0.12 * wave(11 * v))
    level = np.maximum(level, 0.95 * spine)
    return scanned(canvas, np.clip(level, 0, 1), canvas.inside(np.maximum(lung + 0.02, -heart)))


def liver(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """An abdominal CT slice: body wall, spine, a large even liver with vessels, stomach."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, rng.between(-0.015, 0.015))
    body = oval(v, u, rng.between(0.36, 0.4), 0.465)
    level = canvas.full(0.3) + 0.04 * rng.fractal(v, u, 6)
    organ = np.maximum(body + 0.06, oval(v + 0.03, u + 0.16, 0.27, 0.28) + 0.02 * rng.noise(v, u, 5))
    vessels = smooth(1 - np.abs(rng.fractal(v, u, 4)) * 11, 0.2, 1)
    level = mix(level, 0.56 + 0.03 * rng.fractal(v, u, 10) + 0.12 * vessels, canvas.cover(organ, 0.012))
    level = mix(
        level, 0.5, canvas.cover(oval(v - 0.02, u - 0.27, 0.14, 0.09) + 0.02 * rng.noise(v, u, 6), 0.02)
    )
    level = mix(level, 0.12, canvas.cover(oval(v + 0.15, u - 0.2, 0.09, 0.12), 0.02))
    level = mix(level, 0.9, canvas.cover(disc(v - 0.2, u, 0.06), 0.02))
    ribs = np.maximum(np.abs(body + 0.04) - 0.014, 0.3 - np.abs(fraction(4 * (v + u)) - 0.5))
    level = mix(level, 0.85, canvas.cover(ribs, 0.01))
    level = mix(level, 0.18, canvas.cover(np.abs(body + 0.01) - 0.012))
    return scanned(
        canvas,
        mix(0.03, level, canvas.cover(body)),
        canvas.inside(organ + 0.03),
    )


def bone(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A radiograph of two long bones in soft tissue."""
    v, u = canvas.local(
        canvas.tall / 2, canvas.wide / 2, style.pick((0.0, 0.0, 0.25)) + rng.between(-0.03, 0.03)
    )
    flare = 0.16 * smooth(np.abs(v), 0.2, 0.55) * smooth(np.abs(v), 0.2, 0.55)
    level = 0.26 * smooth(0.44 - np.abs(u) + 0.03 * rng.noise(3 * v, 0 * u), 0, 0.04) + 0.03
    region = canvas.full(np.inf)
    for x, half in ((-0.15, rng.between(0.085, 0.105)), (0.15, rng.between(0.065, 0.085))):
        shaft = np.abs(u - x + 0.012 * rng.noise(2 * v, 0 * u)) - half - flare * 0.6
        cortex = smooth(shaft, -0.05, -0.01)
        marrow = 0.5 + 0.06 * rng.fractal(v, u, 22) + 0.3 * cortex
        level = mix(level, marrow, canvas.cover(shaft, 0.012))
        region = np.minimum(region, shaft)
    return scanned(canvas, level, canvas.inside(region))


def histology(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Stained tissue: cells with dark nuclei, evenly spread."""
    v, u = canvas.local(rng.between(0, 1), rng.between(0, 1), rng.random())
    near, far, label = rng.cells(13 * v, 13 * u, 0.75)
    pink = style.colour((0.72, 0.85), (0.15, 0.3), style.between(0.88, 1.0))
    violet = style.colour((0.4, 0.5), (0.25, 0.45), style.between(0.72, 0.82))
    walls = smooth(0.12 - (far - near), 0, 0.12)
    picture = pink * (1 + 0.06 * rng.fractal(v, u, 8) + 0.1 * walls)[..., None]
    return filled(canvas, mix(picture, violet, 0.9 * smooth(0.2 + 0.1 * label - near, 0, 0.08)))


ORGANS: dict[str, Kind] = {f.__name__: f for f in (retina, chest, liver, bone, histology)}
