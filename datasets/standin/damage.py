"""How a defect is put on a scene: drawn again until it is of fitting size and visible."""

import numpy as np

from datasets.standin.marks import Defect
from datasets.standin.raster import Array, Mask, Rng, child, quantise
from datasets.standin.scene import Scene

_TRIES = 12
_SHARE = (0.006, 0.16)  # of the picture that a defect should cover
_CHANGE = 0.09  # mean change inside the defect that counts as visible


def damage(rng: Rng, scene: Scene, defect: Defect, strength: float) -> tuple[Array, Mask]:
    """Put a defect on a scene: the picture (H, W, 3) in 0..1 and the defect's mask (H, W), never empty.

    A defect that came out too small, too large or hardly visible is drawn again; after some tries the
    most visible one is taken, one of fitting size where there is any.
    """
    normal = quantise(scene.render()).astype(np.int64)
    best: tuple[bool, int] = (False, 0)
    kept: tuple[Array, Mask] | None = None
    for _ in range(_TRIES):
        image, cover = defect(child(rng), scene, strength)
        mask = cover > 0.4
        area = int(np.count_nonzero(mask))
        if area == 0:
            continue
        # The sum is one of integers: a float sum may round differently elsewhere and tip the choice.
        change = int(np.abs(quantise(image).astype(np.int64) - normal).max(axis=2)[mask].sum()) // area
        rank = _SHARE[0] <= area / mask.size <= _SHARE[1], change
        if kept is None or rank > best:
            best, kept = rank, (image, mask)
        if best[0] and best[1] >= 255 * _CHANGE:
            break
    if kept is None:
        raise RuntimeError(
            f"defect {defect.__name__} left no mark in {_TRIES} tries: use it with another scene"
        )
    return kept
