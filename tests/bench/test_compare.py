"""Comparing two methods image by image: the bootstrap against known truths, and what is refused."""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from bench.cli import main
from bench.errors import BenchError
from bench.show import Table, render
from bench.study.bootstrap import METRICS, resampled, weighted_metrics
from bench.study.compare import compare
from bench.study.statistics import interval
from metrics import image_metrics
from tests.bench.scored import Cells, draw, make, write


@pytest.fixture
def cells() -> Cells:
    """Return two methods on two classes of `screws` and on `nuts`; `better` is so but in one class."""
    found = []
    for place, (dataset, name, n_classes) in enumerate(
        [("screws", "m4", 2), ("screws", "m5", 2), ("nuts", "hex", 1)]
    ):
        labels, shared = draw(place, 60, 40)
        for method, seed, gain in (("better", 10, 1.5), ("worse", 20, 0.5)):
            _, own = draw(seed + place, 60, 40, gain)
            found.append(make(method, dataset, name, labels, shared + own, n_classes=n_classes))
    return found


class Difference(NamedTuple):
    """One metric of two methods, as a table has it."""

    first: float
    second: float
    low: float
    high: float
    is_clear: bool
    p: float


class Found(NamedTuple):
    title: str
    differences: dict[str, Difference]
    marks: tuple[frozenset[str], frozenset[str]]


def rows(table: Table) -> list[Found]:
    """Return the table's rows, each with all metrics."""
    found = []
    for lines in zip(*(section.rows for section in table.sections), strict=True):
        differences = {}
        for line in lines:
            ((first,), (second,), (difference,)) = line.entries
            assert difference.number == first.number - second.number
            ends = difference.interval
            differences[first.metric] = Difference(
                float(first.number), float(second.number), *ends, difference.bold, difference.p
            )
        found.append(Found(lines[0].labels[0], differences, (first.marks, second.marks)))
    return found


def row(table: Table, title: str) -> Found:
    (found,) = [each for each in rows(table) if each.title == title]
    return found


@pytest.mark.parametrize("ties", [1000.0, 2.0])
def test_weighted_metrics_are_those_of_scikit_learn(ties: float) -> None:
    rng = np.random.default_rng(1)
    labels, scores = draw(2, 30, 20)
    scores = np.round(scores * ties) / ties
    weights = rng.integers(0, 4, size=(50, labels.size))
    ours = weighted_metrics(labels, scores, weights)
    assert ours.shape == (3, 50)
    for (auroc, ap, f1max), weight in zip(ours.T, weights, strict=True):
        precision, recall, _ = precision_recall_curve(labels, scores, sample_weight=weight)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert auroc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight), abs=1e-12)
        assert ap == pytest.approx(average_precision_score(labels, scores, sample_weight=weight), abs=1e-12)
        assert f1max == pytest.approx(f1.max(), abs=1e-9)


def test_equal_weights_give_the_metrics_wings_numbers() -> None:
    labels, scores = draw(3, 50, 50)
    scores = np.round(scores, 1)
    values = image_metrics(labels, scores).values
    ours = weighted_metrics(labels, scores, np.ones((1, labels.size), dtype=np.int64))
    assert ours[:, 0] == pytest.approx([values[name] for name in METRICS], abs=1e-12)


def differences(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, resamples: int, name: str = "x"
) -> np.ndarray:
    one, other = (
        resampled(labels, [partial(weighted_metrics, labels, scores)], resamples=resamples, seed=0, name=name)
        for scores in (first, second)
    )
    return one - other


def placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wins = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None]) / 2 + 0.5
    return wins.mean(axis=1), wins.mean(axis=0)


def test_the_spread_of_auroc_differences_is_delongs() -> None:
    labels, shared = draw(4, 150, 90)
    first, second = (shared + draw(seed, 150, 90)[1] for seed in (5, 6))
    # DeLong, DeLong and Clarke-Pearson 1988: the variance of a difference of correlated AUROCs.
    by_anomalous, by_normal = (
        one - other for one, other in zip(placements(labels, first), placements(labels, second), strict=True)
    )
    expected = np.sqrt(by_anomalous.var(ddof=1) / 90 + by_normal.var(ddof=1) / 150)
    drawn = differences(labels, first, second, resamples=4000)
    assert drawn.shape == (3, 4000)
    assert drawn[0].std() == pytest.approx(expected, rel=0.06)
    unpaired = np.sqrt(sum(p.var() / p.size for s in (first, second) for p in placements(labels, s)))
    assert drawn[0].std() < 0.8 * unpaired


