import csv
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.show import build_published, published, render
from datasets.catalog import CATALOG, PARTS

# Transcribed from the printed table: which of its numbers are bold ("best") and underlined ("second").
MARKS = Path(__file__).parent / "tipsomaly_paper_marks.csv"


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _marks(rows: list[dict[str, str]]) -> dict[tuple[str, ...], str]:
    return {(row["method"], row["dataset"], row["level"], row["metric"]): row["mark"] for row in rows}


def test_the_papers_table_gets_the_marks_it_was_printed_with() -> None:
    printed = _marks(_rows(MARKS.read_text(encoding="utf-8")))
    ours = _marks(_rows(render(build_published("tipsomaly_paper"), "csv")))
    assert len(printed) == 300
    assert ours == printed


def test_the_same_marks_stand_in_markdown_and_latex() -> None:
    printed = _marks(_rows(MARKS.read_text(encoding="utf-8")))
    table = build_published("tipsomaly_paper")
    markdown, latex = render(table, "md"), render(table, "latex")
    best, second = (sum(mark == which for mark in printed.values()) for which in ("best", "second"))
    numbers = markdown.partition("**Image level")[2].partition("\n- ")[0]
    assert numbers.count("**") - 3 == 2 * best  # 3: what is left of the two section headings
    assert markdown.count("<u>") == second
    assert latex.count(r"\textbf{") == best
    assert latex.count(r"\underline{") == second
    assert "(<u>91.5</u>, **96.2**, <u>92.7</u>)" in markdown
    assert r"(\underline{91.5}, \textbf{96.2}, \underline{92.7})" in latex


def test_the_three_misprinted_averages_are_computed_and_noted() -> None:
    table = build_published("tipsomaly_paper")
    assert table.notes == (
        "VAND, industrial average, image AUROC: printed as 81.6, the mean of its rows is 82.8",
        "AnomalyCLIP, industrial average, image F1-max: printed as 87.2, the mean of its rows is 86.2",
        "AdaCLIP, industrial average, pixel AUPRO: printed as 50.1, the mean of its rows is 50.2",
    )
    values = {(v.subject.method, v.subject.dataset, v.metric): v.text for v in table.values()}
    assert values["VAND", "Average", "image_auroc"] == "90.1"  # the medical one, which comes last
    assert "(82.8, 82.0, 85.9)" in render(table)


@pytest.mark.parametrize("name", sorted(published.available()))
def test_every_published_file_is_read_and_its_datasets_are_known(name: str) -> None:
    results = published.read(published.find(name))
    assert results.columns
    assert {group.title for group in results.groups} <= {"Industrial", "Medical"}
    for group in results.groups:
        for dataset in group.datasets:
            assert dataset.key in {*CATALOG, *(key for key, *_ in PARTS.values())}, dataset


def test_an_average_over_a_row_that_is_not_printed_is_partial() -> None:
    table = build_published("anomalyclip_paper")
    averages = [v for v in table.values() if v.subject.method == "CoOp" and v.subject.dataset == "Average"]
    industrial = [v for v in averages if v.subject.domain == "Industrial"]
    assert industrial
    assert all("partial" in v.marks and v.rank is None for v in industrial)


def test_metrics_a_paper_does_not_print_are_not_shown() -> None:
    assert "Image level (AUROC, AP)" in render(build_published("anomalyclip_paper"))


def test_per_class_logs_are_shown_per_class() -> None:
    text = render(build_published("anomalyclip_official_logs", "per-class"))
    assert "|metal_nut|92.4|98.2|74.6|71.1|" in text.replace(" ", "")
    with pytest.raises(BenchError, match="no numbers of single classes"):
        build_published("tipsomaly_paper", "per-class")


def test_a_rendered_csv_can_be_read_as_a_published_table(tmp_path: Path) -> None:
    first = build_published("tipsomaly_paper")
    path = tmp_path / "again.csv"
    path.write_text(render(first, "csv"), encoding="utf-8")
    again = build_published(str(path))
    assert [v.text for v in again.values()] == [v.text for v in first.values()]
    assert again.notes == ()  # its averages are right


HEAD = "paper,table,method,dataset,level,metric,value\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("paper,method\nA,B\n", "has no column dataset, level, metric, value"),
        (HEAD + "A,1,M,VisA,image,auroc,high\n", "row 2: .*'high'"),
        (HEAD + "A,1,M,VisA,image,auprc,50\n", "row 2: no metric 'auprc'"),
        (HEAD + "A,1,M,VisA,image,auroc,50\nA,1,M,visa,image,auroc,51\n", "stands there twice"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BenchError, match=says) as caught:
        build_published(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="did you mean 'crane_paper'"):
        build_published("crane_papr")


def test_muscs_means_are_those_of_its_classes_but_for_one() -> None:
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in _rows(published.find("musc_repository").read_text(encoding="utf-8")):
        if row["method"] == "MuSc":
            kind = "mean" if not row["class"] else "class"
            values.setdefault((row["dataset"], f"{row['level']}_{row['metric']}", kind), []).append(
                float(row["value"])
            )
    off = []
    for dataset, metric, kind in values:
        if kind == "class":
            classes, (mean,) = values[dataset, metric, "class"], values[dataset, metric, "mean"]
            if abs(sum(classes) / len(classes) - mean) > 0.011:
                off.append((dataset, metric))
    assert len(values) == 21 + 9
    assert off == [("VisA", "pixel_auroc")]
