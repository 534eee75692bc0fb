"""The source x target matrix: its diagonal, its means, and what the protocol would have taken."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from bench.cli import main
from bench.errors import BenchError
from bench.show import LAYOUTS, Table, build, build_published, render, select
from bench.store.cells import CellId, CellStore

Make = Callable[..., Any]
Cells = list[dict[str, Any]]
# Made-up numbers: source -> target -> value. BTAD is image and pixel level, ISIC pixel, HeadCT image only.
GRID = {
    "mvtec": {"mvtec": 0.99, "visa": 0.80, "btad": 0.90, "isic": 0.70, "headct": 0.60},
    "visa": {"mvtec": 0.85, "btad": 0.70, "isic": 0.75, "headct": 0.65},
    "btad+isic": {"mvtec": 0.81, "visa": 0.77, "headct": 0.66},
}


@pytest.fixture
def cells(make_dataset: Make) -> Cells:
    found = []
    for source, targets in GRID.items():
        for target, value in targets.items():
            changes = {"marks": ["seen"] if target in source.split("+") else []}
            if target == "headct":  # whose protocol is another one in these tests
                changes["protocol_source"] = source == "btad+isic"
            found += make_dataset("m", target, value, source=source, **changes)
    return found


def matrix(table: Table, heading: str) -> dict[str, dict[str, str]]:
    """Return row label -> column title -> text with symbols."""
    (section,) = [section for section in table.sections if section.title == heading]
    titles = [column.title for column in table.columns]
    return {
        row.labels[0]: dict(
            zip(titles, [entry[0].text + entry[0].symbols for entry in row.entries], strict=True)
        )
        for row in section.rows
    }


def test_the_matrix_with_its_diagonal_means_and_protocol(cells: Cells) -> None:
    table = build(cells, "cross")
    assert [section.title for section in table.sections] == [
        "M: Image level AUROC",
        "M: Pixel level AUROC",
        "M: Pixel level AUPRO",
    ]
    image = matrix(table, "M: Image level AUROC")
    assert list(image) == ["MVTec", "VisA", "BTAD + ISIC", "Mean"]
    assert image["MVTec"] == {
        "MVTec": "99.0‡", "VisA": "80.0□", "BTAD": "90.0□", "HeadCT": "60.0", "ISIC": "-", "Mean": "76.7",
        "Common, industrial": "-", "Common, medical": "60.0",
    }  # fmt: skip
    assert image["VisA"] == {
        "MVTec": "85.0□", "VisA": "-‡", "BTAD": "70.0", "HeadCT": "65.0", "ISIC": "-", "Mean": "73.3",
        "Common, industrial": "-", "Common, medical": "65.0",
    }  # fmt: skip
    # Two sources, both out of the row.
    assert image["BTAD + ISIC"] == {
        "MVTec": "81.0", "VisA": "77.0", "BTAD": "-‡", "HeadCT": "66.0□", "ISIC": "-", "Mean": "74.7",
        "Common, industrial": "-", "Common, medical": "66.0",
    }  # fmt: skip
    assert image["Mean"] == {
        "MVTec": "83.0", "VisA": "78.5", "BTAD": "80.0", "HeadCT": "63.7", "ISIC": "-", "Mean": "74.9",
        "Common, industrial": "-", "Common, medical": "63.7",
    }  # fmt: skip
    pixel = matrix(table, "M: Pixel level AUROC")
    assert pixel["BTAD + ISIC"]["ISIC"] == "-‡"
    assert pixel["BTAD + ISIC"]["HeadCT"] == "-"
    assert pixel["Mean"]["ISIC"] == "72.5"
    assert "trained on" not in table.footer


def test_sources_are_ranked_on_each_target_and_over_common_ones(make_dataset: Make) -> None:
    numbers = {
        "mvtec": {"mvtec": 0.99, "btad": 0.90, "mpdd": 0.60, "isic": 0.70, "tn3k": 0.50},
        "visa": {"mvtec": 0.80, "btad": 0.70, "mpdd": 0.72, "isic": 0.75, "tn3k": 0.40},
        "headct": {"mvtec": 0.70, "btad": 0.70, "mpdd": 0.70, "isic": 0.71},
    }
    cells = [
        cell
        for source, targets in numbers.items()
        for target, value in targets.items()
        for cell in make_dataset(
            "m", target, value, source=source, marks=["seen"] if source == target else []
        )
    ]
    table = build(cells, "cross", metrics=["pixel_auroc"])
    rows = matrix(table, "M: Pixel level AUROC")
    titles = [column.title for column in table.columns]
    assert titles == [
        "MVTec", "MPDD", "BTAD", "ISIC", "TN3K", "Mean", "Common, industrial", "Common, medical"
    ]  # fmt: skip
    assert [title for title, rule in zip(titles, table.rules(), strict=True) if rule] == ["ISIC", "Mean"]
    # Common: BTAD and MPDD; MVTec is one row's source. TN3K is missing in a row.
    assert [row["Common, industrial"] for row in rows.values()] == ["75.0", "71.0", "70.0", "72.0"]
    assert [row["Common, medical"] for row in rows.values()] == ["70.0", "75.0", "71.0", "72.0"]
    assert "Common, all matrices: over MPDD, BTAD, ISIC" in table.notes
    ranks = {
        (row.labels[0], title): value.rank
        for row in table.sections[0].rows
        for title, (value,) in zip(titles, row.entries, strict=True)
    }
    assert [ranks[source, "MVTec"] for source in ("MVTec", "VisA", "HeadCT")] == [None, 1, 2]
    assert [ranks[source, "BTAD"] for source in ("MVTec", "VisA", "HeadCT")] == [1, 2, 2]
    assert [ranks[source, "Common, industrial"] for source in ("MVTec", "VisA", "HeadCT")] == [1, 2, 3]
    assert {ranks[row, "Mean"] for row in rows} | {ranks["Mean", title] for title in titles} == {None}
    assert (
        "Common, all matrices: over no target: none is in every row"
        in build([cell for cell in cells if cell["dataset"] in ("mvtec", "tn3k")], "cross").notes
    )
    without = build([cell for cell in cells if cell["source"] == "visa"], "cross")
    assert [column.title for column in without.columns][-1] == "Mean"


def test_what_is_missing_stars_row_column_and_overall_mean(cells: Cells) -> None:
    lacking = [cell for cell in cells if (cell["source"], cell["dataset"]) != ("visa", "isic")]
    lacking = [cell for cell in lacking if (cell["source"], cell["class"]) != ("mvtec", "03")]
    table = build(lacking, "cross")
    pixel = matrix(table, "M: Pixel level AUPRO")
    assert pixel["VisA"]["ISIC"] == "n/a"
    assert pixel["VisA"]["Mean"] == "77.5*"
    assert pixel["Mean"]["ISIC"] == "70.0*"
    assert pixel["MVTec"]["BTAD"] == "90.0*□"
    assert pixel["MVTec"]["Mean"].endswith("*")
    assert pixel["BTAD + ISIC"]["Mean"] == "79.0"
    assert pixel["Mean"]["MVTec"] == "83.0"
    assert pixel["Mean"]["Mean"].endswith("*")
    assert "M (mvtec) on BTAD: 2 of 3 classes run" in table.notes


def test_seeds_are_replicates_of_a_source(make_dataset: Make) -> None:
    cells = make_dataset("m", "btad", 0.9, source="mvtec")
    for seed, (btad, isic) in {"1": (0.6, 0.9), "2": (0.7, 0.8)}.items():
        weights = {"vision": "ab", "learned": seed}
        for target, value in (("btad", btad), ("isic", isic)):
            for source in ("mvtec", "visa"):
                name = f"{source}~{seed}"
                cells += make_dataset("m", target, value, source=name, config__weights=weights)
    table = build(cells, "cross", metrics=["pixel_f1max"])
    assert [section.title for section in table.sections] == ["M: Pixel level F1-max"]
    rows = matrix(table, "M: Pixel level F1-max")
    assert list(rows) == ["MVTec", "MVTec (retrained)", "VisA", "Mean"]
    assert (rows["MVTec"]["BTAD"], rows["MVTec (retrained)"]["BTAD"]) == ("90.0□", "65.0□")
    by_place = {(value.subject.method, value.subject.dataset): value for value in table.values()}
    assert by_place["M (visa)", "BTAD"].std == pytest.approx(stdev([0.6, 0.7]))
    assert by_place["M (visa)", "Average"].std == pytest.approx(0)  # 75.0 with either seed
    assert by_place["M (mean of sources)", "ISIC"].std == pytest.approx(stdev([0.9, 0.8]))
    assert "<u>65.0</u>±7.1" in render(table)


def test_methods_stand_apart_and_one_that_learns_nothing_has_one_row(
    cells: Cells, make_dataset: Make
) -> None:
    cells += [
        *make_dataset("free", "visa", 0.5, source=None),
        *make_dataset("free", "mvtec", 0.7, source=None),
    ]
    table = build(cells, "cross", metrics=["image_auroc"])
    assert matrix(table, "Free: Image level AUROC") == {
        "no training": {
            "MVTec": "70.0", "VisA": "50.0", "BTAD": "n/a", "HeadCT": "n/a", "ISIC": "-", "Mean": "60.0*",
            "Common, industrial": "60.0", "Common, medical": "-",
        }
    }  # fmt: skip
    assert len(table.sections) == 2
    asked = build(cells, "cross", datasets=["visa", "mvtec"], metrics=["image_auroc"])
    assert matrix(asked, "Free: Image level AUROC")["no training"]["Mean"] == "60.0"


def test_stand_ins_have_their_diagonal_and_never_meet_real_data(make_dataset: Make) -> None:
    cells = [
        *make_dataset("m", "standin_visa", 0.6, source="visa~1", marks=["seen", "stand-in"]),
        *make_dataset("m", "standin_btad", 0.7, source="visa~1", marks=["stand-in"]),
        *make_dataset("m", "standin_visa", 0.8, source="btad~1", marks=["stand-in"]),
    ]
    rows = matrix(build(cells, "cross"), "M: Pixel level AUROC")
    assert rows["VisA"] == {"VisA": "60.0‡", "BTAD": "70.0", "Mean": "70.0", "Common": "-"}
    assert rows["BTAD"] == {"VisA": "80.0", "BTAD": "-‡", "Mean": "80.0", "Common": "-"}
    with pytest.raises(BenchError, match="standin_visa is generated and others are real"):
        build([*cells, *make_dataset("m", "isic", 0.5)], "cross")


def test_cells_chosen_once_give_every_layout_in_any_order(make_dataset: Make) -> None:
    cells = make_dataset("m", "btad", 0.9, source="mvtec") + make_dataset("n", "isic", 0.8, source=None)
    words = {"methods": ["n", "m", "q"], "headline": "Look"}
    chosen = select(cells, **words)
    for layout in (*reversed(LAYOUTS), *LAYOUTS):
        table = chosen.table(layout, aupro="both")
        assert table.values and list(table.values()) == list(
            build(cells, layout, aupro="both", **words).values()
        )
        assert table.headlines[0] == "Look" and "no cells of q" in table.notes
    with pytest.raises(BenchError, match="--against goes with --layout paper"):
        chosen.table("cross", against="tipsomaly_paper")
    with pytest.raises(BenchError, match="--metrics goes with --layout cross"):
        chosen.table(metrics=["image_auroc"])


def test_formats_mark_diagonal_and_protocol(cells: Cells) -> None:
    table = build(cells, "cross", metrics=["image_auroc"])
    markdown, latex = render(table), render(table, "latex")
    assert re.search(r"\| Trained on +\| +MVTec +\|", markdown)
    assert "- `□` the source that the method's own protocol takes for this target" in markdown
    box = r"{\setlength{\fboxsep}{1pt}\fbox{\textbf{80.0}}}"
    assert f"MVTec & \\textcolor{{gray}}{{99.0}}$^{{\\ddagger}}$ & {box} & " in latex
    assert r"\textcolor{gray}{--}$^{\ddagger}$" in latex
    assert r"\fbox{0.0}}\,the source that the method's own protocol takes" in latex
    rows = list(csv.DictReader(line for line in render(table, "csv").splitlines() if line[0] != "#"))
    (one,) = [row for row in rows if (row["source"], row["dataset"]) == ("visa", "MVTec")]
    assert (one["value"], one["flags"], one["method"]) == ("85.0", "protocol", "M (visa)")
    assert [row["value"] for row in rows if row["dataset"] == "Average (cross)"] == [
        "76.7", "73.3", "74.7", "74.9"
    ]  # fmt: skip
    content = json.loads(render(table, "json"))
    assert content["sections"][0]["rows"][0]["entries"][0][0]["marks"] == ["seen"]
    assert content["sections"][0]["rows"][-1]["average"] is True


def test_a_rendered_matrix_can_be_read_as_a_published_table(cells: Cells, tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(render(build(cells, "cross"), "csv"), encoding="utf-8")
    table = build_published(str(path))
    assert [column.title for column in table.columns][:3] == ["M (mvtec)", "M (visa)", "M (btad+isic)"]


def test_wrong_requests_are_answered(cells: Cells, make_dataset: Make) -> None:
    with pytest.raises(BenchError, match="did you mean 'pixel_auroc'"):
        build(cells, "cross", metrics=["pixel_auorc"])
    with pytest.raises(BenchError, match="pixel_ap: defined for none of these datasets"):
        build(make_dataset("m", "headct", 0.5), "cross", metrics=["pixel_ap"])
    with pytest.raises(BenchError, match="--metrics goes with --layout cross, not paper"):
        build(cells, metrics=["pixel_ap"])
    with pytest.raises(BenchError, match="--layout cross needs cells"):
        build_published("tipsomaly_paper", "cross")


def test_the_verb_prints_the_matrix(
    make_cell: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = CellStore(tmp_path / "runs")
    for source, target in (("mvtec", "isic"), ("isic~111", "headct"), ("visa~111", "isic")):
        cell = make_cell("tipsomaly", target, "x", 0.75, source=source)
        identity = CellId("tipsomaly", source, target, "x", cell["config"])
        store.write(identity, {name: value for name, value in cell.items() if name not in ("schema", "key")})
    arguments = ["table", "--layout", "cross", "--results", str(tmp_path), "--metrics", "pixel_aupro"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "**Tipsomaly: Pixel level AUPRO**" in printed
    assert "|MVTec|-|**75.0**□|║|75.0|-|" in printed.replace(" ", "")
    assert main([*arguments[:-1], "aupro"]) == 2
    assert "no metric 'aupro'; did you mean 'pixel_aupro'?" in capsys.readouterr().err