def test_every_resample_has_both_labels() -> None:
    labels, first, second = np.array([0, 0, 1]), np.array([0.1, 0.9, 0.5]), np.array([0.1, 0.2, 0.5])
    drawn = differences(labels, first, second, resamples=500)
    # The one anomalous image beats none, one or two of the drawn normal ones; by `second` always two.
    assert set(drawn[0].tolist()) == {-1.0, -0.5, 0.0}


def test_methods_that_rank_alike_do_not_differ_in_any_resample() -> None:
    labels, scores = draw(7, 40, 40)
    cells = [make("a", "nuts", "hex", labels, scores), make("b", "nuts", "hex", labels, 2 * scores + 1)]
    for difference in rows(compare(cells, ["a", "b"]))[0].differences.values():
        assert (difference.low, difference.high) == (0.0, 0.0)
        assert difference.first == difference.second
        assert not difference.is_clear


def test_points_are_means_over_classes_then_datasets(cells: Cells) -> None:
    found = compare(cells, ["better", "worse"], resamples=50)
    assert [each.title for each in rows(found)] == ["NUTS", "SCREWS", "Mean"]
    of_sections = [[each.is_average for each in section.rows] for section in found.sections]
    assert of_sections == [[False, False, True]] * len(METRICS)
    for name in METRICS:
        better = [cell["metrics"][name] for cell in cells if cell["method"] == "better"]
        screws, nuts = np.mean(better[:2]), better[2]
        assert row(found, "SCREWS").differences[name].first == pytest.approx(screws)
        assert row(found, "Mean").differences[name].first == pytest.approx((screws + nuts) / 2)
        difference = row(found, "NUTS").differences[name]
        assert difference.second == pytest.approx(cells[5]["metrics"][name])
        assert difference.low < difference.first - difference.second < difference.high


def test_a_dataset_is_as_sure_as_its_classes_and_the_mean_surer(cells: Cells) -> None:
    found = compare(cells, ["better", "worse"])
    widths = {
        each.title: each.differences["image_auroc"].high - each.differences["image_auroc"].low
        for each in rows(found)
    }
    assert widths["Mean"] < widths["SCREWS"] < widths["NUTS"]
    assert row(found, "Mean").differences["image_auroc"].is_clear
    back = compare(cells, ["worse", "better"])
    high = row(found, "NUTS").differences["image_ap"].high
    assert row(back, "NUTS").differences["image_ap"].low == pytest.approx(-high)


def test_the_resamples_follow_from_the_seed_and_from_nothing_else(cells: Cells) -> None:
    nuts = row(compare(cells, ["better", "worse"]), "NUTS")
    for cell in cells[:-1]:
        cell["scores"] = cell["scores"][::-1]  # runs may list images in any order
    again = compare(cells, ["better", "worse"], datasets=["nuts"])
    assert rows(again) == [nuts]
    other = rows(compare(cells, ["better", "worse"], datasets=["nuts"], seed=1))[0]
    assert other.differences["image_auroc"].first == nuts.differences["image_auroc"].first
    assert other.differences["image_auroc"].low != nuts.differences["image_auroc"].low


def _changed_label(cell: dict[str, Any]) -> None:
    cell["scores"][7]["label"] = 1


def _changed_name(cell: dict[str, Any]) -> None:
    cell["scores"][3]["image"] = "other.png"


def _changed_data(cell: dict[str, Any]) -> None:
    cell["config"]["data"] = "another fingerprint"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_changed_label, r"1 differ, such as 0007\.png"),
        (_changed_name, r"2 differ, such as 0003\.png"),
        (lambda cell: cell["scores"].pop(), r"1 differ, such as 0099\.png"),
        (_changed_data, "same names, other data"),
    ],
)
def test_other_images_are_refused(cells: Cells, change: Callable[[dict[str, Any]], Any], what: str) -> None:
    change(cells[3])
    with pytest.raises(
        BenchError, match=rf"screws/m5: Better and Worse were not measured on the same images \({what}\)"
    ):
        compare(cells, ["better", "worse"])
    assert len(rows(compare(cells, ["better", "worse"], datasets=["nuts"], resamples=50))) == 1


