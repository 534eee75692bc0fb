"""Digits, marks and gaps: what a table says where the numbers look alike or are missing."""

import csv
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from bench.show import Table, build, render
from bench.show.model import Value

Make = Callable[..., Any]


def values(table: Table, method: str, dataset: str, metric: str) -> list[Value]:
    return [
        value
        for value in table.values()
        if (value.subject.method, value.subject.dataset, value.metric) == (method, dataset, metric)
    ]


def csv_rows(table: Table) -> list[dict[str, str]]:
    lines = [line for line in render(table, "csv").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


@pytest.fixture
def thirds(make_cell: Make) -> Table:
    """Return a table of one number, the mean of 0.1, 0.2 and 0.4: 0.23333..."""
    return build(
        [make_cell("m", "btad", name, value) for name, value in (("01", 0.1), ("02", 0.2), ("03", 0.4))],
        datasets=["btad"],
    )


def test_csv_has_one_decimal_and_every_digit_beside_it(thirds: Table) -> None:
    exact = float((Fraction(0.1) + Fraction(0.2) + Fraction(0.4)) / 3)
    (row,) = [row for row in csv_rows(thirds) if (row["dataset"], row["metric"]) == ("BTAD", "ap")]
    assert row["value"] == "23.3"
    assert row["exact"] == repr(exact)
    assert len(row["exact"]) > 17
    assert (row["std"], row["seeds"], row["mark"], row["flags"]) == ("", "", "", "")
    assert (row["method"], row["level"], row["domain"], row["class"]) == ("M", "image", "industrial", "")


def test_json_has_every_digit(thirds: Table) -> None:
    exact = float((Fraction(0.1) + Fraction(0.2) + Fraction(0.4)) / 3)
    assert f'"number": {exact!r},' in render(thirds, "json")


def test_seeds_keep_their_digits(make_dataset: Make) -> None:
    numbers = {"1": 1 / 3, "2": 2 / 3, "10": 0.3}
    cells = [
        cell
        for seed, number in numbers.items()
        for cell in make_dataset("m", "tn3k", number, source=f"visa~{seed}")
    ]
    table = build(cells, datasets=["tn3k"])
    (row,) = [row for row in csv_rows(table) if (row["dataset"], row["metric"]) == ("TN3K", "auroc")]
    assert (row["seeds"], row["value"], row["std"]) == ("3", "43.3", "20.3")
    assert row["exact"] == repr(float(sum(map(Fraction, numbers.values())) / 3))
    told = json.loads(render(table, "json"))["sections"][-1]["rows"][0]["entries"][0][0]
    assert told["seeds"] == numbers
    assert list(told["seeds"]) == ["1", "2", "10"]
    assert told["std"] == pytest.approx(0.2027588, abs=1e-7)


def test_ranks_are_told_in_csv_and_json(make_dataset: Make) -> None:
    cells = [
        *make_dataset("a", "tn3k", 0.9),
        *make_dataset("b", "tn3k", 0.8),
        *make_dataset("c", "tn3k", 0.7),
    ]
    table = build(cells, datasets=["tn3k"])
    marks = {row["method"]: row["mark"] for row in csv_rows(table)}
    assert marks == {"A": "best", "B": "second", "C": ""}
    entries = json.loads(render(table, "json"))["sections"][-1]["rows"][0]["entries"]
    assert [entry[0]["rank"] for entry in entries] == [1, 2, 3]


def test_marks_stand_in_the_order_of_the_legend(make_dataset: Make) -> None:
    few = {"pixel_aupro_few_thresholds": True, "overlap_images": 1}
    cells = make_dataset("m", "tn3k", 0.7, marks=["overlap", "selected", "partial"], details=few)
    cells += make_dataset("m", "isic", 0.9, marks=["seen", "partial"], details=few)
    table = build(cells, datasets=["tn3k", "isic"])
    (tn3k,) = values(table, "M", "TN3K", "pixel_aupro")
    (isic,) = values(table, "M", "ISIC", "pixel_aupro")
    assert (tn3k.symbols, isic.symbols) == ("*†¶§", "*‡§")
    assert [symbol for symbol, _ in table.legend()] == ["*", "†", "‡", "¶", "§"]
    (row,) = [row for row in csv_rows(table) if (row["dataset"], row["metric"]) == ("TN3K", "aupro")]
    assert row["flags"] == "few-thresholds overlap partial selected"
    (pixel,) = values(table, "M", "TN3K", "pixel_auroc")
    assert pixel.symbols == "*†¶", "few thresholds concern AUPRO only"


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [("undefined", "missing", "undef."), ("missing", "undefined", "undef."), ("missing", "missing", "n/a")],
)
def test_what_is_undefined_is_told_before_what_was_not_run(
    make_dataset: Make, first: str, second: str, shown: str
) -> None:
    cells = [cell for dataset in ("tn3k", "isic", "headct") for cell in make_dataset("b", dataset, 0.5)]
    cells += make_dataset("a", "headct", 0.5)
    for dataset, state in (("tn3k", first), ("isic", second)):
        for cell in make_dataset("a", dataset, 0.5) if state == "undefined" else []:
            cell["metrics"]["pixel_aupro"], cell["reasons"]["pixel_aupro"] = None, "constant maps"
            cells.append(cell)
    table = build(cells, datasets=["tn3k", "isic", "headct"])
    (mean,) = values(table, "A", "Average of these", "pixel_aupro")
    assert mean.text == shown
