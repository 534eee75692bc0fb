"""The metrics written plainly on scikit-learn and scikit-image: the oracle of the tests and of the benchmark.

Nothing here shares a line with `metrics/`. Maps are float32 (N, H, W), masks 0/1 of the same shape.
"""

import math
from collections.abc import Sequence

import numpy as np
from skimage.measure import label, regionprops
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

LIMIT = 0.3


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(labels.ravel(), scores.ravel()))


def ap(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(average_precision_score(labels.ravel(), scores.ravel()))


def f1max(labels: np.ndarray, scores: np.ndarray) -> float:
    precision, recall, _ = precision_recall_curve(labels.ravel(), scores.ravel())
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(2 * precision * recall / (precision + recall)))


def exact_aupro(maps: np.ndarray, masks: np.ndarray) -> float:
    """MVTec's area: one point per distinct score, joined by straight lines, cut at 0.3."""
    weight = np.zeros(masks.shape)
    n_regions = 0
    for image, mask in enumerate(masks):
        for region in regionprops(label(mask)):
            weight[image][tuple(region.coords.T)] = 1 / region.area
            n_regions += 1
    order = np.argsort(-maps.ravel(), kind="stable")
    scores = maps.ravel()[order]
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    fpr = np.cumsum(masks.ravel()[order] == 0)[last_of_ties] / np.count_nonzero(masks == 0)
    # In float64 the sum of 16 million weights is off by 5e-13.
    pro = np.cumsum(weight.ravel()[order], dtype=np.longdouble)[last_of_ties] / n_regions
    fpr, pro = np.append(0.0, fpr), np.append(0.0, pro)
    beyond = int(np.argmax(fpr > LIMIT))
    share = (LIMIT - fpr[beyond - 1]) / (fpr[beyond] - fpr[beyond - 1])
    at_limit = pro[beyond - 1] + share * (pro[beyond] - pro[beyond - 1])
    area = np.trapezoid(np.append(pro[:beyond], at_limit), np.append(fpr[:beyond], LIMIT))
    return float(area) / LIMIT


def protocol_thresholds(low: np.float32, high: np.float32) -> list[np.float32]:
    """The evenly spaced thresholds of the published function under NumPy 1, one after the other."""
    step = float(high - low) / 200
    increment = (float(low) + step) - float(low)
    return [np.float32(float(low) + i * increment) for i in range(math.ceil(float(high - low) / step))]


def protocol_points(
    maps: np.ndarray, masks: np.ndarray, thresholds: Sequence[np.float32]
) -> tuple[np.ndarray, np.ndarray]:
    """False positive rate and mean overlap at each threshold. As published, each finds the regions anew."""
    rates, overlaps = [], []
    for threshold in thresholds:
        anomalous = maps > threshold
        covered = [
            anomalous[image][tuple(region.coords.T)].sum() / region.area
            for image, mask in enumerate(masks)
            for region in regionprops(label(mask))
        ]
        overlaps.append(np.mean(covered))
        rates.append(np.logical_and(masks == 0, anomalous).sum() / (masks == 0).sum())
    return np.array(rates), np.array(overlaps)


def protocol_aupro(maps: np.ndarray, masks: np.ndarray) -> float | None:
    """The 200-threshold number; None where the published function fails or returns NaN."""
    if maps.min() == maps.max():
        return None
    rates, overlaps = protocol_points(maps, masks, protocol_thresholds(maps.min(), maps.max()))
    rates, overlaps = rates[rates < LIMIT], overlaps[rates < LIMIT]
    if not rates.size or rates.min() == rates.max():
        return None
    return float(auc((rates - rates.min()) / (rates.max() - rates.min()), overlaps))