def test_missing_cells_are_refused_by_name(cells: Cells) -> None:
    with pytest.raises(BenchError, match="Worse has no cell of screws/m5: run it, or leave screws out"):
        compare([cell for cell in cells if cell is not cells[3]], ["better", "worse"])
    without = [cell for cell in cells if (cell["method"], cell["dataset"]) != ("worse", "nuts")]
    with pytest.raises(BenchError, match="Worse has no cells on nuts"):
        compare(without, ["better", "worse"], datasets=["nuts", "screws"])
    found = compare(without, ["better", "worse"], resamples=50)
    assert [each.title for each in rows(found)] == ["SCREWS"]
    assert "not compared, because only one method has cells: nuts" in found.notes
    both_lack = compare([*cells[:2], *cells[4:]], ["better", "worse"], resamples=50)
    assert row(both_lack, "SCREWS").marks == ({"partial"}, {"partial"})
    assert row(both_lack, "Mean").marks == ({"partial"}, {"partial"})


def test_what_has_no_image_level_is_left_out_and_said(cells: Cells) -> None:
    pixels = [make(method, "isic", "skin", [1, 1], [0.1, 0.2]) for method in ("better", "worse")]
    cells[0:2] = [make(m, "screws", "m4", [0, 0], [0.1, 0.2], n_classes=2) for m in ("better", "worse")]
    found = compare([*cells, *pixels], ["better", "worse"], resamples=50)
    assert [each.title for each in rows(found)] == ["NUTS", "SCREWS", "Mean"]
    reason = pixels[0]["reasons"]["image_auroc"]
    assert f"ISIC: all left out, {reason}" in found.notes
    assert f"SCREWS: m4 left out, {reason}" in found.notes
    assert row(found, "SCREWS").marks == ({"partial"}, {"partial"})
    with pytest.raises(BenchError, match="nothing to compare at image level: ISIC: all left out"):
        compare(pixels, ["better", "worse"])


def test_training_seeds_enter_with_the_mean_of_their_metrics() -> None:
    labels, scores = draw(8, 30, 30)
    seeds = {seed: scores + draw(seed, 30, 30)[1] for seed in (1, 2, 3)}
    cells = [make("m", "nuts", "hex", labels, s, source=f"visa~{seed}") for seed, s in seeds.items()]
    cells.append(make("free", "nuts", "hex", labels, scores))
    found = compare(cells, ["m", "free"], resamples=300)
    expected = np.mean([image_metrics(labels, s).values["image_auroc"] for s in seeds.values()])
    difference = rows(found)[0].differences["image_auroc"]
    assert difference.first == pytest.approx(expected)
    assert any(
        note.startswith("M: mean over 3 training seeds (1, 2, 3); the intervals") for note in found.notes
    )
    single = [differences(labels, s, scores, resamples=300, name="nuts/hex") for s in seeds.values()]
    assert (difference.low, difference.high) == pytest.approx(interval(np.mean(single, axis=0)[0]))
    more = make("m", "nuts", "tri", labels, scores, source="visa~1")
    with pytest.raises(BenchError, match="M, seed 2, has no cell of nuts/tri"):
        compare([*cells, more, make("free", "nuts", "tri", labels, scores)], ["m", "free"])


def test_a_method_must_be_one_column(cells: Cells) -> None:
    labels, scores = draw(9, 60, 40)
    other = make("better", "nuts", "hex", labels, scores, source="btad~1")
    sourced = make("better", "nuts", "hex", labels, scores, source="visa~1")
    both = [cells[5], other, sourced]
    home = compare(both, ["better", "worse"], resamples=50)  # the protocol's source
    assert [column.title for column in home.columns] == ["Better", "Worse", "Difference, 95% interval, p"]
    sourced["protocol_source"] = False
    with pytest.raises(BenchError, match=r"better is several columns: Better \(btad\), Better \(visa\)"):
        compare(both, ["better", "worse"])
    # A method that learns nothing has no source to choose.
    chosen = compare(both, ["better", "worse"], where={"source": "btad"}, resamples=50)
    assert rows(chosen)[0].differences["image_ap"].first == pytest.approx(other["metrics"]["image_ap"])
    with pytest.raises(BenchError, match="better and better are both Better"):
        compare(cells, ["better", "better"])
    with pytest.raises(BenchError, match="none of 6 cells matches bettr"):
        compare(cells, ["bettr", "worse"])
    with pytest.raises(BenchError, match=r"--resamples 38: 1 difference\(s\) need at least 39"):
        compare(cells, ["better", "worse"], resamples=38)


