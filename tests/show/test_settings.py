"""Methods whose scores see more of the test set than one image stand and are ranked apart."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.show import build, build_published, render

Make = Callable[..., Any]
Cells = list[dict[str, Any]]


@pytest.fixture
def cells(make_dataset: Make) -> Cells:
    """Return inductive `a` and `d`, transductive `b`, class-normalised `c`; the latter two lead."""
    found = []
    for method, value, setting in (
        ("c", 0.99, "class-normalised"),
        ("b", 0.95, "transductive"),
        ("d", 0.6, "inductive"),
        ("a", 0.7, "inductive"),
    ):
        found += make_dataset(method, "tn3k", value, setting=setting)
    return found


def ranks(cells: Cells, **arguments: Any) -> dict[str, int | None]:
    values = build(cells, **arguments).values()
    return {v.subject.method: v.rank for v in values if v.metric == "pixel_ap" and v.subject.class_key}


def test_they_stand_last_even_if_named_first(cells: Cells) -> None:
    table = build(cells, methods=["b", "d", "a", "c"])
    assert [column.title for column in table.columns] == ["D", "A", "B", "C"]
    assert table.rules() == (False, False, True, True)


def test_they_are_ranked_among_their_kind_only(cells: Cells, make_dataset: Make) -> None:
    assert ranks(cells, layout="per-class") == {"A": 1, "D": 2, "B": None, "C": None}
    more = make_dataset("e", "tn3k", 0.1, setting="transductive")
    assert ranks([*cells, *more], layout="per-class") == {"A": 1, "D": 2, "B": 1, "E": 2, "C": None}
    for layout in ("paper", "methods"):
        text = render(build(cells, layout, datasets=["tn3k"]))
        assert "**70.0**" in text
        assert "<u>60.0</u>" in text
        assert "(95.0, 95.0, 95.0" in text


def test_a_rule_a_symbol_and_a_sentence_tell_them_apart(cells: Cells) -> None:
    table = build(cells)
    markdown, latex = render(table), render(table, "latex")
    line = next(line for line in markdown.splitlines() if "TN3K" in line)
    assert [part.strip() for part in line.strip("|").split("|")][2:] == [
        "(**70.0**, **70.0**, **70.0**)", "(<u>60.0</u>, <u>60.0</u>, <u>60.0</u>)",
        "║", "(95.0, 95.0, 95.0)◇", "║", "(99.0, 99.0, 99.0)△",
    ]  # fmt: skip
    assert (
        "- `◇` sees all unlabelled test images of the class together: ranked only among its kind" in markdown
    )
    assert "- `△` normalises its scores over all test images of the class" in markdown
    assert r"\begin{tabular}{llcc|c|c}" in latex
    assert r"$^{\diamond}$\,sees all unlabelled" in latex
    assert r"(99.0, 99.0, 99.0)$^{\triangle}$" in latex


@pytest.mark.parametrize("layout", ["methods", "per-class"])
def test_where_methods_are_rows_a_setting_has_a_section(cells: Cells, layout: str) -> None:
    sections = build(cells, layout, datasets=["tn3k"]).sections
    assert [[row.labels[-1] for row in section.rows] for section in sections] == [["A", "D"], ["B"], ["C"]]
    assert [section.title.rpartition(", ")[2].strip(")") for section in sections[1:]] == [
        "transductive", "class-normalised"
    ]  # fmt: skip


def test_data_formats_carry_the_setting(cells: Cells, tmp_path: Path) -> None:
    table = build(cells)
    rows = list(csv.DictReader(line for line in render(table, "csv").splitlines() if line[0] != "#"))
    assert {(row["method"], row["setting"]) for row in rows} == {
        ("A", "inductive"), ("D", "inductive"), ("B", "transductive"), ("C", "class-normalised")
    }  # fmt: skip
    content = json.loads(render(table, "json"))
    assert [column["setting"] for column in content["columns"]][2:] == ["transductive", "class-normalised"]
    path = tmp_path / "ours.csv"
    path.write_text(render(table, "csv"), encoding="utf-8")
    again = build_published(str(path))
    of_dataset = [[v.rank for v in each.values() if v.subject.dataset == "TN3K"] for each in (table, again)]
    assert of_dataset[0] == of_dataset[1] == [1, 1, 1, 2, 2, 2, None, None, None, None, None, None]
    assert again.rules() == table.rules()


def test_where_chooses_a_setting(cells: Cells) -> None:
    assert [c.title for c in build(cells, where={"setting": "transductive"}).columns] == ["B"]
