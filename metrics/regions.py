"""The connected regions of a mask: what AUPRO averages over."""

import numpy as np
from scipy import ndimage

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def label_regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label the 8-connected regions of a mask (H, W, bool).

    Returns the region of each set pixel, int32 in raster order, and the pixel count of each region, int64.
    Regions are numbered from 0 by their first pixel in raster order.
    """
    if not mask.any():
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, count = ndimage.label(box, structure=_EIGHT_NEIGHBOURS)
    regions = labels[box] - np.int32(1)
    return regions, np.bincount(regions, minlength=count)
