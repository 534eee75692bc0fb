"""The metric wing: scores, maps, labels and masks in, numbers out. It imports nothing else of the suite.

`docs/metrics.md` defines every number. The unit is one class: `image_metrics` for its image scores, one
`PixelMetrics` for its anomaly maps. NumPy and SciPy only; PyTorch where tensors are handed in.
"""

from metrics.counts import Counts, PixelCounts
from metrics.curves import Curve, PixelCurves, along
from metrics.image import image_metrics
from metrics.pixel import PixelMetrics, memory_estimate
from metrics.table import METRICS, VERSION, Metric, Report, undefined

__all__ = [
    "METRICS", "VERSION", "Counts", "Curve", "Metric", "PixelCounts", "PixelCurves", "PixelMetrics", "Report",
    "along", "image_metrics", "memory_estimate", "undefined",
]  # fmt: skip
