"""Average ranks over datasets: what is ranked, what is not and why, and the diagram of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.cli import main
from bench.errors import BenchError
from bench.show.figures.critical import Diagram
from bench.show.figures.critical import draw as draw_diagram
from bench.study import statistics
from bench.study.ranks import Ranks, ranks
from tests.bench.scored import Cells, draw, make, write

METHODS = ("a", "b", "c")
DATASETS = ("btad", "headct", "mpdd", "brainmri", "mvtec")
AUROC = ["image_auroc"]


@pytest.fixture
def cells() -> Cells:
    """Return three methods with set AUROCs on five datasets."""
    numbers = {
        "btad": (0.9, 0.8, 0.7), "headct": (0.9, 0.7, 0.8), "mpdd": (0.80004, 0.79996, 0.7),
        "brainmri": (0.6, 0.9, 0.7), "mvtec": (0.95, 0.9, 0.85),
    }  # fmt: skip
    labels, scores = draw(0, 5, 5)
    found = []
    for dataset, values in numbers.items():
        for method, value in zip(METHODS, values, strict=True):
            cell = make(method, dataset, "x", labels, scores)
            cell["metrics"] = dict.fromkeys((*cell["metrics"], "pixel_aupro"), value)
            if dataset in ("headct", "brainmri"):
                cell["metrics"]["pixel_aupro"], cell["levels"] = None, ["image"]
            found.append(cell)
    return found


def averages(found: Ranks) -> dict[str, list[str]]:
    (section,) = found.table.sections
    return {row.labels[0]: [str(value.shown) for (value,) in row.entries] for row in section.rows}


def of(cells: Cells, method: str, dataset: str) -> dict[str, Any]:
    (cell,) = [cell for cell in cells if (cell["method"], cell["dataset"]) == (method, dataset)]
    return cell


def test_ranks_are_means_over_datasets_and_ties_share_theirs(cells: Cells) -> None:
    found = ranks(cells, METHODS, metrics=AUROC)
    # On MPDD the first two are 80.0 both. A: 1 1 1.5 3 1, B: 2 3 1.5 1 2, C: 3 2 3 2 3.
    assert averages(found) == {"A": ["1.50"], "B": ["1.90"], "C": ["2.60"], "Critical difference": ["1.48"]}
    places = [value.rank for row in found.table.sections[0].rows for (value,) in row.entries]
    assert places == [1, 2, 3, None]
    expected = statistics.rank(
        np.array([[90, 80, 70], [90, 70, 80], [80, 80, 70], [60, 90, 70], [95, 90, 85]], float)
    )
    friedman = expected.friedman
    assert found.table.notes[0] == (
        f"Image level AUROC, 5 datasets: chi-squared = {friedman.chi2:.2f}, F = {friedman.f:.2f}, "
        f"p = {friedman.p:.3f}; no two differ"
    )
    (diagram,) = found.diagrams
    assert diagram.averages == pytest.approx((1.5, 1.9, 2.6))
    assert (diagram.labels, diagram.critical) == (("A", "B", "C"), expected.critical)
    assert diagram.cliques == ((1.5, 2.6),)


def test_the_order_and_the_names_of_methods_do_not_matter(cells: Cells) -> None:
    one = ranks(cells, METHODS, metrics=AUROC)
    other = ranks(cells[::-1], ["c", "a", "b"], metrics=AUROC)
    assert averages(one) == averages(other)
    assert one.table.notes[0] == other.table.notes[0]


def _mark(word: str) -> Callable[[Cells], None]:
    def change(cells: Cells) -> None:
        of(cells, "b", "mpdd")["marks"] = [word]

    return change


def _drop_class(cells: Cells) -> None:
    for cell in list(cells):
        if cell["dataset"] == "mpdd":
            cell["n_classes"] = 2
            if cell["method"] != "b":
                cells.append(cell | {"class": "y", "key": cell["key"] + "y"})


def _undefine(cells: Cells) -> None:
    of(cells, "b", "mpdd")["metrics"]["image_auroc"] = None
    of(cells, "b", "mpdd")["reasons"]["image_auroc"] = "one class"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_mark("seen"), "B seen"),
        (_mark("partial"), "B partial"),
        (_mark("untrained"), "B untrained"),
        (_drop_class, "B partial"),
        (_undefine, "B undef."),
    ],
)
def test_datasets_without_a_number_that_tables_would_rank_are_left_out(
    cells: Cells, change: Callable[[Cells], None], why: str
) -> None:
    change(cells)
    found = ranks(cells, METHODS, metrics=AUROC)
    assert f"not ranked on MPDD ({why}): Image level AUROC" in found.table.notes
    assert found.diagrams[0].title == "Image level AUROC, 4 datasets"
    assert found.diagrams[0].averages == pytest.approx((1.5, 2.0, 2.5))


def test_marks_that_tables_rank_are_ranked(cells: Cells) -> None:
    plain = ranks(cells, METHODS, metrics=AUROC)
    of(cells, "b", "mpdd")["marks"] = ["selected"]
    assert averages(ranks(cells, METHODS, metrics=AUROC)) == averages(plain)


def test_each_metric_has_its_own_datasets(cells: Cells) -> None:
    found = ranks(cells, METHODS, metrics=["image_auroc", "pixel_aupro"])
    assert [diagram.title for diagram in found.diagrams] == [
        "Image level AUROC, 5 datasets",
        "Pixel level AUPRO, 3 datasets",
    ]
    assert averages(found)["A"] == ["1.50", "1.17"]
    assert not any("not ranked on" in note for note in found.table.notes)  # levels they do not have


def test_a_control_has_its_own_critical_difference(cells: Cells) -> None:
    found = ranks(cells, ["a", "b"], against="c", metrics=AUROC)
    assert averages(found)["Critical difference"] == ["1.42"]
    (diagram,) = found.diagrams
    assert (diagram.control, diagram.cliques) == (2, ())
    assert any("(Bonferroni-Dunn, from C)" in note for note in found.table.notes)


def test_methods_that_lie_far_apart_are_named(cells: Cells) -> None:
    labels, scores = draw(0, 5, 5)
    for dataset in ("br35h", "isic", "tn3k", "visa", "ksdd", "dagm"):
        for method, value in zip(METHODS, (0.9, 0.8, 0.7), strict=True):
            cell = make(method, dataset, "x", labels, scores)
            cell["metrics"]["image_auroc"] = value
            cells.append(cell)
    found = ranks(cells, METHODS, metrics=AUROC)
    assert found.table.notes[0].endswith("; differ: A - C")
    against = ranks(cells, METHODS, against="b", metrics=AUROC)
    assert against.table.notes[0].endswith("; no two differ")


def test_what_cannot_be_ranked_is_refused(cells: Cells) -> None:
    with pytest.raises(BenchError, match="three methods or more, not 2"):
        ranks(cells, ["a", "b"])
    with pytest.raises(BenchError, match="did you mean 'image_auroc'"):
        ranks(cells, METHODS, metrics=["image_auorc"])
    with pytest.raises(BenchError, match="two datasets or more on which every method has a number"):
        ranks(cells, METHODS, datasets=["btad"], metrics=AUROC)
    for cell in cells:
        cell["marks"] = ["untrained"] if cell["method"] == "c" else []
    with pytest.raises(BenchError, match=r"here: not ranked on MVTec \(C untrained\): Image level AUROC"):
        ranks(cells, METHODS, metrics=AUROC)


def test_other_images_are_refused(cells: Cells) -> None:
    of(cells, "c", "mpdd")["config"]["data"] = "another fingerprint"
    with pytest.raises(BenchError, match="mpdd/x: A and C were not measured on the same images"):
        ranks(cells, METHODS, metrics=AUROC)


def test_methods_of_another_kind_and_shared_images_are_refused(cells: Cells) -> None:
    twice = [*cells, *(cell | {"dataset": "mvtec_zs", "key": cell["key"] + "zs"} for cell in cells[-3:])]
    with pytest.raises(BenchError, match="mvtec and mvtec_zs share their images"):
        ranks(twice, METHODS, metrics=AUROC)
    for cell in cells:
        cell["setting"] = "transductive" if cell["method"] == "b" else "inductive"
    with pytest.raises(BenchError, match=r"these are several: A \(inductive\), B \(transductive\)"):
        ranks(cells, METHODS, metrics=AUROC)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_diagram_has_every_method_and_joins_those_that_do_not_differ() -> None:
    diagram = Diagram("AUROC", ("a", "b", "c", "d"), (1.2, 3.9, 2.0, 2.9), 1.0, ((1.2, 2.0), (2.0, 2.9)))
    figure = draw_diagram([diagram, diagram])
    assert len(figure.axes) == 2
    shown = texts(figure)
    for name in ("a (1.20)", "b (3.90)", "c (2.00)", "d (2.90)", "critical difference 1.00"):
        assert shown.count(name) == 2
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3]
    spans = [tuple(round(float(x), 1) for x in line.get_xdata()) for line in bars]
    assert spans == [(1.2, 2.0), (2.0, 2.9)]
    (control,) = draw_diagram([Diagram("AUROC", ("a", "b", "c"), (1.5, 2.6, 1.9), 0.6, (), control=1)]).axes
    (bar,) = [line for line in control.lines if line.get_linewidth() == 3]
    assert [round(float(x), 1) for x in bar.get_xdata()] == [2.0, 3.0]  # no further than the axis
    assert [text.get_weight() for text in control.texts if text.get_text() == "b (2.60)"] == ["bold"]


def test_the_verb_prints_ranks_and_draws_the_diagram(
    cells: Cells, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(cells, tmp_path)
    words = ["compare", "--results", str(tmp_path), "--methods", *METHODS, "--ranks", "--metrics", *AUROC]
    assert main([*words, "--figure", str(tmp_path / "cd"), "--out", str(tmp_path / "ranks.tex")]) == 0
    assert f"wrote {tmp_path / 'cd.pdf'}\nwrote {tmp_path / 'cd.png'}" in capsys.readouterr().out
    assert b"/FontFile2" in (tmp_path / "cd.pdf").read_bytes()  # TrueType, embedded
    assert Image.open(tmp_path / "cd.png").width > 1000
    assert "Critical difference & 1.48" in (tmp_path / "ranks.tex").read_text(encoding="utf-8")
    assert main(words) == 0
    assert "Average ranks over datasets" in capsys.readouterr().out
    assert main([*words[:-3], "--figure", "cd"]) == 2
    assert "--figure goes with --ranks" in capsys.readouterr().err
