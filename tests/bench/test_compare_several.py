"""Comparing three methods or more: which pairs, corrected for how many, and whether the intervals cover."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.errors import BenchError
from bench.show import Table, render
from bench.show.model import Value
from bench.study.bootstrap import METRICS, resampled, weighted_metrics
from bench.study.bootstrap import draw as weights_of
from bench.study.compare import compare
from bench.study.statistics import holm, interval, p_value
from tests.bench.scored import Cells, draw, make, write

GAINS = {"best": 2.2, "good": 1.0, "fair": 0.8}


@pytest.fixture
def cells() -> Cells:
    """Return three methods on two classes of `mvtec` and one of `headct`."""
    found = []
    for place, (dataset, name, domain) in enumerate(
        [("headct", "brain", "medical"), ("mvtec", "nut", "industrial"), ("mvtec", "screw", "industrial")]
    ):
        labels, shared = draw(place, 60, 40)
        for seed, (method, gain) in enumerate(GAINS.items()):
            _, own = draw(10 * seed + place, 60, 40, gain)
            n_classes = 2 if dataset == "mvtec" else 1
            found.append(
                make(method, dataset, name, labels, shared + own, n_classes=n_classes, domain=domain)
            )
    return found


def values(table: Table, metric: str) -> dict[tuple[str, str], Value]:
    """Return (dataset, method or pair) -> the value."""
    found = [
        ((row.labels[0], row.labels[-1]), value)
        for section in table.sections
        for row in section.rows
        for (value,) in row.entries
        if value.metric == metric
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def differences(table: Table, metric: str = "image_auroc") -> dict[tuple[str, str], Value]:
    return {place: value for place, value in values(table, metric).items() if value.signed}


def test_all_pairs_are_compared_with_numbers_in_catalog_order_and_domains_apart(cells: Cells) -> None:
    table = compare(cells, ["good", "best", "fair"], resamples=200)
    assert [section.title for section in table.sections] == ["AUROC", "AP", "F1-max"]
    rows = values(table, "image_auroc")
    assert list(dict.fromkeys(dataset for dataset, _ in rows)) == ["MVTec", "HeadCT", "Mean"]
    assert [pair for dataset, pair in rows if dataset == "MVTec"] == [
        "Good", "Best", "Fair", "Good - Best", "Good - Fair", "Best - Fair"
    ]  # fmt: skip
    of_best = [cell["metrics"]["image_auroc"] for cell in cells if cell["method"] == "best"]
    assert float(rows["MVTec", "Best"].number) == pytest.approx(np.mean(of_best[1:]))
    assert float(rows["Mean", "Best"].number) == pytest.approx((of_best[0] + np.mean(of_best[1:])) / 2)
    for (dataset, pair), value in differences(table).items():
        first, second = pair.split(" - ")
        assert value.number == rows[dataset, first].number - rows[dataset, second].number
        low, high = value.interval
        assert low < value.number < high


def test_every_domain_has_its_mean(cells: Cells) -> None:
    labels, scores = draw(9, 60, 40)
    more = [make(m, "btad", "01", labels, scores + i, domain="industrial") for i, m in enumerate(GAINS)]
    table = compare([*cells, *more], list(GAINS), resamples=200)
    rows = values(table, "image_ap")
    titles = list(dict.fromkeys(dataset for dataset, _ in rows))
    assert titles == ["MVTec", "BTAD", "Mean, industrial", "HeadCT", "Mean"]
    mvtec, btad, industrial, headct, mean = (rows[title, "Good"].number for title in titles)
    assert industrial == pytest.approx((mvtec + btad) / 2)
    assert mean == pytest.approx((mvtec + btad + headct) / 3)


def test_industrial_datasets_beyond_the_fourteen_stand_before_medical_ones(cells: Cells) -> None:
    labels, scores = draw(9, 60, 40)
    more = [make(m, "ksdd2", "01", labels, scores + i, domain="industrial") for i, m in enumerate(GAINS)]
    table = compare([*cells[:3], *more], list(GAINS), resamples=200)
    titles = list(dict.fromkeys(dataset for dataset, _ in values(table, "image_ap")))
    assert titles == ["KSDD2", "HeadCT", "Mean"]


def test_p_and_intervals_are_for_all_pairs_of_a_row_together(cells: Cells) -> None:
    table = compare(cells, list(GAINS), datasets=["headct"], resamples=600)
    of_method = {}
    for cell in cells[:3]:
        labels = np.array([row["label"] for row in cell["scores"]])
        scores = np.array([row["score"] for row in cell["scores"]], np.float32)
        measure = partial(weighted_metrics, labels, scores)
        of_method[cell["title"]] = resampled(labels, [measure], resamples=600, seed=0, name="headct/brain")
    for place, metric in enumerate(METRICS):
        found = differences(table, metric)
        assert list(found) == [("HeadCT", p) for p in ("Best - Good", "Best - Fair", "Good - Fair")]
        drawn = [
            of_method[first][place] - of_method[second][place]
            for first, second in (("Best", "Good"), ("Best", "Fair"), ("Good", "Fair"))
        ]
        assert [value.interval for value in found.values()] == [interval(each, 3) for each in drawn]
        adjusted = holm([p_value(each) for each in drawn])
        assert [value.p for value in found.values()] == adjusted
        assert [value.bold for value in found.values()] == [p <= 0.05 for p in adjusted]
    alone = compare(cells, list(GAINS), datasets=["headct"], resamples=600, correction="none")
    for value, other in zip(differences(table).values(), differences(alone).values(), strict=True):
        assert other.p <= value.p
        assert value.interval[0] <= other.interval[0] < other.interval[1] <= value.interval[1]
    assert any("adjusted by Holm for the 3 comparisons" in note for note in table.notes)
    assert any("for one comparison each" in note for note in alone.notes)


def test_a_control_is_compared_with_all_others_alone(cells: Cells) -> None:
    table = compare(cells, ["best", "good"], against="fair", datasets=["headct"], resamples=200)
    assert [pair for _, pair in differences(table)] == ["Best - Fair", "Good - Fair"]
    assert any("for the 2 comparisons" in note for note in table.notes)
    within = compare(cells, ["best", "fair", "good"], against="fair", datasets=["headct"], resamples=200)
    assert differences(within) == differences(table)
    # One other method leaves two, which stand side by side as ever.
    two = compare(cells, ["best"], against="fair", datasets=["headct"], resamples=200)
    assert two == compare(cells, ["best", "fair"], datasets=["headct"], resamples=200)


def test_the_order_of_methods_changes_signs_alone(cells: Cells) -> None:
    one = differences(compare(cells, ["best", "good", "fair"], resamples=300))
    other = differences(compare(cells[::-1], ["fair", "good", "best"], resamples=300))
    for (dataset, pair), value in one.items():
        first, second = pair.split(" - ")
        back = other[dataset, f"{second} - {first}"]
        assert back.number == -value.number
        assert back.p == value.p
        assert back.interval == (-value.interval[1], -value.interval[0])


def test_names_of_methods_do_not_matter(cells: Cells) -> None:
    renamed = [cell | {"method": f"x{cell['method']}", "title": f"X{cell['title']}"} for cell in cells]
    one = differences(compare(cells, list(GAINS), resamples=200))
    other = differences(compare(renamed, [f"x{name}" for name in GAINS], resamples=200))
    assert [v.interval for v in one.values()] == [v.interval for v in other.values()]
    assert [v.p for v in one.values()] == [v.p for v in other.values()]


def test_a_metric_may_be_left_out(cells: Cells) -> None:
    table = compare(cells, list(GAINS), metrics=["image_f1max"], resamples=200)
    assert [section.title for section in table.sections] == ["F1-max"]
    assert values(table, "image_f1max") == values(compare(cells, list(GAINS), resamples=200), "image_f1max")
    with pytest.raises(BenchError, match="did you mean 'image_auroc'"):
        compare(cells, list(GAINS), metrics=["image_auorc"])


def test_too_few_resamples_or_methods_are_refused(cells: Cells) -> None:
    with pytest.raises(BenchError, match=r"--resamples 118: 3 difference\(s\) need at least 119"):
        compare(cells, list(GAINS), resamples=118)
    assert compare(cells, list(GAINS), resamples=119, datasets=["headct"])
    with pytest.raises(BenchError, match="needs two methods or more"):
        compare(cells, ["best"])
    with pytest.raises(BenchError, match="best and best are both Best"):
        compare(cells, ["best", "good", "best"])
    with pytest.raises(BenchError, match=r"headct/brain: Best and Fair were not measured on the same images"):
        cells[2]["scores"].pop()
        compare(cells, list(GAINS))


def test_enough_images_are_drawn_for_the_number_of_pairs(cells: Cells) -> None:
    labels, scores = draw(9, 6, 6)
    many = [make(f"m{i}", "nuts", "hex", labels, scores * (-1) ** i) for i in range(4)]
    found = compare(many, [cell["method"] for cell in many], metrics=["image_auroc"])
    assert any(note.startswith("2400 resamples") for note in found.notes)  # 6 pairs, 400 each
    two = compare(many, ["m0", "m1"], metrics=["image_auroc"])
    assert any(note.startswith("2000 resamples") for note in two.notes)


@pytest.mark.parametrize("methods", [2, 4])
def test_intervals_cover_the_truth_and_seldom_any_two_equal_methods_differ(methods: int) -> None:
    # All methods are equally good, so that every true difference is 0 and every call is wrong.
    trials, pairs = 120, methods * (methods - 1) // 2
    covered = called = 0
    for trial in range(trials):
        labels, shared = draw(1000 + trial, 40, 40, gain=0.7)
        scores = [shared + draw(7919 * trial + m, 40, 40)[1] * 0.5 for m in range(methods)]
        drawn = [
            np.concatenate([weighted_metrics(labels, s, w)[0] for w in weights_of(labels, 299, trial, "x")])
            for s in scores
        ]
        between = [drawn[i] - drawn[j] for i in range(methods) for j in range(i + 1, methods)]
        ends = [interval(each, pairs) for each in between]
        covered += all(low <= 0 <= high for low, high in ends)
        called += min(holm([p_value(each) for each in between])) <= 0.05
    # The binomial deviation of 0.95 over 120 trials is 0.02; the percentile interval is a little narrow.
    assert 0.89 <= covered / trials <= 0.995
    assert called / trials <= 0.11
    assert called == trials - covered  # Holm's first step is Bonferroni's


def test_the_verb_prints_and_writes_what_it_is_asked_for(
    cells: Cells, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(cells, tmp_path)
    words = ["compare", "--results", str(tmp_path), "--methods", *GAINS, "--metrics", "image_ap"]
    assert main([*words, "--resamples", "300", "--seed", "2"]) == 0
    printed = capsys.readouterr().out
    expected = compare(cells, list(GAINS), metrics=["image_ap"], resamples=300, seed=2)
    assert printed.strip() == render(expected).strip()
    assert "3 methods, all pairs" in printed
    assert main([*words, "--against", "fair", "--out", str(tmp_path / "table.csv")]) == 0
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(line for line in text.splitlines() if line[0] != "#"))
    told = {(line["dataset"], line["method"]): line for line in lines}
    assert len(told) == len(lines) == 3 * (3 + 2)  # two datasets and their mean
    found = differences(compare(cells, ["best", "good"], against="fair", metrics=["image_ap"]), "image_ap")
    for place, value in found.items():
        line = told[place]
        assert (float(line["exact"]), float(line["p"])) == (float(value.number), value.p)
        assert (float(line["low"]), float(line["high"])) == value.interval
    assert len(told["HeadCT", "Best - Fair"]["cells"].split()) == 2
    assert main([*words, "--out", str(tmp_path / "table.tex")]) == 0
    latex = (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert r"Best - Fair & \textbf{\boldmath$+" in latex
