"""The streaming mode: rigorous brackets in fixed memory."""

import numpy as np
import pytest
from hypothesis import given, settings

from metrics import memory_estimate
from metrics.keys import LARGEST_FINITE
from metrics.streaming import BINS, bins_of
from tests.metrics.classes import Class, classes, report


@settings(deadline=None, max_examples=150)
@given(classes())
def test_brackets_hold_the_exact_values(data: Class) -> None:
    exact, streamed = report(*data), report(*data, mode="streaming")
    assert streamed.values["pixel_aupro"] is None
    assert streamed.reasons == {"pixel_aupro": "not in streaming mode"}
    assert streamed.brackets.keys() == exact.values.keys() - {"pixel_aupro"}
    for key, (low, high) in streamed.brackets.items():
        value = exact.values[key]
        assert value is not None
        assert 0 <= low <= value <= high <= 1, key
        assert streamed.values[key] == pytest.approx((low + high) / 2)


@pytest.mark.parametrize(("scale", "width"), [(1.0, 3e-4), (4.0, 3e-4), (1e-3, 2e-3), (1e-30, 2e-3)])
def test_brackets_are_narrow_on_continuous_maps(scale: float, width: float) -> None:
    random = np.random.default_rng(4)
    masks = np.zeros((4, 128, 128), np.uint8)
    masks[:2, 30:60, 40:90] = 1
    raw = random.normal(size=masks.shape) + masks
    maps = (scale / (1 + np.exp(-raw))).astype(np.float32)
    for low, high in report(maps, masks, mode="streaming").brackets.values():
        assert high - low < width


def test_bins_cover_all_scores_in_order() -> None:
    random = np.random.default_rng(0)
    keys = np.sort(random.integers(-LARGEST_FINITE, LARGEST_FINITE, 10**6, endpoint=True).astype(np.int32))
    keys = np.concatenate(([-LARGEST_FINITE], keys, [LARGEST_FINITE])).astype(np.int32)
    bins = bins_of(keys)
    assert (np.diff(bins) >= 0).all()
    assert (bins[0], bins[-1]) == (0, BINS - 1)


def test_bins_are_never_coarser_than_equal_ones() -> None:
    grid = np.linspace(0, 1, 1 << 20, endpoint=False, dtype=np.float32)
    _, first = np.unique(bins_of(grid.view(np.int32)), return_index=True)
    assert np.diff(grid[first]).max() <= 2.0**-16


def test_memory_is_fixed() -> None:
    assert memory_estimate(10**4, "streaming") == memory_estimate(10**12, "streaming") <= 128 << 20
