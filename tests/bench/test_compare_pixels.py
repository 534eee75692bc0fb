"""Comparing methods at pixel level, by what `run --save-maps` keeps of each image."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import main
from bench.errors import BenchError
from bench.run.execute import execute
from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.show import Table
from bench.store.cells import CellStore, identify
from bench.store.maps import KeptMaps
from bench.study.bootstrap import draw as weights_of
from bench.study.bootstrap import resampled
from bench.study.compare import compare
from bench.study.statistics import interval
from metrics import Counts, PixelCounts, PixelMetrics
from metrics.counts import METRICS
from tests.bench.scored import Cells, make

SIZE = 32
Planner = Callable[..., Plan]
ReadCounts = Callable[[Any], Counts | None]


def picture(seed: int, label: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if label:
        top, left = rng.integers(2, SIZE - 12, 2)
        mask[top : top + 9, left : left + 9] = 1
    scores = np.random.default_rng([seed, int(10 * gain)]).normal(size=mask.shape) + gain * mask
    return scores.astype(np.float32), mask


@pytest.fixture
def measured() -> tuple[Cells, ReadCounts]:
    """Return two methods on two classes, with pixel metrics of made-up maps, and their counts."""
    cells, counts = [], {}
    for place, name in enumerate(("nut", "screw")):
        labels = [0, 0, 0, 1, 1, 1, 1, 1]
        for method, gain in (("better", 1.2), ("worse", 0.9)):
            cell = make(method, "parts", name, labels, range(8), n_classes=2)
            exact, of_images = PixelMetrics(), PixelCounts()
            for number, label in enumerate(labels):
                pair = picture(100 * place + number, label, gain)
                exact.add(*pair)
                of_images.add(*pair)
            cell["metrics"] = {**cell["metrics"], **exact.result().values}
            counts[cell["key"]] = of_images.result()
            cells.append(cell)
    return cells, lambda cell: counts[cell["key"]]


def differences(table: Table) -> dict[str, tuple[float, tuple[float, float]]]:
    """Return metric -> the mean's, or the only row's, difference and interval."""
    found = {}
    for section in table.sections:
        value = section.rows[-1].entries[-1][0]
        found[value.metric] = (float(value.number), value.interval)
    return found


def test_differences_are_the_cells_and_intervals_lie_around_them(
    measured: tuple[Cells, ReadCounts],
) -> None:
    cells, read = measured
    table = compare(cells, ["better", "worse"], metrics=METRICS, resamples=400, read_counts=read)
    assert [section.title for section in table.sections] == ["AUROC", "AP", "F1-max", "exact AUPRO"]
    assert table.title == "Better against Worse: pixel level, in percent"
    found = differences(table)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    per_class, off = [], {}
    for name in ("nut", "screw"):
        of_class = []
        for cell in [cell for cell in cells if cell["class"] == name]:
            counts, stored = read(cell), np.array([cell["metrics"][metric] for metric in METRICS])
            drawn = resampled(labels, [counts.metrics], resamples=400, seed=0, name=f"parts/{name}")
            error = counts.metrics(np.ones((1, 8), np.int64))[:, 0] - stored
            off |= {(cell["title"], name, place): abs(each) for place, each in enumerate(error)}
            of_class.append(drawn - error[:, None])
        per_class.append(of_class[0] - of_class[1])
    for place, metric in enumerate(METRICS):
        first, second = (
            np.mean([cell["metrics"][metric] for cell in cells if cell["method"] == method])
            for method in ("better", "worse")
        )
        number, ends = found[metric]
        assert number == pytest.approx(first - second)
        assert ends == pytest.approx(interval(np.mean(per_class, axis=0)[place]))
        assert ends[0] < number < ends[1]
    worst = max(off, key=off.__getitem__)
    assert any(
        note.endswith(f"off by at most {100 * off[worst]:.2f} (AP of {worst[0]} on parts/{worst[1]})")
        for note in table.notes
    )
    assert METRICS[worst[2]] == "pixel_ap"


def test_a_resample_is_the_class_with_its_images_repeated(measured: tuple[Cells, ReadCounts]) -> None:
    _, read = measured
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    counts = read(measured[0][0])
    drawn = resampled(labels, [counts.metrics], resamples=5, seed=3, name="parts/nut")
    (weights,) = weights_of(labels, 5, 3, "parts/nut")
    assert weights[:, :3].sum(axis=1).tolist() == [3] * 5  # within the label
    for ours, weight in zip(drawn.T, weights, strict=True):
        exact = PixelMetrics()
        for number, times in enumerate(weight):
            for _ in range(times):
                exact.add(*picture(number, int(labels[number]), 1.2))
        values = exact.result().values
        assert ours == pytest.approx([values[metric] for metric in METRICS], abs=6e-3)


def test_images_may_be_scored_in_any_order(measured: tuple[Cells, ReadCounts]) -> None:
    cells, read = measured
    table = compare(cells, ["better", "worse"], metrics=METRICS, resamples=50, read_counts=read)
    turned = [cell | {"scores": cell["scores"][::-1]} for cell in cells]
    again = compare(
        turned,
        ["better", "worse"],
        metrics=METRICS,
        resamples=50,
        read_counts=lambda cell: Counts(*(part[::-1] for part in read(cell))),
    )
    for metric, (number, ends) in differences(table).items():
        other_number, other_ends = differences(again)[metric]
        assert other_number == number
        assert other_ends == pytest.approx(ends)


def test_what_cannot_be_resampled_is_refused_or_left_out(measured: tuple[Cells, ReadCounts]) -> None:
    cells, read = measured
    with pytest.raises(BenchError, match="pixel_aupro takes its 200 thresholds"):
        compare(cells, ["better", "worse"], metrics=["pixel_aupro"], read_counts=read)
    with pytest.raises(BenchError, match="one level at a time"):
        compare(cells, ["better", "worse"], metrics=["pixel_ap", "image_ap"], read_counts=read)
    with pytest.raises(BenchError, match="parts/nut: its kept maps have no counts"):
        compare(cells, ["better", "worse"], metrics=["pixel_ap"])
    # One image alone has anomalous pixels: some resample has none.
    few = lambda cell: read(cell)._replace(anomalous=read(cell).anomalous * (np.arange(8) == 4)[:, None])  # noqa: E731
    with pytest.raises(BenchError, match="PARTS: all left out, too few images with anomalous pixels"):
        compare(cells, ["better", "worse"], metrics=["pixel_ap"], read_counts=few)
    for cell in cells[:2]:
        cell["metrics"]["pixel_ap"], cell["reasons"]["pixel_ap"] = None, "no masks"
    found = compare(cells, ["better", "worse"], metrics=["pixel_ap"], resamples=50, read_counts=read)
    assert "PARTS: nut left out, no masks" in found.notes


def test_from_a_run_with_kept_maps_to_the_comparison(
    plan_for: Planner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = CellStore(tmp_path / "runs")
    assert not execute(plan_for("chance", "oracle", save_maps=True), store, Machine()).failed
    for cell in store:
        counts = KeptMaps(store.maps_path(identify(cell)), cell).counts()
        assert counts.regions.sum() == cell["details"]["pixel_regions"]
        assert counts.anomalous.sum() == cell["details"]["pixel_anomalous"]
        on_levels = counts.metrics(np.ones((1, len(cell["scores"])), np.int64))[:, 0]
        assert on_levels == pytest.approx([cell["metrics"][metric] for metric in METRICS], abs=0.01)
    words = ["compare", "--results", str(tmp_path), "--methods", "oracle", "chance", "--resamples", "100"]
    assert main([*words, "--metrics", "pixel_auroc", "pixel_aupro_exact"]) == 0
    printed = capsys.readouterr().out
    assert "Oracle against Chance: pixel level, in percent" in printed
    assert "pixels counted on 1024 levels" in printed
    for path in store.root.rglob("*.zip"):
        path.unlink()
    assert main([*words, "--metrics", "pixel_auroc"]) == 2
    error = capsys.readouterr().err
    assert re.search(
        r"\.maps\.zip: there are no kept maps; repeat the cell's `run` command with --save-maps", error
    )
    assert main(words) == 0  # the image level needs none