def test_trained_on_targets_are_marked_and_out_of_the_mean(cells: Cells) -> None:
    cells[4]["marks"] = ["seen"]
    for cell in cells:
        cell["marks"] = [*cell["marks"], "untrained"] if cell["method"] == "worse" else cell["marks"]
    found = compare(cells, ["better", "worse"], resamples=50)
    assert row(found, "NUTS").marks == ({"seen"}, {"untrained"})
    assert row(found, "Mean").differences == row(found, "SCREWS").differences
    text = render(found)
    assert "> **untrained: chance. Untrained weights in Worse: not ranked.**" in text
    assert "- `‡` trained on this dataset" in text
    assert [line.split()[3] for line in text.splitlines() if line.startswith("| NUTS")] == [
        f"{100 * row(found, 'NUTS').differences[name].first:.1f}‡" for name in METRICS
    ]


def test_generated_and_real_data_are_not_averaged(cells: Cells) -> None:
    labels, scores = draw(9, 6, 4)
    cells += [make(method, "standin_btad", "01", labels, scores) for method in ("better", "worse")]
    with pytest.raises(BenchError, match="standin_btad is generated and others are real"):
        compare(cells, ["better", "worse"])
    assert (
        rows(compare(cells, ["better", "worse"], datasets=["standin_btad"], resamples=50))[0].title == "BTAD"
    )


def test_the_verb_prints_tables_with_intervals(
    cells: Cells, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(cells, tmp_path)
    words = ["compare", "--results", str(tmp_path), "--datasets", "nuts", "screws", "--methods", "better"]
    assert main([*words, "worse", "--resamples", "500", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == render(compare(cells, ["better", "worse"], resamples=500, seed=3)).strip()
    assert printed.startswith("### Better against Worse: image level, in percent")
    assert [line for line in printed.splitlines() if line.startswith("**")] == [
        "**AUROC**",
        "**AP**",
        "**F1-max**",
    ]
    mean = row(compare(cells, ["better", "worse"], resamples=500, seed=3), "Mean").differences["image_auroc"]
    line = next(line for line in printed.splitlines() if line.startswith("| Mean"))
    shown = [part.strip(" *") for part in line.strip("|").split("|")]
    interval = f"[{100 * mean.low:+.1f}, {100 * mean.high:+.1f}]"
    assert shown[1:] == [
        f"{100 * mean.first:.1f}", f"{100 * mean.second:.1f}",
        f"{100 * (mean.first - mean.second):+.1f} {interval}, p = {mean.p:.3f}",
    ]  # fmt: skip
    assert "- 500 resamples of the images within class and label, seed 3" in printed
    assert printed.rstrip().splitlines()[-1].startswith("commit 0123456789; 2025-11-23; 6 cells")
    assert main([*words, "worse", "--resamples", "500", "--seed", "3", "--format", "csv"]) == 0
    lines = csv.DictReader(line for line in capsys.readouterr().out.splitlines() if line and line[0] != "#")
    (told,) = [
        line
        for line in lines
        if (line["dataset"], line["paper"], line["metric"]) == ("Mean", "difference", "auroc")
    ]
    assert tuple(float(told[name]) for name in ("low", "high", "p")) == (mean.low, mean.high, mean.p)
    assert main([*words, "best"]) == 2
    assert "none of 6 cells matches best nuts screws" in capsys.readouterr().err


def test_other_settings_are_compared_with_a_note(cells: Cells) -> None:
    assert not any("inductive" in note for note in compare(cells, ["better", "worse"], resamples=50).notes)
    for cell in cells:
        if cell["method"] == "better":
            cell["setting"] = "transductive"
    found = compare(cells, ["better", "worse"], resamples=50)
    assert (
        "Better is transductive and Worse is inductive: they do not see the same of the test set, so the "
        "difference is no contest"
    ) in found.notes
    assert "- `◇` sees all unlabelled test images" in render(found)
