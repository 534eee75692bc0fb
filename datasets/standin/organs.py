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
    grain,
    mix,
    noise,
    oval,
    path,
    rotor,
    sign,
    smooth,
    tinted,
    wave,
    whole,
)
from datasets.standin.scene import Kind, Scene


def grey_picture(level: Array) -> Array:
    """Return a grey level (H, W) as a colour picture (H, W, 3)."""
    return np.repeat(level[..., None], 3, axis=2)


def within(canvas: Canvas, body: Array) -> Mask:
    """Return which pixels lie inside a signed distance (H, W)."""
    return canvas.cover(body) > 0.5


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
        grey_picture(mix(np.full_like(level, 0.03), level, canvas.cover(outline))),
        within(canvas, brain + 0.03),
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
        grey_picture(mix(np.full_like(level, 0.03), level, canvas.cover(outline))),
        within(canvas, brain + 0.03),
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
    return Scene(canvas, picture * (1 - 0.45 * corner)[..., None], within(canvas, corner - 0.35))


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
    return Scene(canvas, mix(picture, 0.97, 0.85 * wet), within(canvas, 0.12 - r))


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
    return Scene(canvas, grey_picture(np.clip(level, 0.02, 1)), region)


SCANS = ("head_ct", "head_mri", "thyroid")  # drawn in grey
ORGANS: dict[str, Kind] = {kind.__name__: kind for kind in (*(head_ct, head_mri, skin, colon, thyroid),)}
