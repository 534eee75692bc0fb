"""Counts of pixels by score: the metrics of any choice of images, as if each image were there so often."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from metrics import Counts, PixelCounts, PixelMetrics
from metrics.counts import LEVELS, METRICS, counted_metrics

SIZE = 48


def made(count: int, seed: int, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return maps and masks (count, SIZE, SIZE); the first mask is empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    for mask in masks[1:]:
        for _ in range(rng.integers(1, 4)):
            top, left = rng.integers(0, SIZE - 12, 2)
            mask[top : top + rng.integers(2, 12), left : left + rng.integers(2, 12)] = 1
    noise = gaussian_filter(rng.normal(size=masks.shape), (0, 2, 2)) * 6
    maps = 1 / (1 + np.exp(-(noise + 1.5 * gaussian_filter(masks.astype(float), (0, 2, 2)))))
    if levels:
        maps = np.floor(maps * levels) / levels
    return maps.astype(np.float32), masks


def counted(maps: np.ndarray, masks: np.ndarray) -> Counts:
    counts = PixelCounts()
    for each, mask in zip(maps, masks, strict=True):
        counts.add(each, mask)
    found = counts.result()
    assert found is not None
    return found


def exact(maps: np.ndarray, masks: np.ndarray, weights: np.ndarray) -> list[float]:
    """Return the `METRICS` of a class in which every image is repeated as its weight says."""
    metrics = PixelMetrics()
    for each, mask, weight in zip(maps, masks, weights, strict=True):
        for _ in range(weight):
            metrics.add(each, mask)
    values = metrics.result().values
    return [values[name] for name in METRICS]


@pytest.mark.parametrize("seed", range(4))
def test_maps_on_few_levels_have_the_exact_metrics_of_every_choice_of_images(seed: int) -> None:
    maps, masks = made(6, seed, levels=23)
    weights = np.random.default_rng(seed).integers(0, 4, (5, 6))
    weights[:, 1] += 1  # some anomalous pixel
    found = counted(maps, masks).metrics(weights)
    assert found.shape == (4, 5)
    for ours, weight in zip(found.T, weights, strict=True):
        assert ours == pytest.approx(exact(maps, masks, weight), abs=1e-6)  # overlaps are float32


@pytest.mark.parametrize("squeeze", [1.0, 1e-2, 0.0])
def test_continuous_maps_are_off_by_little(squeeze: float) -> None:
    maps, masks = made(8, 7)
    maps = (0.5 + squeeze * maps if squeeze else maps**40).astype(np.float32)  # narrow, or over many octaves
    counts = counted(maps, masks)
    assert np.count_nonzero(counts.normal.sum(axis=0)) > LEVELS / 4
    off = np.abs(counts.metrics(np.ones((1, 8), np.int64))[:, 0] - exact(maps, masks, np.ones(8, int)))
    assert off == pytest.approx([0, 0, 0, 0], abs=5e-3)
    assert off[[0, 3]] == pytest.approx([0, 0], abs=2e-4)


def test_counts_are_those_of_the_images_and_take_them_in_any_order() -> None:
    maps, masks = made(5, 3)
    counts = counted(maps, masks)
    assert counts.normal.shape == counts.anomalous.shape == counts.overlap.shape == (5, LEVELS)
    assert counts.anomalous.sum(axis=1).tolist() == masks.sum(axis=(1, 2)).tolist()
    assert (counts.normal + counts.anomalous).sum(axis=1).tolist() == [SIZE**2] * 5
    assert counts.overlap.sum(axis=1) == pytest.approx(counts.regions)
    assert counts.regions[0] == 0
    turned = counted(maps[::-1], masks[::-1])
    for ours, other in zip(counts, turned, strict=True):
        assert (ours == other[::-1]).all()


def test_an_image_of_many_scores_coarsens_the_others_too() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((256, 256), np.uint8)
    mask[:9] = 1
    few = np.round(rng.random((256, 256)), 1).astype(np.float32) + np.float32(0.01)
    many = np.exp(rng.normal(size=(256, 256))).astype(np.float32)
    for images in ([few, many], [many, few]):
        counts = counted(np.stack(images), np.stack([mask, mask]))
        assert counts.normal.sum() + counts.anomalous.sum() == 2 * 256**2
        ones = np.ones(2, np.int64)
        expected = exact(np.stack(images), np.stack([mask, mask]), ones)
        assert counts.metrics(ones[None])[[0, 3], 0] == pytest.approx([expected[0], expected[3]], abs=2e-3)


def test_choices_without_anomalous_pixels_have_no_metrics_and_classes_no_counts() -> None:
    maps, masks = made(4, 1)
    found = counted(maps, masks).metrics(np.array([[3, 0, 0, 0], [1, 1, 1, 1]]))
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()
    empty = PixelCounts()
    assert empty.result() is None
    empty.add(maps[0], masks[0])
    assert empty.result() is None


def test_counted_metrics_by_hand() -> None:
    # Scores 3, 2, 1 with one anomalous, one of each, two normal: 6 pairs, of them 5.5 won.
    auroc, ap, f1max = counted_metrics(np.array([[1, 1, 0]]), np.array([[0, 1, 2]]))[:, 0]
    assert auroc == pytest.approx(5.5 / 6)
    assert ap == pytest.approx((1 + 2 / 3) / 2)
    assert f1max == pytest.approx(2 * 2 / (3 + 2))
