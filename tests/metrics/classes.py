"""Small classes of maps and masks for property tests."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from metrics import PixelMetrics, Report


class Class(NamedTuple):
    maps: np.ndarray
    masks: np.ndarray


@st.composite
def classes(draw: st.DrawFn) -> Class:
    """One to five maps of one size with normal and anomalous pixels.

    Scores are continuous or on few levels, of either sign, saturated or crowded near 0.
    """
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(2, 12)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.02, 0.3, 0.9]))
    masks = (random.random(shape) < share).astype(np.uint8)
    if draw(st.booleans()):  # a single region
        masks[:] = 0
        masks[0, : (shape[1] + 1) // 2, : (shape[2] + 1) // 2] = 1
    masks.flat[0], masks.flat[-1] = 1, 0

    raw = random.normal(size=shape) + draw(st.sampled_from([0.0, 1.0, 30.0])) * masks
    scores = {
        "continuous": lambda: raw,
        "few levels": lambda: np.round(raw * 2) / 8,
        "two levels": lambda: (raw > 0.5).astype(float),
        "saturated": lambda: 1 / (1 + np.exp(-20 * raw)),
        "tiny": lambda: raw * 1e-40,
        "huge": lambda: raw * 1e30,
    }[draw(st.sampled_from(["continuous", "few levels", "two levels", "saturated", "tiny", "huge"]))]()
    return Class(scores.astype(np.float32), masks)


def report(maps: np.ndarray, masks: np.ndarray, **options: str) -> Report:
    metrics = PixelMetrics(**options)
    metrics.add(maps, masks)
    return metrics.result()
