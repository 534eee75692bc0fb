"""From a scene's picture to a photograph: uneven light, tone, dust, focus and sensor noise.

Everything here falls on normal and damaged pictures alike. It varies more from picture to picture than a
defect changes a whole-picture statistic, so that brightness, variance or sharpness do not tell them apart.
"""

import numpy as np

from datasets.standin.raster import Array, Canvas, Pixels, Rng, blur, disc, mix, oval, quantise, rotor, smooth


def photograph(rng: Rng, canvas: Canvas, image: Array, wear: float = 1.0, scan: bool = False) -> Pixels:
    """Return the picture (H, W, 3) in 0..1 as a photograph, uint8 (H, W, 3).

    `wear` scales how much pictures vary in light, tone, dust and noise. A `scan` (CT, MRI, X-ray,
    ultrasound) has no colour to shift, and its black stays black.
    """
    image = image * (1 + wear * _light(rng, canvas, scan))[..., None]
    if not scan:
        image = image * np.array([1 + wear * rng.between(-0.04, 0.04) for _ in range(3)])
    pivot = 0.0 if scan else 0.45
    image = np.clip(pivot + (image - pivot) * (1 + wear * rng.between(-0.32, 0.32)), 0, 1)
    image = image + wear * rng.between(-0.4, 0.4) * image * (1 - image)
    for _ in range(rng.whole(0, 4)):
        y, x = canvas.point(rng)
        dust = canvas.cover(disc(canvas.y - y, canvas.x - x, rng.between(0.004, 0.011)), 0.012)
        image = mix(image, np.clip(image + rng.sign() * wear * rng.between(0.05, 0.25), 0, 1), dust)
    focus = wear * rng.between(0, 0.7)
    image = image + focus * (blur(image, 1, 1) - image)
    noise = rng.grain(canvas)[..., None]
    return quantise(image + wear * rng.between(0.008, 0.036) * noise)


def _light(rng: Rng, canvas: Canvas, scan: bool) -> Array:
    """Return relative brightness: a slope across the picture, a shadow's edge, soft glares or shades."""
    c, s = rotor(rng.random())
    slope = rng.between(0, 0.2) * ((canvas.y - canvas.tall / 2) * s + (canvas.x - canvas.wide / 2) * c)
    light = slope + rng.between(-0.1, 0.1)
    if not scan and rng.chance(0.5):  # something casts a straight shadow
        v, _ = canvas.local(*canvas.point(rng), rng.random())
        light = light - rng.between(0.04, 0.24) * smooth(v, 0, rng.between(0.04, 0.2))
    for _ in range(rng.whole(0, 2)):
        v, u = canvas.local(*canvas.point(rng), rng.random())
        a, b = rng.between(0.2, 0.4), rng.between(0.2, 0.5)
        light = light + rng.between(-0.16, 0.16) * smooth(-oval(v, u, a, b), 0, min(a, b))
    return light
