"""The image metrics against scikit-learn, and what is undefined or refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import METRICS, VERSION, image_metrics
from tests.metrics import reference

IMAGE_KEYS = [metric.key for metric in METRICS.values() if metric.level == "image"]


def test_the_table_lists_all_metrics_in_order() -> None:
    assert list(METRICS) == [
        "image_auroc",
        "image_ap",
        "image_f1max",
        "pixel_auroc",
        "pixel_aupro",
        "pixel_aupro_exact",
        "pixel_f1max",
        "pixel_ap",
    ]
    assert all(key == metric.key and key.startswith(metric.level) for key, metric in METRICS.items())
    assert isinstance(VERSION, int)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 80), st.sampled_from([0, 4, 30, None]))
def test_agrees_with_scikit_learn(seed: int, count: int, levels: int | None) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=count)
    if levels is not None:
        scores = np.round(scores * levels) / 8
    labels = random.integers(0, 2, count)
    labels[:2] = 0, 1
    got = image_metrics(labels, scores)
    assert list(got.values) == IMAGE_KEYS
    assert got.values == {
        "image_auroc": pytest.approx(reference.auroc(labels, scores), abs=1e-12),
        "image_ap": pytest.approx(reference.ap(labels, scores), abs=1e-12),
        "image_f1max": pytest.approx(reference.f1max(labels, scores), abs=1e-12),
    }
    threshold = got.details["image_f1max_threshold"]
    hits = (scores >= threshold) & (labels == 1)
    f1 = 2 * hits.sum() / ((scores >= threshold).sum() + labels.sum())
    assert f1 == pytest.approx(got.values["image_f1max"])
    order = random.permutation(count)
    shuffled = image_metrics(labels[order], np.exp(scores[order] / 10))
    assert shuffled.values == pytest.approx(got.values, abs=1e-14)


def test_float64_scores_are_not_rounded() -> None:
    scores = [0.1, 0.1 + 1e-12, 0.1 + 2e-12, 0.1 + 3e-12]
    assert image_metrics([0, 1, 0, 1], scores).values["image_auroc"] == 0.75


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_image_metrics(label: int) -> None:
    got = image_metrics([label] * 3, [0.1, 0.2, 0.3])
    assert got.values == dict.fromkeys(IMAGE_KEYS)
    assert got.reasons == dict.fromkeys(IMAGE_KEYS, "one class")
    assert got.details == {"image_count": 3, "image_anomalous": 3 * label}


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.5, np.nan], "b.png: its score is nan"),
        ([0, 1], [-np.inf, 0.5], "a.png: its score is -inf"),
        ([0, 2], [0.5, 0.5], "b.png: its label 2 is not 0 or 1"),
        ([0, 1], [0.5], "two lists of one length"),
        ([[0, 1]], [[0.5, 0.7]], "two lists of one length"),
        ([], [], "a class without images"),
    ],
)
def test_bad_input_is_refused_by_name(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_metrics(labels, scores, ["a.png", "b.png"])


def test_nameless_images_are_counted() -> None:
    with pytest.raises(ValueError, match=r"^image 1: its score"):
        image_metrics([0, 1], [0.5, np.nan])
