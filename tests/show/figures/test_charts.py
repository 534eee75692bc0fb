"""Curves, matrix and speed as matplotlib figures: what is drawn is what the tables say."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.cli import main
from bench.errors import BenchError
from bench.results import read
from bench.show import build
from bench.show.choose import choose, fill_columns
from bench.show.figures.cross import draw_cross
from bench.show.figures.curves import PANELS, curve_lines, draw_curves
from bench.show.figures.paper import WIDTHS, save, width_of
from bench.show.figures.speed import draw_speed
from bench.show.images import Images
from bench.show.means import Results
from bench.show.summary import summarise
from bench.store.cells import CellStore
from tests.bench.page.grid import cell, write
from tests.show.figures.conftest import Measured


def shown(cells: list[Any], datasets: tuple[str, ...] = ()) -> tuple[Results, Images]:
    results = summarise(fill_columns(choose(cells)), datasets=datasets)
    return results, Images(CellStore(Path()), cells, Path())


GRID = [
    {**cell(method, dataset, name, place), "key": f"{method}{name}"}
    for place, method in enumerate(("vand", "musc"))
    for dataset, names in (("btad", ("01", "02", "03")), ("headct", ("brain",)))
    for name in names
]


def area(line: Any, limit: float = 1.0) -> float:
    x = np.linspace(0, limit, 20001)
    return float(np.trapezoid(np.interp(x, line.x, line.y), x) / limit)


def test_the_area_of_a_mean_curve_is_the_mean_of_the_areas() -> None:
    results, images = shown(GRID)
    for panel, metric in (("roc", "image_auroc"), ("pr", "image_ap")):
        lines = curve_lines(panel, results, "btad", images)
        assert [line.label.split()[0] for line in lines] == ["VAND", "MuSc"]
        for line, column in zip(lines, results.columns, strict=True):
            of_dataset = [each["metrics"][metric] for each in column.cells if each["dataset"] == "btad"]
            assert line.x.size == 1001
            assert area(line) == pytest.approx(np.mean(of_dataset), abs=3e-3)


def test_a_mean_of_precisions_goes_in_steps() -> None:
    few = []
    for name, (first, second) in {"01": (1, 0), "02": (0, 1)}.items():
        rows = [(0.9, first), (0.8, second), (0.1, 1)]
        scores = [{"image": f"{score}", "label": label, "score": score} for score, label in rows]
        few.append(cell("vand", "btad", name) | {"scores": scores, "key": name})
    results, images = shown(few)
    (line,) = curve_lines("pr", results, "btad", images)
    # Precisions: 1 up to recall 1/2, then 2/3; and 1/2 up to recall 1/2, then 2/3.
    assert line.y[[1, 250, 499]] == pytest.approx(3 / 4)
    assert line.y[[501, 750, 999]] == pytest.approx(2 / 3)


def test_a_label_has_the_tables_number_and_marks() -> None:
    results, images = shown(GRID)
    rows = {row.key: row for row in results.rows}
    whole = curve_lines("roc", results, "btad", images)
    one = curve_lines("roc", results, "btad", images, ["02"])
    two = curve_lines("roc", results, "btad", images, ["02", "03"])
    for place, column in enumerate(results.columns):
        mean = results.value(column.label, rows["btad"], "image_auroc")
        alone = results.value(column.label, rows["btad"], "image_auroc", "02")
        assert whole[place].label == f"{column.label} {mean.text}{mean.symbols}"
        assert one[place].label == f"{column.label} {alone.text}{alone.symbols}"
        assert two[place].label == column.label
    assert whole[1].label.endswith("◇")
    assert area(one[0]) == pytest.approx(
        next(each for each in results.columns[0].cells if each["class"] == "02")["metrics"]["image_auroc"],
        abs=1e-3,
    )


def test_pixel_curves_come_from_kept_maps(measured: Measured) -> None:
    results = summarise(measured.columns)
    (dataset,) = {each["dataset"] for each in measured.cells}
    for panel, limit in (("pixel-roc", 1.0), ("pro", 0.3)):
        lines = curve_lines(panel, results, dataset, measured.images)
        for line, column in zip(lines, results.columns, strict=True):
            values = [each["metrics"][PANELS[panel].metric] for each in column.cells]
            assert area(line, limit) == pytest.approx(np.mean(values), abs=5e-3), panel
    figure = draw_curves(results, measured.images, panels=["pixel-pr", "pro"], width=3.25)
    assert [axes.get_title() for axes in figure.axes] == ["Pixel precision-recall", "Per-region overlap"]
    assert [axes.get_xlim()[1] for axes in figure.axes] == [1, 0.3]
    assert figure.axes[0].lines[0].get_drawstyle() == "steps-pre"


def test_panels_have_a_line_for_each_method_that_differs_in_colour() -> None:
    results, images = shown(GRID)
    figure = draw_curves(results, images, panels=["roc", "pr"], width=6.875)
    for width, across in ((6.875, 3), (3.25, 2)):
        wide = draw_curves(results, images, panels=["roc", "pr", "roc"], width=width)
        assert wide.axes[0].get_subplotspec().get_gridspec().ncols == across  # type: ignore[union-attr]
    assert figure.get_size_inches()[0] == 6.875
    assert len(figure.axes) == 4
    subjects = [part.get_suptitle() for part in figure.subfigs]
    assert subjects == ["BTAD, mean over 3 classes", "HeadCT, brain"]
    roc, pr = figure.axes[:2]
    assert (roc.get_xlabel(), roc.get_ylabel()) == ("false positive rate", "true positive rate")
    assert (pr.get_xlabel(), pr.get_ylabel()) == ("recall", "precision")
    assert len({line.get_color() for line in pr.lines}) == len(pr.lines) == 2
    legend = roc.get_legend()
    assert legend is not None and legend.get_title().get_text() == "AUROC"
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["VAND", "MuSc"]


def test_curves_that_cannot_be_drawn_are_refused(measured: Measured) -> None:
    results, images = shown(GRID)
    options: dict[str, Any] = {"width": 3.25}
    with pytest.raises(BenchError, match="no panel 'prc'"):
        draw_curves(results, images, panels=["prc"], **options)
    with pytest.raises(BenchError, match="no class '04'"):
        draw_curves(results, images, panels=["roc"], classes=["04"], **options)
    with pytest.raises(BenchError, match="no kept maps"):
        draw_curves(*shown([read_back(GRID[0])]), panels=["pro"], **options)
    one_label = cell("vand", "isic", "skin") | {"key": "isic"}
    with pytest.raises(BenchError, match="choose other --panels"):
        draw_curves(*shown([one_label]), panels=["roc", "pr"], **options)


def read_back(content: dict[str, Any]) -> dict[str, Any]:
    """Return the cell with the key that its content has."""
    from bench.store.cells import CellId  # noqa: PLC0415

    identity = CellId(*(content[name] for name in ("method", "source", "dataset", "class", "config")))
    return content | {"key": identity.key}


def test_a_matrix_shows_every_number_of_the_table_and_its_colour(tmp_path: Path) -> None:
    write_cross(tmp_path)
    table = build(read(CellStore(tmp_path / "runs")), "cross", metrics=["image_auroc", "pixel_auroc"])
    figure = draw_cross(table, 6.875)
    matrices = [axes for axes in figure.axes if not str(axes.get_label()).endswith(" scale")]
    assert [axes.get_label() for axes in matrices] == [section.title for section in table.sections]
    for axes, section in zip(matrices, table.sections, strict=True):
        texts = {(round(text.get_position()[1]), round(text.get_position()[0])): text for text in axes.texts}
        numbers = []
        for down, row in enumerate(section.rows):
            for across, (value, *_) in enumerate(row.entries):
                assert texts[down, across].get_text() == value.text + value.symbols
                if value.number is not None:
                    numbers.append(float(value.number))
        assert [label.get_text() for label in axes.get_yticklabels()] == [
            row.labels[0] for row in section.rows
        ]
        heads = [column.title for column in table.columns]
        assert [label.get_text() for label in axes.get_xticklabels()] == heads
        fields = [patch for patch in axes.patches if patch.get_fill()]
        assert len(fields) == len(numbers)
        light = [sum(patch.get_facecolor()[:3]) for patch in fields]
        assert np.argmax(light) == np.argmax(numbers) and np.argmin(light) == np.argmin(numbers)


def write_cross(root: Path) -> None:
    """Write cells of one method from two sources on three targets, and of a target without numbers."""
    for source in ("mvtec", "visa"):
        for place, dataset in enumerate(("mvtec", "visa", "btad")):
            own = cell("vand", dataset, "one", place) | {"source": source, "n_classes": 1}
            own["protocol_source"] = source == "mvtec"
            write(root, own | ({"marks": ["seen"]} if source == dataset else {}))


def test_points_stand_at_speed_and_number_and_hollow_where_unranked() -> None:
    unranked = [each | {"marks": ["untrained"]} if each["method"] == "musc" else each for each in GRID]
    results, _ = shown(unranked, ("btad", "headct"))
    figure = draw_speed(results, metric="image_auroc", width=6.875)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Industrial"] * 2 + ["Medical"] * 2
    assert {axes.get_ylabel() for axes in figure.axes} == {"Image AUROC (%)"}
    speed, memory = figure.axes[:2]
    assert (speed.get_xscale(), memory.get_xscale()) == ("log", "linear")
    group = results.groups[0]
    for place, column in enumerate(results.columns):
        value = results.value(column.label, group, "image_auroc")
        for axes, x in ((speed, 4.0 + 5 * place), (memory, 1 + place)):
            at = axes.collections[place].get_offsets()[0]
            assert list(at) == pytest.approx([x, float(value.shown or 0)])
        hollow = not len(speed.collections[place].get_facecolors())
        assert hollow == (column.method == "musc")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [column.label for column in results.columns]


def test_without_memory_only_speed_is_drawn() -> None:
    on_cpu = [each | {"timing": each["timing"] | {"peak_gpu_bytes": None}} for each in GRID]
    figure = draw_speed(shown(on_cpu)[0], metric="image_ap", width=3.25)
    assert [axes.get_xlabel() for axes in figure.axes] == ["images per second"] * 2
    with pytest.raises(BenchError, match="no metric 'image_app'; did you mean 'image_ap'"):
        draw_speed(shown(on_cpu)[0], metric="image_app", width=3.25)
    untimed = [each | {"timing": {}} for each in GRID]
    with pytest.raises(BenchError, match="choose another --metric"):
        draw_speed(shown(untimed)[0], metric="image_ap", width=3.25)


@pytest.mark.parametrize(("word", "inches"), [*WIDTHS.items(), ("5.5", 5.5)])
def test_widths_by_name_or_in_inches(word: str, inches: float) -> None:
    assert width_of(word) == inches


@pytest.mark.parametrize("word", ["page", "0", "-3", "nan", "1000"])
def test_other_widths_are_refused(word: str) -> None:
    with pytest.raises(BenchError, match=f"--width {word}"):
        width_of(word)


def test_files_embed_their_letters_and_hold_no_date(tmp_path: Path) -> None:
    drawn: list[Figure] = []

    def draw() -> Figure:
        named = [each | {"title": "$x^2$ \\alpha"} if each["method"] == "musc" else each for each in GRID]
        results, images = shown(named)
        drawn.append(draw_curves(results, images, panels=["roc"], width=3.25))
        return drawn[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = save(draw, tmp_path / "one.pdf")
    assert [path.name for path in paths] == ["one.pdf", "one.png"]
    legend = drawn[0].axes[0].get_legend()
    assert legend is not None and not any(text.get_parse_math() for text in legend.get_texts())
    pdf = paths[0].read_bytes()
    assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert Image.open(paths[1]).size[0] == round(3.25 * 300)
    again = save(draw, tmp_path / "two")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="choose another --out"):
        save(draw, tmp_path / "file" / "figure")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "file",
        "one.pdf",
        "one.png",
        "two.pdf",
        "two.png",
    ]


@pytest.mark.parametrize("kind", ["curves", "speed"])
def test_the_verb_writes_both_files(
    measured: Measured, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    words = ["figure", kind, "--results", str(measured.results), "--width", "column"]
    assert main([*words, "--out", str(tmp_path / "figure")]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"wrote {tmp_path / 'figure.pdf'}",
        f"wrote {tmp_path / 'figure.png'}",
    ]
    assert main([*words, "--width", "wide"]) == 2
    assert "--width wide" in capsys.readouterr().err


def test_curves_show_the_overlap_where_all_maps_are_kept(
    measured: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    drawing = draw_curves
    monkeypatch.setattr(
        "bench.cli.figure.draw_curves",
        lambda *values, panels, **options: asked.append(panels) or drawing(*values, panels=panels, **options),
    )
    out = ["--out", str(tmp_path / "figure")]
    assert main(["figure", "curves", "--results", str(measured.results), *out]) == 0
    for each in GRID:
        write(tmp_path / "without", {name: value for name, value in each.items() if name != "key"})
    assert main(["figure", "curves", "--results", str(tmp_path / "without"), *out]) == 0
    assert asked == [["roc", "pr", "pro"], ["roc", "pr"]]


def test_the_verb_draws_matrices_and_says_the_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cross(tmp_path)
    assert main(["figure", "cross", "--results", str(tmp_path), "--out", str(tmp_path / "m")]) == 0
    assert "for the caption: ‡ trained on this dataset" in capsys.readouterr().out
    assert (tmp_path / "m.pdf").exists()
