"""All pixel metrics of a class, exactly.

Keys are grouped by their high 16 bits while they arrive (`metrics.groups`): 2 bytes are kept of a normal
pixel, 8 of an anomalous one, with its region. Every metric is a sum over the anomalous pixels (see
`metrics.ranking` and `RegionAreas`), walked by ascending key in blocks; how many normal pixels reach or
exceed a pixel's key is known from the sizes of the groups below and from a look at its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from metrics.anomalous import Anomalous
from metrics.aupro import ProtocolArea, RegionAreas
from metrics.keys import scores_of
from metrics.normals import Normals
from metrics.ranking import RankSums
from metrics.table import Report


class Exact:
    """Keeps the keys of a class until all images are in."""

    def __init__(self, normals: Normals, flavour: str) -> None:
        self._normals = normals
        self._anomalous = Anomalous()
        self._flavour = flavour

    def add(self, keys: Any, mask: np.ndarray, regions: np.ndarray, sizes: np.ndarray) -> None:
        """Take an image: int32 keys (H, W) of the kind `normals` keeps, mask (H, W, bool) and its regions."""
        self._anomalous.extend(self._normals.split(keys, mask), regions, sizes)

    def report(self, low: int, high: int) -> Report:
        """Return the metrics; `low` and `high` are the smallest and largest key of the class."""
        normals, anomalous = self._normals, self._anomalous
        normals.sort()
        ranks = RankSums(len(anomalous), len(normals))
        areas = RegionAreas(anomalous.sizes, len(normals))
        lowest, highest = scores_of(np.array([low, high], dtype=np.int32))
        thresholds = ProtocolArea(self._flavour, lowest, highest, normals, anomalous.sizes)
        for keys, regions, tp in anomalous.walk():
            fp, fp_above = normals.count(keys)
            ranks.add(tp, fp, fp_above, keys)
            areas.add(regions, fp, fp_above)
            thresholds.add(keys, regions)
        protocol = thresholds.result()
        return Report(
            values={
                "pixel_auroc": ranks.auroc,
                "pixel_aupro": protocol.aupro,
                "pixel_aupro_exact": areas.aupro,
                "pixel_f1max": ranks.f1max,
                "pixel_ap": ranks.ap,
            },
            reasons={} if protocol.aupro is not None else {"pixel_aupro": protocol.reason},
            details={
                "pixel_f1max_threshold": float(scores_of(np.array([ranks.f1max_threshold], np.int32))[0]),
                "pixel_aupro_thresholds": int(protocol.rates.size),
                "pixel_aupro_largest_fpr": protocol.largest_fpr,
                "pixel_aupro_few_thresholds": protocol.few_thresholds,
            },
        )
