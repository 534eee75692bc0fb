"""Ours against the paper: what is held against what, over which rows, and why nothing is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.show import Table, build
from datasets.catalog import GROUPS

Make = Callable[..., Any]
HEAD = "paper,method,dataset,level,metric,value\n"


def texts(table: Table, dataset: str, domain: str = "Industrial", section: int = 0) -> list[list[str]]:
    """Return the texts of the row's entries."""
    (row,) = [row for row in table.sections[section].rows if row.labels == (domain, dataset)]
    return [[value.text for value in entry] for entry in row.entries]


def test_ours_theirs_and_the_difference(make_dataset: Make) -> None:
    cells = [*make_dataset("tipsomaly", "mvtec", 0.93449), *make_dataset("chance", "mvtec", 0.5)]
    table = build(cells, against="tipsomaly_paper")
    assert [(column.span, column.title) for column in table.columns] == [
        ("Tipsomaly", "ours"),
        ("Tipsomaly", "paper"),
        ("Tipsomaly", "difference"),
    ]
    assert texts(table, "MVTec") == [["93.4"] * 3, ["93.4", "96.1", "92.9"], ["0.0", "-2.7", "+0.5"]]
    assert texts(table, "VisA")[1:] == [["87.7", "90.9", "84.8"], ["-"] * 3]
    assert {value.rank for value in table.values()} == {None}
    assert "not in Tipsomaly, or with other options than it used: Chance" in table.notes


def test_averages_of_both_are_over_the_same_rows(make_dataset: Make) -> None:
    cells = [*make_dataset("tipsomaly", "mvtec", 0.5), *make_dataset("tipsomaly", "visa", 0.7)]
    table = build(cells, against="tipsomaly_paper")
    # MVTec 93.4 and VisA 87.7 in print: 90.55, to the even digit.
    assert [entry[0] for entry in texts(table, "Average")] == ["60.0", "90.6", "-30.6"]
    average = next(row for row in table.sections[0].rows if row.is_average)
    assert [entry[0].symbols for entry in average.entries] == ["*", "*", "*"]
    assert "averages are over the datasets that both have numbers of" in table.notes
    seen = make_dataset("tipsomaly", "btad", 0.9, marks=["seen"])
    assert [entry[0] for entry in texts(build([*cells, *seen], against="tipsomaly_paper"), "Average")] == [
        "60.0", "90.6", "-30.6"
    ]  # fmt: skip


def test_rows_that_only_one_has_are_in_neither_average(make_dataset: Make) -> None:
    cells = [cell for key in GROUPS["all"] for cell in make_dataset("vand", key, 0.9)]
    table = build(cells, against="vip2clip_paper")  # its medical pixel rows have Endo and Kvasir, not TN3K
    assert [entry[0] for entry in texts(table, "Average", "Medical")] == ["90.0", "90.0", "0.0"]
    assert [entry[0] for entry in texts(table, "TN3K", "Medical", 1)] == ["90.0", "-", "-"]
    shared = [texts(table, name, "Medical", 1)[1][0] for name in ("ISIC", "ColonDB", "ClinicDB")]
    mean = sum(map(float, shared)) / 3
    assert texts(table, "Average", "Medical", 1)[1][0] == f"{mean:.1f}"


def test_only_the_published_options_source_and_weights_are_held_against_print(make_dataset: Make) -> None:
    cells = make_dataset("tipsomaly", "visa", 0.9)
    others = [
        make_dataset("tipsomaly", "visa", 0.8, preset="sigma=0", config__options={"sigma": 0}),
        make_dataset("tipsomaly", "visa", 0.7, source="btad"),
        make_dataset("tipsomaly", "visa", 0.6, source="mvtec~1"),
    ]
    table = build([*cells, *(cell for each in others for cell in each)], against="tipsomaly_paper")
    assert {column.span for column in table.columns} == {"Tipsomaly"}
    (note,) = [note for note in table.notes if note.startswith("not in Tipsomaly")]
    for label in ("(sigma=0)", "(btad)", "(retrained)"):
        assert f"Tipsomaly {label}" in note
    for each in others[:2]:
        with pytest.raises(BenchError, match=r"used the published options.*here are only Tipsomaly \("):
            build(each, against="tipsomaly_paper")


def test_notes_are_of_what_is_shown(make_dataset: Make) -> None:
    cells = [cell for key in GROUPS["all"] for cell in make_dataset("vand", key, 0.9)]
    other = make_dataset("other", "btad", 0.9)[:2]
    table = build([*cells, *other], against="tipsomaly_paper")
    misprints = [note for note in table.notes if "printed as" in note]
    assert misprints == [
        "VAND, industrial average, image AUROC: printed as 81.6, the mean of its rows is 82.8"
    ]
    assert not any("Other on BTAD" in note for note in table.notes)
    without = [cell for cell in cells if cell["dataset"] != "btad"]
    assert not any("printed as" in note for note in build(without, against="tipsomaly_paper").notes)


def test_it_is_said_why_nothing_is_comparable(make_dataset: Make, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="prints none of Chance; it has VAND, AnomalyCLIP"):
        build(make_dataset("chance", "mvtec", 0.5), against="tipsomaly_paper")
    with pytest.raises(BenchError, match="the cells are of standin_mvtec; Tipsomaly has MVTec, VisA"):
        build(make_dataset("tipsomaly", "standin_mvtec", 0.9), against="tipsomaly_paper")
    path = tmp_path / "auroc.csv"
    path.write_text(HEAD + "P,Tipsomaly,HeadCT,image,auroc,50\n", encoding="utf-8")
    cells = make_dataset("tipsomaly", "headct", 0.9)
    for cell in cells:
        cell["metrics"]["image_auroc"] = None
    with pytest.raises(BenchError, match="on headct, P prints none of the metrics that are defined here"):
        build(cells, against=str(path))
    with pytest.raises(BenchError, match="--against goes with --layout paper"):
        build(make_dataset("tipsomaly", "mvtec", 0.5), "methods", against="tipsomaly_paper")


def test_other_datasets_are_held_against_the_papers_that_have_them(make_dataset: Make) -> None:
    cells = [*make_dataset("anomalyclip", "cvc300", 0.9), *make_dataset("anomalyclip", "bmad_brain", 0.8)]
    for cell in cells:
        cell["title"] = "AnomalyCLIP"
    table = build(cells, against="moeclip_picture")
    assert texts(table, "CVC-300", "Medical", 1)[:2] == [["90.0"] * 3, ["95.8", "-", "-"]]
    assert texts(table, "BMAD Brain", "Medical")[2] == ["+9.2", "-10.6", "-"]
    with pytest.raises(
        BenchError,
        match=r"Tipsomaly has MVTec.*; --against aaclip_official_log or moeclip_picture has them or some",
    ):
        build(cells, against="tipsomaly_paper")


def test_differences_carry_the_marks_and_the_print_its_name(make_dataset: Make) -> None:
    cells = make_dataset("tipsomaly", "tn3k", 0.5, marks=["selected"])
    table = build(cells, against="tipsomaly_paper")
    (row,) = [row for row in table.sections[1].rows if row.labels == ("Medical", "TN3K")]
    ours, paper, difference = (entry[0] for entry in row.entries)
    assert (ours.symbols, paper.symbols, difference.symbols) == ("†", "", "†")
    assert [value.subject.origin for value in (ours, paper, difference)] == [
        "zsad-bench", "Tipsomaly", "difference"
    ]  # fmt: skip
    assert any(note.startswith("paper: as printed in Tipsomaly; 252 numbers") for note in table.notes)
