"""The exact pixel metrics: agreement with the plain reference, invariances, undefined values, refusals."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from metrics import METRICS, VERSION, PixelMetrics, Report, groups, memory_estimate, pixel
from metrics import anomalous as anomalous_pixels
from metrics import normals as normal_pixels
from metrics.aupro import Protocol
from metrics.keys import keys_of, scores_of
from metrics.regions import label_regions
from tests.metrics import reference
from tests.metrics.classes import Class, classes, report

PIXEL_KEYS = [metric.key for metric in METRICS.values() if metric.level == "pixel"]
RANK_KEYS = [key for key in PIXEL_KEYS if key != "pixel_aupro"]

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_same(got: Report, want: Report, keys: list[str] = PIXEL_KEYS, tolerance: float = 1e-14) -> None:
    for key in keys:
        expected = want.values[key]
        assert got.values[key] == (None if expected is None else pytest.approx(expected, abs=tolerance)), key


@quick
@given(classes())
def test_agrees_with_scikit_learn_and_the_published_loop(data: Class) -> None:
    want = {
        "pixel_auroc": reference.auroc(data.masks, data.maps),
        "pixel_ap": reference.ap(data.masks, data.maps),
        "pixel_f1max": reference.f1max(data.masks, data.maps),
        "pixel_aupro_exact": reference.exact_aupro(data.maps, data.masks),
        "pixel_aupro": reference.protocol_aupro(data.maps, data.masks),
    }
    got = report(*data)
    assert list(got.values) == PIXEL_KEYS
    assert_same(got, Report(want), tolerance=1e-12)
    assert got.reasons.keys() == {key for key, value in want.items() if value is None}


@quick
@given(classes(), st.integers(0, 2**32))
def test_increasing_transforms_change_nothing_but_the_protocol(data: Class, seed: int) -> None:
    levels, rank = np.unique(data.maps, return_inverse=True)
    random = np.random.default_rng(seed)
    others = np.unique(random.normal(size=4 * levels.size + 50).astype(np.float32) ** 3)[-levels.size :]
    assert others.size == levels.size
    assert_same(report(others[rank].reshape(data.maps.shape), data.masks), report(*data), RANK_KEYS, 0)


@quick
@given(classes(), st.randoms(use_true_random=False))
def test_order_and_batches_change_nothing(data: Class, random: object) -> None:
    images = list(range(len(data.maps)))
    random.shuffle(images)  # type: ignore[attr-defined]
    one_by_one = PixelMetrics()
    for image in images:
        one_by_one.add(data.maps[image], data.masks[image])
    assert_same(one_by_one.result(), report(*data))


@quick
@given(
    data=classes(),
    block=st.sampled_from([1, 3, 7]),
    chunk=st.sampled_from([1, 5, 64]),
    dense=st.sampled_from([0, 1 << 20]),
    few=st.sampled_from([0, 4]),
)
def test_blocks_chunks_and_all_ways_of_counting_agree(
    data: Class, block: int, chunk: int, dense: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = report(*data)
    with monkeypatch.context() as patched:
        patched.setattr(groups, "SMALL", 0)
        for module in (groups, normal_pixels, anomalous_pixels):
            patched.setattr(module, "CHUNK", chunk)
        patched.setattr(anomalous_pixels, "BLOCK", block)
        patched.setattr(normal_pixels, "DENSE", dense)
        patched.setattr(normal_pixels, "FEW", few)
        got = report(*data)
    assert got.values == want.values | {"pixel_ap": pytest.approx(want.values["pixel_ap"], abs=1e-14)}
    assert got.details == want.details


@pytest.mark.parametrize("levels", [1, 3, 100, None])
def test_many_scores_in_one_group_are_walked_in_order(
    levels: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    steps = random.integers(0, levels or 60000, size=5000)
    scores = (np.float32(1).view(np.int32) + np.sort(steps)[::-1] * (60000 // (levels or 60000))).astype(
        np.int32
    )
    monkeypatch.setattr(groups, "SMALL", 0)
    for module in (groups, anomalous_pixels):
        monkeypatch.setattr(module, "CHUNK", 64)
    monkeypatch.setattr(anomalous_pixels, "BLOCK", 100)
    pixels = anomalous_pixels.Anomalous()
    regions = np.arange(scores.size, dtype=np.int32)
    pixels.extend(scores, regions, np.ones(scores.size, np.int64))
    blocks = list(pixels.walk())
    assert [block.keys.size for block in blocks] == [100] * 50
    keys, seen, tp = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    assert np.array_equal(keys, np.sort(scores))
    assert np.array_equal(scores[seen], keys)
    assert np.array_equal(np.sort(seen), regions)
    assert np.array_equal(tp, scores.size - np.searchsorted(keys, keys))


@quick
@given(
    st.integers(0, 2**32), st.sampled_from([3, 500]), st.sampled_from([4, 1 << 17]), st.sampled_from([0, 10])
)
def test_groups_hold_what_came(seed: int, chunk: int, small: int, spread: int) -> None:
    random = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(groups, "CHUNK", chunk)
        patched.setattr(groups, "SMALL", small)
        bag = groups.Groups(np.int32, kept=np.uint16, shift=16)
        values = [
            random.integers(-(2**31), 2**31 - 1, size=n).astype(np.int32) >> spread for n in (0, 7, 400)
        ]
        for part in values:
            bag.extend(part)
            bag.close()
        together = np.concatenate(values)
        assert len(bag) == together.size
        if bag.small is not None:
            assert small > 4 and chunk > together.size
            assert np.array_equal(bag.small, np.sort(together))
            return
        first, sizes = bag.sizes()
        kept = [
            (first + group) << 16 | int(low)
            for group in np.flatnonzero(sizes).tolist()
            for low in np.sort(np.concatenate(bag.pieces(first + group)))
        ]
        assert kept == np.sort(together).tolist()
        assert sizes.sum() == together.size
        assert bag.pieces(first - 1) == bag.pieces(first + sizes.size) == []


@pytest.mark.parametrize("block", [1, 100])
def test_equal_f1_goes_to_the_lowest_threshold(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalous_pixels, "BLOCK", block)
    scores = np.array([[0.9, 0.8, 0.7, 0.6]], dtype=np.float32)  # F1 is 2/3 at 0.9 and at 0.6
    got = report(scores[None], np.array([[[1, 0, 0, 1]]], dtype=np.uint8))
    assert got.values["pixel_f1max"] == 2 / 3
    assert got.details["pixel_f1max_threshold"] == np.float32(0.6)


@quick
@given(classes(), st.integers(0, 2**32))
def test_zeros_of_either_sign_tie(data: Class, seed: int) -> None:
    random = np.random.default_rng(seed)
    zero = random.random(data.maps.shape) < 0.4
    signed, plain = data.maps.copy(), data.maps.copy()
    signed[zero] = np.where(random.random(data.maps.shape) < 0.5, np.float32(0.0), np.float32(-0.0))[zero]
    plain[zero] = 0.0
    assert_same(report(signed, data.masks), report(plain, data.masks), tolerance=0)


def test_subnormal_scores_stay_apart() -> None:
    random = np.random.default_rng(0)
    ranks = random.permutation(400).reshape(1, 20, 20).astype(np.int32) - 200
    masks = (random.random((1, 20, 20)) < 0.2).astype(np.uint8)
    subnormal = scores_of(ranks)
    assert 0 < np.abs(subnormal).max() < np.finfo(np.float32).tiny
    assert np.unique(subnormal).size == 400
    assert_same(report(subnormal, masks), report(ranks.astype(np.float32), masks), RANK_KEYS, 0)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=50))
def test_keys_order_as_scores_do(values: list[float]) -> None:
    scores = np.array(values, dtype=np.float32)
    keys = keys_of(scores)
    assert np.array_equal(scores_of(keys), scores)
    assert np.array_equal(keys[:, None] < keys, scores[:, None] < scores)
    assert np.array_equal(keys_of(torch.from_numpy(scores)).numpy(), keys)


@quick
@given(classes())
def test_torch_gives_the_same_numbers(data: Class) -> None:
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    want = report(*data)
    for device in devices:
        maps, masks = (torch.from_numpy(array).to(device) for array in data)
        for engine in ("torch", "auto"):
            got = PixelMetrics(engine=engine)
            for image in range(len(maps)):
                got.add(maps[image], masks[image])
            assert_same(got.result(), want, tolerance=1e-9)
            assert got.result().details == want.details


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_floats_are_exact(dtype: torch.dtype) -> None:
    random = np.random.default_rng(3)
    maps = torch.from_numpy(random.normal(size=(3, 16, 16))).to(dtype)
    masks = (random.random((3, 16, 16)) < 0.1).astype(np.uint8)
    want = report(maps.float().numpy(), masks)
    for engine in ("numpy", "torch"):
        got = PixelMetrics(engine=engine)
        got.add(maps, masks)
        assert_same(got.result(), want, tolerance=0)


def test_sizes_may_differ_from_call_to_call() -> None:
    random = np.random.default_rng(5)
    shapes = [(9, 14), (30, 5), (12, 12)]
    images = [(random.normal(size=shape).astype(np.float32), random.random(shape) < 0.2) for shape in shapes]
    pixels = PixelMetrics()
    for scores, mask in images:
        pixels.add(scores, mask)
    got = pixels.result()
    scores, mask = (np.concatenate([image[part].ravel() for image in images]) for part in (0, 1))
    assert got.values["pixel_auroc"] == pytest.approx(reference.auroc(mask, scores), abs=1e-12)
    assert got.values["pixel_ap"] == pytest.approx(reference.ap(mask, scores), abs=1e-12)
    assert got.details["pixel_regions"] == sum(label(mask).max() for _, mask in images)
    assert got.details["pixel_count"] == scores.size
    assert got.details["pixel_anomalous"] == mask.sum()
    assert got.details["pixel_images"] == 3


@quick
@given(st.integers(0, 2**32), st.tuples(st.integers(1, 30), st.integers(1, 30)), st.floats(0, 1))
def test_regions_are_those_of_scikit_image(seed: int, shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    regions, sizes = label_regions(mask)
    labels = label(mask)
    assert np.array_equal(regions, labels[mask] - 1)
    assert sizes.tolist() == [region.area for region in regionprops(labels)]


def test_the_protocol_moves_where_the_exact_area_does_not() -> None:
    random = np.random.default_rng(2)
    masks = np.zeros((6, 40, 40), dtype=np.uint8)
    masks[:4, 10:20, 5:30] = 1
    maps = random.random((6, 40, 40)).astype(np.float32) + 0.3 * masks.astype(np.float32)
    hot = maps.copy()
    hot[5, 0, 0] = 40
    before, after = report(maps, masks), report(hot, masks)
    assert after.values["pixel_aupro_exact"] == pytest.approx(before.values["pixel_aupro_exact"], abs=1e-3)
    assert not before.details["pixel_aupro_few_thresholds"]
    assert after.details["pixel_aupro_few_thresholds"]
    assert after.values["pixel_aupro"] == pytest.approx(reference.protocol_aupro(hot, masks), abs=1e-12)
    assert abs(after.values["pixel_aupro"] - before.values["pixel_aupro"]) > 0.02


@pytest.mark.parametrize("mode", ["exact", "streaming"])
@pytest.mark.parametrize("mask_value", [0, 1])
def test_one_class_has_no_pixel_metrics(mode: str, mask_value: int) -> None:
    maps = np.random.default_rng(0).random((2, 5, 5)).astype(np.float32)
    got = report(maps, np.full((2, 5, 5), mask_value, np.uint8), mode=mode)
    assert got.values == dict.fromkeys(PIXEL_KEYS)
    assert got.reasons == dict.fromkeys(PIXEL_KEYS, "one class")
    assert got.details["pixel_regions"] == 2 * mask_value


def test_equal_scores_everywhere() -> None:
    masks = np.zeros((1, 10, 10), np.uint8)
    masks[0, 0, :4] = 1
    got = report(np.full((1, 10, 10), 0.7, np.float32), masks)
    assert got.values == {
        "pixel_auroc": 0.5,
        "pixel_aupro": None,
        "pixel_aupro_exact": pytest.approx(0.15),
        "pixel_f1max": pytest.approx(0.08 / 1.04),
        "pixel_ap": pytest.approx(0.04),
    }
    assert got.reasons == {"pixel_aupro": "constant maps"}


def test_the_protocol_leaves_out_a_rate_of_exactly_the_limit() -> None:
    scores = np.array([[1, 1, 0, 0, 0, 0, 0, 0.4, 0.5, 0.6, 0, 0]], dtype=np.float32)
    masks = np.array([[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], dtype=np.uint8)
    got = report(scores[None], masks[None])  # 3 of 10 normal pixels lie above every threshold below 0.4
    assert got.details["pixel_aupro_largest_fpr"] == 0.2
    assert got.values["pixel_aupro"] == reference.protocol_aupro(scores[None], masks[None])


def test_a_protocol_without_width_or_thresholds_says_so() -> None:
    masks = np.zeros((1, 10, 10), np.uint8)
    masks[0, 0, :4] = 1
    two_levels = masks.astype(np.float32)
    two_levels[0, 5:, :] = 1  # more than 0.3 of the normal pixels
    assert report(two_levels, masks).reasons == {"pixel_aupro": "no width"}
    extremes = np.where(masks, np.float32(3e38), np.float32(-3e38))
    with np.errstate(all="raise"):
        assert report(extremes, masks).reasons == {"pixel_aupro": "score range beyond float32"}
    assert report(extremes, masks).values["pixel_aupro_exact"] == 1.0


MAPS = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4)
MASKS = np.eye(4, dtype=np.uint8)[None].repeat(2, axis=0)


def broken(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[1, 2, 3] = value
    return array


@pytest.mark.parametrize("mode", ["exact", "streaming"])
@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (broken(MAPS, np.nan), MASKS, "b.png: its map holds NaN or infinity"),
        (broken(MAPS, -np.nan), MASKS, "b.png: its map holds NaN or infinity"),
        (broken(MAPS, np.inf), MASKS, "b.png: its map holds NaN or infinity"),
        (broken(MAPS, -np.inf), MASKS, "b.png: its map holds NaN or infinity"),
        (MAPS, broken(MASKS, 255), "b.png: its mask holds a value that is not 0 or 1"),
        (MAPS, MASKS[:, :3], "a.png: a map of shape"),
        (MAPS[:, :, :0], MASKS[:, :, :0], "a.png: a map of shape"),
        (MAPS.astype(np.float64), MASKS, "maps are float64"),
        (MASKS, MASKS, "maps are uint8"),
    ],
)
def test_bad_input_is_refused_by_name(mode: str, maps: np.ndarray, masks: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelMetrics(mode=mode).add(maps, masks, ["a.png", "b.png"])


def test_a_single_image_may_be_named_plainly() -> None:
    with pytest.raises(ValueError, match=r"^x\.png: its map"):
        PixelMetrics().add(np.full((3, 3), np.nan, np.float32), np.zeros((3, 3), np.uint8), "x.png")
    counted = PixelMetrics()
    counted.add(MAPS, MASKS)
    with pytest.raises(ValueError, match=r"^image 3: its map"):
        counted.add(broken(MAPS, np.nan), MASKS)


def test_options_and_emptiness_are_refused() -> None:
    with pytest.raises(ValueError, match="mode 'fast' is not one of exact, streaming"):
        PixelMetrics(mode="fast")
    with pytest.raises(ValueError, match="flavour 'numpy3' is not one of"):
        PixelMetrics(flavour="numpy3")
    with pytest.raises(ValueError, match="without images"):
        PixelMetrics().result()


def test_results_may_be_asked_for_on_the_way() -> None:
    random = np.random.default_rng(8)
    maps = random.random((4, 20, 20)).astype(np.float32)
    masks = (random.random((4, 20, 20)) < 0.1).astype(np.uint8)
    for engine in ("numpy", "torch"):
        pixels = PixelMetrics(engine=engine)
        pixels.add(torch.from_numpy(maps[:2]), masks[:2])
        assert_same(pixels.result(), report(maps[:2], masks[:2]))
        pixels.add(torch.from_numpy(maps[2:]), masks[2:])
        assert_same(pixels.result(), report(maps, masks))


@pytest.mark.parametrize(
    ("engine", "maps", "chosen"),
    [
        ("auto", np.zeros((1, 2, 2), np.float32), "NumpyNormals"),
        ("auto", torch.zeros(1, 2, 2), "NumpyNormals"),
        ("auto", torch.zeros(1, 2, 2, device="meta"), "TorchNormals"),
        ("torch", torch.zeros(1, 2, 2), "TorchNormals"),
        ("torch", torch.zeros(1, 2, 2, device="meta"), "TorchNormals"),
        ("torch", np.zeros((1, 2, 2), np.float32), "NumpyNormals"),
        ("numpy", torch.zeros(1, 2, 2), "NumpyNormals"),
        ("numpy", torch.zeros(1, 2, 2, device="meta"), "NumpyNormals"),
    ],
)
def test_the_engine_that_is_chosen(
    engine: str, maps: Any, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ChosenError(Exception):
        pass

    def refuse(name: str) -> Callable[[], None]:
        def choose() -> None:
            raise ChosenError(name)

        return choose

    for name in ("NumpyNormals", "TorchNormals"):
        monkeypatch.setattr(pixel, name, refuse(name))
    with pytest.raises(ChosenError, match=chosen):
        PixelMetrics(engine=engine).add(maps, np.zeros((1, 2, 2), np.uint8))


def test_few_thresholds_are_fewer_than_twenty_or_none_near_the_limit() -> None:
    def few(count: int, largest: float) -> bool:
        return Protocol(0.5, "", np.linspace(largest, 0, count)).few_thresholds

    assert not few(20, 0.25)
    assert few(19, 0.25)
    assert few(20, np.nextafter(0.25, 0))
    assert few(200, 0.2)
    assert Protocol(None).few_thresholds
    assert Protocol(None).largest_fpr == 0.0


def test_an_area_of_nothing_has_no_sign() -> None:
    scores = np.linspace(0, 1, 100, dtype=np.float32)[None, None]
    masks = (scores == 0).astype(np.uint8)
    assert str(report(scores, masks).values["pixel_aupro"]) == "0.0"


@pytest.mark.parametrize("mode", ["exact", "streaming"])
def test_the_largest_float32_are_scores_like_others(mode: str) -> None:
    largest = np.finfo(np.float32).max
    maps = np.array([[[-largest, 0, 1, largest]]], np.float32)
    got = report(maps, np.array([[[0, 0, 0, 1]]], np.uint8), mode=mode)
    assert got.values["pixel_auroc"] == pytest.approx(1.0, abs=1e-8)


def test_a_version_of_the_definitions_is_not_changed_by_accident() -> None:
    assert VERSION == 1, "every cell on every disk was measured with it"


@pytest.mark.parametrize("mode", ["exact", "streaming"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_memory_stays_within_the_estimate(mode: str, share: float) -> None:
    random = np.random.default_rng(0)
    n_images, shape = 40, (512, 512)
    maps = random.random(shape, dtype=np.float32)
    masks = (np.arange(shape[0] * shape[1]).reshape(shape) < share * shape[0] * shape[1]).astype(np.uint8)
    tracemalloc.start()
    try:
        pixels = PixelMetrics(mode=mode)
        for _ in range(n_images):
            pixels.add(maps, masks)
        pixels.result()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= memory_estimate(n_images * maps.size, mode)
    if mode == "streaming":
        assert memory_estimate(10**12, mode) == memory_estimate(0, mode) <= 128 << 20
    else:  # a pixel is at most an int64, and an eighth is room to grow
        assert memory_estimate(10**9, mode) - memory_estimate(0, mode) == 9 * 10**9
        assert memory_estimate(0) == 48 << 20
