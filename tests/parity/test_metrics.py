"""The metrics against golden files: brute-force references and what the published code returns.

What a file asks for follows from its `kind` and from what it contains, not from its name.
"""

from typing import Any

import numpy as np
import pytest

from metrics import PixelMetrics, Report, image_metrics
from metrics.anomalous import Anomalous
from metrics.aupro import FLAVOURS, Protocol, ProtocolArea
from metrics.keys import keys_of
from metrics.normals import NumpyNormals
from metrics.regions import label_regions

EXACT = 1e-12
PIXEL = {
    "pixel_auroc": "auroc",
    "pixel_ap": "ap",
    "pixel_f1max": "f1_max",
    "pixel_aupro_exact": "aupro_exact",
    "pixel_aupro": "aupro200",
}
IMAGE = {"image_auroc": "auroc", "image_ap": "ap", "image_f1max": "f1_max"}


def test_golden(metrics_case: Any, deviations: Any) -> None:
    checks = {"pixel": check_pixel, "edges": check_edges, "images": check_images, "mask_resize": check_resize}
    kind = metrics_case.about.get("kind")
    if kind not in checks:
        pytest.fail(f"{metrics_case.path}: kind {kind!r} is not one of {', '.join(checks)}")
    checks[kind](metrics_case, deviations)


def pixel_report(maps: np.ndarray, masks: np.ndarray, **options: str) -> Report:
    metrics = PixelMetrics(**options)
    metrics.add(maps, masks)
    return metrics.result()


def check_pixel(case: Any, deviations: Any) -> None:
    maps, masks, reference = case.arrays["maps"], case.arrays["masks"], case.about["reference"]
    flavours = ["numpy1", "numpy2"]
    if np.unique(maps).size > maps.size / 10:  # on few levels the last bit of torch.arange moves the number
        flavours.append("torch_cpu")
    for flavour in flavours:
        check_flavour(case, deviations, maps, masks, flavour, case.about["aupro200"][flavour])
    report = pixel_report(maps, masks)
    for key, name in PIXEL.items():
        if key != "pixel_aupro":
            deviations.check(case, key, report.values[key], reference[f"pixel_{name}"], EXACT)
    details = report.details
    deviations.check(
        case, "F1-max threshold", details["pixel_f1max_threshold"], reference["pixel_f1_threshold"], 0
    )
    assert details["pixel_anomalous"] == reference["n_pos"]
    assert details["pixel_count"] == reference["n_pos"] + reference["n_neg"]
    assert details["pixel_regions"] == reference["n_regions"]
    sizes = [label_regions(mask.astype(bool))[1] for mask in masks]
    assert np.concatenate(sizes).tolist() == reference["region_sizes"]
    check_brackets(pixel_report(maps, masks, mode="streaming"), report)
    check_protocol(case, deviations)
    if "labels" in case.arrays:
        check_image_level(
            case,
            deviations,
            image_metrics(case.arrays["labels"], case.arrays["image_scores"]),
            {key: reference[f"image_{name}"] for key, name in IMAGE.items()},
        )


def check_flavour(
    case: Any, deviations: Any, maps: np.ndarray, masks: np.ndarray, flavour: str, want: Any
) -> None:
    # Where the published function raises or returns NaN, the suite has no number.
    want = want if isinstance(want, float | int) else None
    got = pixel_report(maps, masks, flavour=flavour).values["pixel_aupro"]
    tolerance = 1e-6 if flavour == "torch_cpu" else EXACT
    check_value(case, deviations, f"pixel_aupro {flavour}", got, want, tolerance)


def check_protocol(case: Any, deviations: Any) -> None:
    """Look inside the protocol: its thresholds, stretched false positive rates and overlaps."""
    maps = case.arrays["maps"]
    for flavour, (thresholds, _) in FLAVOURS.items():
        if f"p200_thresholds_{flavour}" in case.arrays:
            got = thresholds(maps.min(), maps.max())
            want = as_compared(case.arrays[f"p200_thresholds_{flavour}"], flavour)
            deviations.check(case, f"thresholds {flavour}", got, want, 0)
        if f"p200_pro_{flavour}" in case.arrays:
            protocol = run_protocol(maps, case.arrays["masks"], flavour)
            rates = protocol.rates - protocol.rates.min()
            rates /= rates.max()
            deviations.check(
                case, "false positive rates", rates, case.arrays[f"p200_fpr_rescaled_{flavour}"], EXACT
            )
            deviations.check(case, "overlaps", protocol.overlaps, case.arrays[f"p200_pro_{flavour}"], EXACT)


