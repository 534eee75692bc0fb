"""Organ kinds: medical scenes. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.raster import (
    Array,
    Canvas,
    Mask,
    Rng,
    between,
    blur,
    cells,
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
    rotor,
    sign,
    smooth,
    tinted,
    wave,
    whole,
)
from datasets.standin.scene import Kind, Scene


def _grey(level: Array) -> Array:
    """Return a grey level (H, W) as a colour picture (H, W, 3)."""
    return np.repeat(level[..., None], 3, axis=2)


def _within(canvas: Canvas, body: Array) -> Mask:
    return canvas.cover(body) > 0.5


# Kinds of the stand-in datasets.


def _head(rng: Rng, canvas: Canvas) -> tuple[Array, Array, Array, Array, Array]:
    """Return (v, u, outline, ventricles, midline) of one head: its frame and signed distances."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, between(rng, -0.015, 0.015))
    a, b = between(rng, 0.43, 0.46), between(rng, 0.35, 0.385)
    wobble = 0.012 * noise(rng, 3 * v, 3 * u)
    outline = oval(v, u, a, b) + wobble
    size, open_ = between(rng, 0.85, 1.15), between(rng, 0.045, 0.055)
    side = np.abs(u)
    front = oval(v + 0.09 - 0.3 * side, side - open_, 0.075 * size, 0.024 * size)
    back = oval(v - 0.08 + 0.5 * side, side - open_ - 0.015, 0.075 * size, 0.022 * size)
    midline = np.abs(u + 0.006 * noise(rng, 5 * v, 0 * u)) - 0.003
    return v, u, outline, np.minimum(front, back) + 0.3 * wobble, midline


