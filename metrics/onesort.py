"""All pixel metrics of a class, exactly, from one sort of its scores.

Normal pixels are kept as int32 keys (4 bytes), anomalous ones as int64 (8 bytes) with the key in the high
and the region in the low word. Both are sorted in place. Every metric is then a sum over the anomalous
pixels (see `metrics.ranking` and `RegionAreas`), walked in blocks; how many normal pixels reach or exceed a
pixel's score is a binary search in the few of them that lie between the ends of its block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from metrics.anomalous import Anomalous
from metrics.aupro import RegionAreas, protocol_aupro
from metrics.keys import scores_of
from metrics.normals import Normals
from metrics.ranking import RankSums
from metrics.table import Report


class OneSort:
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
        anomalous.sort()
        ranks = RankSums(len(anomalous), len(normals))
        areas = RegionAreas(anomalous.sizes, len(normals))
        for keys, regions, tp in anomalous.walk():
            fp, fp_above = normals.count(keys)
            ranks.add(tp, fp, fp_above, keys)
            areas.add(regions, fp, fp_above)
        lowest, highest, threshold = scores_of(np.array([low, high, ranks.f1max_threshold], dtype=np.int32))
        protocol = protocol_aupro(self._flavour, lowest, highest, normals, anomalous)
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
                "pixel_f1max_threshold": float(threshold),
                "pixel_aupro_thresholds": int(protocol.rates.size),
                "pixel_aupro_largest_fpr": protocol.largest_fpr,
                "pixel_aupro_few_thresholds": protocol.few_thresholds,
            },
        )