def as_compared(thresholds: np.ndarray, flavour: str) -> np.ndarray:
    """The float32 thresholds that separate float32 scores as the given float64 ones do."""
    rounded = thresholds.astype(np.float32)
    if flavour == "numpy2":  # compared in float64: the largest float32 that is not above
        rounded[rounded > thresholds] = np.nextafter(rounded, np.float32(-np.inf))[rounded > thresholds]
    return rounded


def run_protocol(maps: np.ndarray, masks: np.ndarray, flavour: str) -> Protocol:
    normals, anomalous = NumpyNormals(), Anomalous()
    for scores, mask in zip(maps, masks.astype(bool), strict=True):
        anomalous.extend(normals.split(keys_of(scores), mask), *label_regions(mask))
    normals.sort()
    area = ProtocolArea(flavour, maps.min(), maps.max(), normals, anomalous.sizes)
    for block in anomalous.walk():
        area.add(block.keys, block.regions)
    return area.result()


def check_brackets(streamed: Report, exact: Report) -> None:
    for key, (low, high) in streamed.brackets.items():
        value = exact.values[key]
        assert value is not None and low <= value <= high, f"{key}: {value} is outside [{low}, {high}]"


def check_edges(case: Any, deviations: Any) -> None:
    for name, about in case.about["cases"].items():
        maps, masks = case.arrays[f"{name}__maps"], case.arrays[f"{name}__masks"]
        if about["expected"] == "error":
            with pytest.raises(ValueError, match="image"):
                pixel_report(maps, masks)
            continue
        report = pixel_report(maps, masks)
        assert report.details["pixel_regions"] == about["n_regions"], name
        assert report.reasons.keys() == {key for key, value in report.values.items() if value is None}, name
        for key, short in PIXEL.items():
            check_value(case, deviations, key, report.values[key], about["expected"][short])
        check_brackets(pixel_report(maps, masks, mode="streaming"), report)
        for flavour in {"numpy1", "numpy2"} & (about.get("aupro200") or {}).keys():
            check_flavour(case, deviations, maps, masks, flavour, about["aupro200"][flavour])


def check_images(case: Any, deviations: Any) -> None:
    for name, about in case.about["cases"].items():
        labels, scores = case.arrays[f"{name}__labels"], case.arrays[f"{name}__scores"]
        reference = about["reference"]
        if reference == "error":
            with pytest.raises(ValueError, match="image"):
                image_metrics(labels, scores)
            continue
        report = image_metrics(labels, scores)
        assert report.reasons.keys() == {key for key, value in report.values.items() if value is None}, name
        check_image_level(
            case, deviations, report, {key: reference[f"image_{short}"] for key, short in IMAGE.items()}
        )
        if "image_f1_threshold" in reference:
            threshold = report.details["image_f1max_threshold"]
            deviations.check(case, "F1-max threshold", threshold, reference["image_f1_threshold"], 0)


def check_image_level(case: Any, deviations: Any, report: Report, want: dict[str, float | None]) -> None:
    for key in IMAGE:
        check_value(case, deviations, key, report.values[key], want[key])


def check_value(
    case: Any, deviations: Any, key: str, got: float | None, want: float | None, tolerance: float = EXACT
) -> None:
    assert (got is None) == (want is None), f"{case.path.name}: {key} is {got}, not {want}"
    if want is not None:
        deviations.check(case, key, got, want, tolerance)


def check_resize(case: Any, deviations: Any) -> None:
    from datasets.images import resize_mask  # noqa: PLC0415 (the other goldens do not need that wing)

    for name, about in case.about["cases"].items():
        source, size = case.arrays[f"in_{name.split('_')[0]}"], about["out"]
        assert list(source.shape) == about["in_shape"], name
        want = np.unpackbits(case.arrays[f"out_{name}"], count=size * size).reshape(size, size)
        got = resize_mask(source, size)
        deviations.check(case, "resized mask", got, want, 0)
        assert label_regions(got.astype(bool))[1].size == about["regions"], name
