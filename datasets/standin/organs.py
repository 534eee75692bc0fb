"""Organ kinds: medical scenes. Each function is one kind (see `scene.Kind`)."""

import numpy as np

from datasets.standin.raster import Array, Canvas, Rng, blur, disc, mix, oval, rotor, smooth, tinted, wave
from datasets.standin.scene import Kind, Scene, scanned


def _head(rng: Rng, canvas: Canvas) -> tuple[Array, Array, Array, Array, Array]:
    """Return (v, u, outline, ventricles, midline) of one head: its frame and signed distances."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, rng.between(-0.015, 0.015))
    a, b = rng.between(0.43, 0.46), rng.between(0.35, 0.385)
    wobble = 0.012 * rng.noise(v, u, 3)
    outline = oval(v, u, a, b) + wobble
    size, open_ = rng.between(0.85, 1.15), rng.between(0.045, 0.055)
    side = np.abs(u)
    front = oval(v + 0.09 - 0.3 * side, side - open_, 0.075 * size, 0.024 * size)
    back = oval(v - 0.08 + 0.5 * side, side - open_ - 0.015, 0.075 * size, 0.022 * size)
    midline = np.abs(u + 0.006 * rng.noise(5 * v, 0 * u)) - 0.003
    return v, u, outline, np.minimum(front, back) + 0.3 * wobble, midline


def head_ct(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A head CT slice: bright skull, even brain, dark ventricles."""
    v, u, outline, ventricles, midline = _head(rng, canvas)
    brain = outline + rng.between(0.035, 0.05)
    tissue = 0.42 + 0.05 * rng.fractal(v, u, 9) + 0.05 * smooth(-brain, 0.05, 0.0)
    sulci = smooth(rng.noise(v, u, 16), 0.45, 0.8) * smooth(brain, -0.07, -0.02)
    level = mix(tissue - 0.12 * sulci, 0.2, canvas.cover(ventricles, 0.015))
    level = mix(level, 0.52, 0.6 * canvas.cover(np.maximum(midline, 0.15 - np.abs(v)), 0.006))
    level = mix(0.93 + 0.05 * rng.grain(canvas), level, canvas.cover(brain, 0.012))
    return scanned(canvas, mix(0.03, level, canvas.cover(outline)), canvas.inside(brain + 0.03))