def head_ct(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A head CT slice: bright skull, even brain, dark ventricles."""
    v, u, outline, ventricles, midline = _head(rng, canvas)
    brain = outline + between(rng, 0.035, 0.05)
    tissue = 0.42 + 0.05 * fractal(rng, 9 * v, 9 * u) + 0.05 * smooth(-brain, 0.05, 0.0)
    sulci = smooth(noise(rng, 16 * v, 16 * u), 0.45, 0.8) * smooth(brain, -0.07, -0.02)
    level = mix(tissue - 0.12 * sulci, 0.2, canvas.cover(ventricles, 0.015))
    level = mix(level, 0.52, 0.6 * canvas.cover(np.maximum(midline, 0.15 - np.abs(v)), 0.006))
    level = mix(0.93 + 0.05 * grain(rng, canvas), level, canvas.cover(brain, 0.012))
    return Scene(
        canvas,
        _grey(mix(np.full_like(level, 0.03), level, canvas.cover(outline))),
        _within(canvas, brain + 0.03),
    )


def head_mri(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A head MRI slice: bright scalp, dark skull, folded grey and white matter."""
    v, u, outline, ventricles, midline = _head(rng, canvas)
    brain = outline + between(rng, 0.06, 0.075)
    near, far, _ = cells(rng, 15 * v + 0.8 * noise(rng, 9 * v, 9 * u), 15 * u, 1)
    folds = smooth(0.2 - (far - near), 0, 0.2) * smooth(brain, -0.13, -0.01)
    white = between(style, 0.55, 0.66)
    tissue = white + 0.04 * fractal(rng, 10 * v, 10 * u) - 0.14 * smooth(brain, -0.1, -0.02) - 0.26 * folds
    level = mix(tissue, between(style, 0.1, 0.2), canvas.cover(ventricles, 0.012))
    level = mix(level, 0.2, 0.7 * canvas.cover(np.maximum(midline, 0.1 - np.abs(v)), 0.006))
    level = mix(np.full_like(level, 0.12), level, canvas.cover(brain, 0.01))
    scalp = canvas.cover(np.abs(outline + 0.018) - 0.013, 0.012)
    level = mix(level, 0.75 + 0.1 * noise(rng, 12 * v, 12 * u), scalp)
    return Scene(
        canvas,
        _grey(mix(np.full_like(level, 0.03), level, canvas.cover(outline))),
        _within(canvas, brain + 0.03),
    )


def skin(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Skin under a dermatoscope: fine lines, a few hairs, darker corners."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, float(rng.random()))
    near, far, _ = cells(rng, 22 * v, 22 * u, 0.9)
    relief = smooth(far - near, 0, 0.4)
    tone = colour(rng, (0.66, 0.82), (0.18, 0.32), between(rng, 0.0, 0.06))
    mottle = 1 + 0.05 * fractal(rng, 3 * v, 3 * u) - 0.05 * (1 - relief)
    picture = tone * mottle[..., None]
    for _ in range(whole(rng, 0, 5)):
        y, x, turns = between(rng, 0, canvas.tall), between(rng, 0, canvas.wide), float(rng.random())
        points = []
        for _ in range(4):
            points.append((y, x))
            c, s = rotor(turns)
            y, x, turns = y + 0.13 * s, x + 0.13 * c, turns + between(rng, -0.06, 0.06)
        hair = path(canvas, points)[0] - 0.004
        picture = mix(picture, np.array([0.22, 0.16, 0.13]), 0.7 * canvas.cover(hair))
    corner = smooth(
        disc(canvas.y - canvas.tall / 2, canvas.x - canvas.wide / 2, 0), 0.45, between(rng, 0.85, 1.4)
    )
    return Scene(canvas, picture * (1 - 0.45 * corner)[..., None], _within(canvas, corner - 0.35))


def colon(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Bowel wall in an endoscope: folds around a dark lumen, vessels, wet highlights."""
    cy, cx = canvas.tall * between(rng, 0.1, 0.9), canvas.wide * between(rng, 0.1, 0.9)
    v, u = canvas.local(cy, cx, float(rng.random()))
    r = oval(v, u, 1, between(rng, 0.9, 1.3)) + 1 + 0.05 * noise(rng, 4 * v, 4 * u)
    folds = wave(
        between(rng, 4.5, 6) * np.sqrt(np.maximum(r, 0))
        + 0.25 * noise(rng, 3 * v, 3 * u)
        + float(rng.random())
    )
    light = smooth(r, -0.02, 0.3) * (0.82 + 0.13 * folds)
    mucosa = colour(style, (0.6, 0.72), (0.4, 0.55), between(style, 0.0, 0.05))
    vessels = 1 - np.abs(fractal(rng, 5 * v, 5 * u, 3)) * 9
    picture = tinted(light + 0.04 * fractal(rng, 12 * v, 12 * u), 0.12 * mucosa, 1.15 * mucosa)
    picture = mix(
        picture, picture * np.array([0.92, 0.6, 0.62]), 0.4 * smooth(vessels, 0, 1) * smooth(r, 0.1, 0.3)
    )
    wet = smooth(fractal(rng, 14 * v, 14 * u) + 0.2 * folds, 0.68, 0.85) * smooth(r, 0.12, 0.25)
    return Scene(canvas, mix(picture, 0.97, 0.85 * wet), _within(canvas, 0.12 - r))


def thyroid(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A neck ultrasound: layered muscle above an evenly speckled gland, and a shadowed trachea."""
    v, u = canvas.y / canvas.tall, canvas.x / canvas.wide - 0.5
    sag = 0.03 * noise(rng, 2 * v, 3 * u) - between(rng, 0.2, 0.35) * u * u
    depth = v + sag
    layers = 0.3 + 0.14 * wave(depth * 13) * smooth(0.3 - depth, 0, 0.1)
    gland = smooth(depth, 0.24, 0.28) * smooth(0.74 - depth, 0, 0.08)
    level = layers * smooth(0.3 - depth, -0.05, 0.05) + 0.5 * gland + 0.16 * smooth(depth, 0.7, 0.78)
    capsule = smooth(0.02 - np.abs(depth - 0.26), 0, 0.02) + 0.7 * smooth(
        0.018 - np.abs(depth - 0.72), 0, 0.018
    )
    side = sign(rng) * between(rng, 0.36, 0.5)
    trachea = oval(v - 0.55, u - side, 0.22, 0.13)
    level = level + 0.35 * capsule
    level = mix(level, 0.07, canvas.cover(trachea, 0.04))
    # Speckle multiplies; it is drawn out sideways, more with depth.
    speckle = blur(grain(rng, canvas), 1, 1)
    speckle = 0.6 * speckle + 0.5 * np.roll(speckle, 1, axis=1) + 0.4 * noise(rng, 50 * v, 24 * u)
    level = level * (1 + 0.6 * speckle)
    region = (gland > 0.9) & (trachea > 0.02) & (np.abs(u) < 0.46)
    return Scene(canvas, _grey(np.clip(level, 0.02, 1)), region)


# Kinds kept for training.


def retina(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """The back of an eye: bright optic disc, branching vessels, darker macula."""
    cy, cx = canvas.tall / 2, canvas.wide / 2
    v, u = canvas.local(cy, cx)
    side = sign(rng)
    eye = disc(v, u, 0.485)
    fundus = colour(style, (0.5, 0.65), (0.5, 0.75), between(style, 0.02, 0.07))
    level = 1 + 0.08 * fractal(rng, 5 * v, 5 * u) - 0.25 * smooth(disc(v, u, 0), 0.2, 0.5)
    macula = 0.3 * smooth(0.1 - disc(v, u + 0.08 * side, 0), 0, 0.1)
    picture = fundus * (level - macula)[..., None]
    oy, ox = cy + between(rng, -0.03, 0.03), cx + 0.24 * side
    for turns in (0.14, 0.27, 0.4, 0.6, 0.73, 0.86):
        y, x, angle, points = oy, ox, turns + 0.25 + between(rng, -0.04, 0.04), []
        for _ in range(6):
            points.append((y, x))
            c, s = rotor(angle)
            y, x, angle = (
                y + 0.09 * s,
                x + 0.09 * c * 1.2,
                angle + between(rng, -0.04, 0.04) - 0.02 * side * s,
            )
        d, along = path(canvas, points)
        picture = mix(
            picture, picture * np.array([0.55, 0.35, 0.4]), 0.8 * canvas.cover(d - 0.012 * (1 - 0.7 * along))
        )
    optic = canvas.cover(disc(canvas.y - oy, canvas.x - ox, 0.06), 0.03)
    picture = mix(picture, np.array([0.95, 0.85, 0.55]), 0.85 * optic)
    shown = canvas.cover(eye)
    return Scene(
        canvas, mix(np.full_like(picture, 0.02), picture, shown), _within(canvas, eye + 0.06) & (optic < 0.5)
    )


def chest(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A chest radiograph: two dark lungs behind ribs, bright heart and spine."""
    v, u = canvas.local(
        canvas.tall / 2, canvas.wide / 2 + between(rng, -0.02, 0.02), between(rng, -0.01, 0.01)
    )
    lung = oval(v + 0.02 + 0.12 * np.abs(u), np.abs(u) - 0.21, 0.34, between(rng, 0.125, 0.145))
    body = 0.6 + 0.05 * fractal(rng, 3 * v, 3 * u) - 0.45 * smooth(np.abs(u) + 0.1 * np.abs(v), 0.4, 0.5)
    ribs = smooth(wave(9 * (v + 0.35 * np.abs(u) + 0.4 * u * u)), 0.3, 0.9)
    air = 0.22 + 0.13 * ribs + 0.05 * fractal(rng, 9 * v, 9 * u)
    level = mix(body + 0.06 * ribs, air, canvas.cover(lung, 0.05))
    heart = oval(v - 0.14, u + 0.06, 0.17, between(rng, 0.12, 0.15))
    level = mix(level, 0.72, 0.85 * canvas.cover(heart, 0.05))
    spine = smooth(0.05 - np.abs(u), 0, 0.02) * (0.75 + 0.12 * wave(11 * v))
    level = np.maximum(level, 0.95 * spine)
    return Scene(canvas, _grey(np.clip(level, 0, 1)), _within(canvas, np.maximum(lung + 0.02, -heart)))


def liver(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """An abdominal CT slice: body wall, spine, a large even liver with vessels, stomach."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, between(rng, -0.015, 0.015))
    body = oval(v, u, between(rng, 0.36, 0.4), 0.465)
    level = np.full((canvas.height, canvas.width), 0.3) + 0.04 * fractal(rng, 6 * v, 6 * u)
    organ = np.maximum(body + 0.06, oval(v + 0.03, u + 0.16, 0.27, 0.28) + 0.02 * noise(rng, 5 * v, 5 * u))
    vessels = smooth(1 - np.abs(fractal(rng, 4 * v, 4 * u)) * 11, 0.2, 1)
    level = mix(
        level, 0.56 + 0.03 * fractal(rng, 10 * v, 10 * u) + 0.12 * vessels, canvas.cover(organ, 0.012)
    )
    level = mix(
        level, 0.5, canvas.cover(oval(v - 0.02, u - 0.27, 0.14, 0.09) + 0.02 * noise(rng, 6 * v, 6 * u), 0.02)
    )
    level = mix(level, 0.12, canvas.cover(oval(v + 0.15, u - 0.2, 0.09, 0.12), 0.02))
    level = mix(level, 0.9, canvas.cover(disc(v - 0.2, u, 0.06), 0.02))
    ribs = np.maximum(np.abs(body + 0.04) - 0.014, 0.3 - np.abs(fraction(4 * (v + u)) - 0.5))
    level = mix(level, 0.85, canvas.cover(ribs, 0.01))
    level = mix(level, 0.18, canvas.cover(np.abs(body + 0.01) - 0.012))
    return Scene(
        canvas,
        _grey(mix(np.full_like(level, 0.03), level, canvas.cover(body))),
        _within(canvas, organ + 0.03),
    )


def bone(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A radiograph of two long bones in soft tissue."""
    v, u = canvas.local(
        canvas.tall / 2, canvas.wide / 2, pick(style, (0.0, 0.0, 0.25)) + between(rng, -0.03, 0.03)
    )
    flare = 0.16 * smooth(np.abs(v), 0.2, 0.55) * smooth(np.abs(v), 0.2, 0.55)
    level = 0.26 * smooth(0.44 - np.abs(u) + 0.03 * noise(rng, 3 * v, 0 * u), 0, 0.04) + 0.03
    region = np.full((canvas.height, canvas.width), np.inf)
    for x, half in ((-0.15, between(rng, 0.085, 0.105)), (0.15, between(rng, 0.065, 0.085))):
        shaft = np.abs(u - x + 0.012 * noise(rng, 2 * v, 0 * u)) - half - flare * 0.6
        cortex = smooth(shaft, -0.05, -0.01)
        marrow = 0.5 + 0.06 * fractal(rng, 22 * v, 22 * u) + 0.3 * cortex
        level = mix(level, marrow, canvas.cover(shaft, 0.012))
        region = np.minimum(region, shaft)
    return Scene(canvas, _grey(level), _within(canvas, region))


def histology(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Stained tissue: cells with dark nuclei, evenly spread."""
    v, u = canvas.local(between(rng, 0, 1), between(rng, 0, 1), float(rng.random()))
    near, far, label = cells(rng, 13 * v, 13 * u, 0.75)
    pink = colour(style, (0.72, 0.85), (0.15, 0.3), between(style, 0.88, 1.0))
    violet = colour(style, (0.4, 0.5), (0.25, 0.45), between(style, 0.72, 0.82))
    walls = smooth(0.12 - (far - near), 0, 0.12)
    picture = pink * (1 + 0.06 * fractal(rng, 8 * v, 8 * u) + 0.1 * walls)[..., None]
    return Scene(
        canvas,
        mix(picture, violet, 0.9 * smooth(0.2 + 0.1 * label - near, 0, 0.08)),
        np.ones((canvas.height, canvas.width), dtype=bool),
    )


ORGANS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        *(head_ct, head_mri, skin, colon, thyroid),
        *(retina, chest, liver, bone, histology),
    )
}