def head_mri(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A head MRI slice: bright scalp, dark skull, folded grey and white matter."""
    v, u, outline, ventricles, midline = _head(rng, canvas)
    brain = outline + rng.between(0.06, 0.075)
    near, far, _ = rng.cells(15 * v + 0.8 * rng.noise(v, u, 9), 15 * u, 1)
    folds = smooth(0.2 - (far - near), 0, 0.2) * smooth(brain, -0.13, -0.01)
    white = style.between(0.55, 0.66)
    tissue = white + 0.04 * rng.fractal(v, u, 10) - 0.14 * smooth(brain, -0.1, -0.02) - 0.26 * folds
    level = mix(tissue, style.between(0.1, 0.2), canvas.cover(ventricles, 0.012))
    level = mix(level, 0.2, 0.7 * canvas.cover(np.maximum(midline, 0.1 - np.abs(v)), 0.006))
    level = mix(0.12, level, canvas.cover(brain, 0.01))
    scalp = canvas.cover(np.abs(outline + 0.018) - 0.013, 0.012)
    level = mix(level, 0.75 + 0.1 * rng.noise(v, u, 12), scalp)
    return scanned(canvas, mix(0.03, level, canvas.cover(outline)), canvas.inside(brain + 0.03))


def skin(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Skin under a dermatoscope: fine lines, a few hairs, darker corners."""
    v, u = canvas.local(canvas.tall / 2, canvas.wide / 2, rng.random())
    near, far, _ = rng.cells(22 * v, 22 * u, 0.9)
    relief = smooth(far - near, 0, 0.4)
    tone = rng.colour((0.66, 0.82), (0.18, 0.32), rng.between(0.0, 0.06))
    mottle = 1 + 0.05 * rng.fractal(v, u, 3) - 0.05 * (1 - relief)
    picture = tone * mottle[..., None]
    for _ in range(rng.whole(0, 5)):
        (y, x), turns, points = canvas.point(rng), rng.random(), []
        for _ in range(4):
            points.append((y, x))
            c, s = rotor(turns)
            y, x, turns = y + 0.13 * s, x + 0.13 * c, turns + rng.between(-0.06, 0.06)
        hair = canvas.path(points)[0] - 0.004
        picture = mix(picture, np.array([0.22, 0.16, 0.13]), 0.7 * canvas.cover(hair))
    away = disc(canvas.y - canvas.tall / 2, canvas.x - canvas.wide / 2, 0)
    corner = smooth(away, 0.45, rng.between(0.85, 1.4))
    return Scene(canvas, picture * (1 - 0.45 * corner)[..., None], canvas.inside(corner - 0.35))


def colon(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """Bowel wall in an endoscope: folds around a dark lumen, vessels, wet highlights."""
    cy, cx = canvas.tall * rng.between(0.1, 0.9), canvas.wide * rng.between(0.1, 0.9)
    v, u = canvas.local(cy, cx, rng.random())
    r = oval(v, u, 1, rng.between(0.9, 1.3)) + 1 + 0.05 * rng.noise(v, u, 4)
    rings = rng.between(4.5, 6) * np.sqrt(np.maximum(r, 0))
    folds = wave(rings + 0.25 * rng.noise(v, u, 3) + rng.random())
    light = smooth(r, -0.02, 0.3) * (0.82 + 0.13 * folds)
    mucosa = style.colour((0.6, 0.72), (0.4, 0.55), style.between(0.0, 0.05))
    vessels = 1 - np.abs(rng.fractal(v, u, 5, 3)) * 9
    picture = tinted(light + 0.04 * rng.fractal(v, u, 12), 0.12 * mucosa, 1.15 * mucosa)
    drawn = 0.4 * smooth(vessels, 0, 1) * smooth(r, 0.1, 0.3)
    picture = mix(picture, picture * np.array([0.92, 0.6, 0.62]), drawn)
    wet = smooth(rng.fractal(v, u, 14) + 0.2 * folds, 0.68, 0.85) * smooth(r, 0.12, 0.25)
    return Scene(canvas, mix(picture, 0.97, 0.85 * wet), canvas.inside(0.12 - r))


def thyroid(style: Rng, rng: Rng, canvas: Canvas) -> Scene:
    """A neck ultrasound: layered muscle above an evenly speckled gland, and a shadowed trachea."""
    v, u = canvas.y / canvas.tall, canvas.x / canvas.wide - 0.5
    sag = 0.03 * rng.noise(2 * v, 3 * u) - rng.between(0.2, 0.35) * u * u
    depth = v + sag
    layers = 0.3 + 0.14 * wave(depth * 13) * smooth(0.3 - depth, 0, 0.1)
    gland = smooth(depth, 0.24, 0.28) * smooth(0.74 - depth, 0, 0.08)
    level = layers * smooth(0.3 - depth, -0.05, 0.05) + 0.5 * gland + 0.16 * smooth(depth, 0.7, 0.78)
    upper, lower = (smooth(w - np.abs(depth - at), 0, w) for w, at in ((0.02, 0.26), (0.018, 0.72)))
    trachea = oval(v - 0.55, u - rng.sign() * rng.between(0.36, 0.5), 0.22, 0.13)
    level = mix(level + 0.35 * (upper + 0.7 * lower), 0.07, canvas.cover(trachea, 0.04))
    # Speckle multiplies; it is drawn out sideways, more with depth.
    speckle = blur(rng.grain(canvas), 1, 1)
    speckle = 0.6 * speckle + 0.5 * np.roll(speckle, 1, axis=1) + 0.4 * rng.noise(50 * v, 24 * u)
    level = level * (1 + 0.6 * speckle)
    region = (gland > 0.9) & (trachea > 0.02) & (np.abs(u) < 0.46)
    return scanned(canvas, np.clip(level, 0.02, 1), region)


ORGANS: dict[str, Kind] = {kind.__name__: kind for kind in (head_ct, head_mri, skin, colon, thyroid)}
