"""What cells become in a table: means, gaps, marks, ranks and notes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.show import Table, build, render
from bench.show.model import Value
from datasets.catalog import CATALOG, GROUPS
from metrics import PixelMetrics

Make = Callable[..., Any]
INDUSTRIAL = list(GROUPS["industrial"])


def look(table: Table, method: str, dataset: str, metric: str, class_key: str = "") -> Value:
    found = [
        value
        for value in table.values()
        if (value.subject.method, value.subject.dataset, value.metric) == (method, dataset, metric)
        and value.subject.class_key == class_key
    ]
    assert len(found) == 1, found
    return found[0]


def test_means_are_taken_before_rounding(make_cell: Make) -> None:
    # btad 01..03: 80.04, 80.04, 80.07 round to 80.0, 80.0, 80.1; their mean 80.05 goes to the even 80.0,
    # the mean over btad (80.05) and ksdd (80.06) is 80.055 and rounds to 80.1.
    cells = [
        make_cell("m", "btad", name, value)
        for name, value in zip(("01", "02", "03"), (0.8004, 0.8004, 0.8007), strict=True)
    ]
    cells.append(make_cell("m", "ksdd", "electrical commutators", 0.8006))
    table = build(cells, datasets=["btad", "ksdd"])
    assert look(table, "M", "BTAD", "image_auroc").text == "80.0"
    assert look(table, "M", "Average of these", "image_auroc").text == "80.1"


def test_rank_is_by_rounded_values_per_metric_and_row(make_cell: Make) -> None:
    values = {"a": 0.91541, "b": 0.91539, "c": 0.9049, "d": 0.9051, "e": 0.80}
    cells = [make_cell(method, "isic", "skin", value) for method, value in values.items()]
    table = build(cells)
    ranks = {method: look(table, method.upper(), "ISIC", "pixel_auroc").rank for method in values}
    assert ranks == {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3}
    assert "(**91.5**, **91.5**, **91.5**)" in render(table)
    assert "(<u>90.5</u>, <u>90.5</u>, <u>90.5</u>)" in render(table)


def test_a_single_column_is_not_ranked(make_dataset: Make) -> None:
    table = build(make_dataset("m", "btad", 0.9))
    assert {value.rank for value in table.values()} == {None}


def test_the_paper_layout_has_all_rows_and_tells_gaps_apart(make_dataset: Make) -> None:
    table = build([*make_dataset("m", "visa", 0.9), *make_dataset("m", "isic", 0.8)])
    image, pixel = table.sections
    domains = [[row.labels for row in section.rows] for section in (image, pixel)]
    assert domains[0] == [
        *[("Industrial", CATALOG[key].title) for key in INDUSTRIAL],
        ("Industrial", "Average"),
        *[("Medical", title) for title in ("HeadCT", "BrainMRI", "Br35H", "Average")],
    ]
    assert [labels[1] for labels in domains[1][8:]] == ["ISIC", "ColonDB", "ClinicDB", "TN3K", "Average"]
    assert look(table, "M", "MVTec", "image_auroc").text == "n/a"
    per_class = build(make_dataset("m", "isic", 0.8), "per-class")
    assert {value.metric.partition("_")[0] for value in per_class.values()} == {"pixel"}
    both = build([*make_dataset("m", "visa", 0.9), *make_dataset("m", "isic", 0.8)], "per-class")
    assert look(both, "M", "ISIC", "image_auroc", "skin").text == "-"


def test_missing_classes_star_the_dataset_and_its_average(make_dataset: Make) -> None:
    whole = [cell for key in INDUSTRIAL for cell in make_dataset("a", key, 0.7)]
    lacking = [cell for key in INDUSTRIAL for cell in make_dataset("b", key, 0.9) if cell["class"] != "pcb1"]
    table = build([*whole, *lacking])
    value = look(table, "B", "VisA", "pixel_aupro")
    assert (value.text, value.symbols, value.rank) == ("90.0", "*", None)
    assert look(table, "A", "VisA", "pixel_aupro").rank is None  # without a rival
    industrial = next(row for row in table.sections[0].rows if row.is_average)
    assert [value.symbols for value in industrial.entries[1]] == ["*"] * 3
    assert "B on VisA: 11 of 12 classes run" in table.notes
    assert "(90.0, 90.0, 90.0)*" in render(table)


def test_an_undefined_class_is_left_out_counted_and_explained(make_dataset: Make) -> None:
    cells = make_dataset("a", "btad", 0.7)
    cells[0]["metrics"]["pixel_aupro"], cells[0]["reasons"]["pixel_aupro"] = None, "constant maps"
    cells[1]["metrics"]["pixel_aupro"] = 0.6
    table = build(cells)
    assert look(table, "A", "BTAD", "pixel_aupro").text == "65.0"  # not (0 + 60 + 70) / 3
    assert look(table, "A", "BTAD", "pixel_aupro").symbols == "*"
    assert look(table, "A", "BTAD", "pixel_auroc").symbols == ""
    assert "A on BTAD: pixel AUPRO is defined in 2/3 classes (constant maps in 1)" in table.notes
    for cell in cells:
        cell["metrics"]["pixel_aupro"], cell["reasons"]["pixel_aupro"] = None, "constant maps"
    assert "(70.0, undef., 70.0)" in render(build(cells))


def test_trained_on_targets_are_shown_but_count_nowhere(make_dataset: Make) -> None:
    cells = [cell for key in INDUSTRIAL for cell in make_dataset("a", key, 0.7)]
    cells += [cell for key in INDUSTRIAL for cell in make_dataset("b", key, 0.6)]
    for cell in cells:
        if (cell["method"], cell["dataset"]) == ("a", "visa"):
            cell["marks"] = ["seen"]
            cell["metrics"] = dict.fromkeys(cell["metrics"], 0.99)
    table = build(cells)
    seen = look(table, "A", "VisA", "image_auroc")
    assert (seen.text, seen.symbols, seen.rank) == ("99.0", "‡", None)
    average = table.sections[0].rows[7]
    assert average.is_average
    assert [(value.text, value.symbols, value.rank) for value in average.entries[0]] == [
        ("70.0", "*", None)
    ] * 3
    assert r"\textcolor{gray}{99.0}" in render(table, "latex")
    assert ("‡", "trained on this dataset: not zero-shot, not ranked, left out of averages") in table.legend()


def test_selected_checkpoints_carry_a_dagger_and_are_ranked(make_dataset: Make) -> None:
    cells = [*make_dataset("a", "tn3k", 0.7), *make_dataset("b", "tn3k", 0.8, marks=["selected"])]
    value = look(build(cells), "B", "TN3K", "pixel_auroc")
    assert (value.symbols, value.rank) == ("†", 1)
    assert "(**80.0**, **80.0**, **80.0**)†" in render(build(cells))


@pytest.mark.parametrize("mark", ["untrained", "privileged", "partial"])
def test_what_is_no_contestant_is_not_ranked(make_dataset: Make, mark: str) -> None:
    cells = [
        *make_dataset("a", "tn3k", 0.7),
        *make_dataset("b", "tn3k", 0.9, marks=[mark]),
        *make_dataset("c", "tn3k", 0.6),
    ]
    table = build(cells)
    ranks = [look(table, method, "TN3K", "pixel_auroc").rank for method in "ABC"]
    assert ranks == [1, None, 2]


def test_partial_data_are_counted_in_a_note(make_dataset: Make) -> None:
    cells = make_dataset("a", "ksdd", 0.7, marks=["partial"], counts={"normal": 28, "anomalous": 5})
    table = build(cells)
    assert "A on KSDD: not all images, only 28 normal and 5 anomalous ones" in table.notes
    assert "(70.0, 70.0, 70.0)*" in render(table)


def test_untrained_weights_and_generated_data_are_announced(make_dataset: Make) -> None:
    cells = make_dataset("m", "standin_visa", 0.5, preset="mini", marks=["untrained", "stand-in"])
    table = build(cells)
    assert table.headlines == (
        "untrained: chance. Untrained weights in M (mini): not ranked.",
        "demo: generated data, small models; not the paper's numbers.",
    )
    assert table.sections[0].rows[1].labels == ("Industrial, stand-in", "VisA")
    for form in ("md", "latex", "csv", "json"):
        assert "untrained: chance" in render(table, form)
        assert "demo: generated data" in render(table, form)
    assert build(make_dataset("m", "visa", 0.5)).headlines == ()


def test_the_callers_headline_stands_first_and_is_not_repeated(make_dataset: Make) -> None:
    cells = make_dataset("m", "standin_visa", 0.5, marks=["untrained", "stand-in"])
    demo = "demo: generated data, small models; not the paper's numbers"
    untrained = "untrained: chance. Untrained weights in M: not ranked."
    assert build(cells, headline=demo).headlines == (demo, untrained)
    assert build(cells, headline="Only a trial").headlines == ("Only a trial", untrained, f"{demo}.")
    assert build(make_dataset("m", "visa", 0.5), "methods", headline="Draft").headlines == ("Draft",)


def test_overlap_with_the_training_images_is_marked_counted_and_ranked(make_dataset: Make) -> None:
    cells = [*make_dataset("a", "btad", 0.7), *make_dataset("b", "btad", 0.8)]
    for cell, count in zip(cells[3:], (4, 0, 2), strict=True):
        cell["details"] = {"overlap_images": count}
        cell["marks"] = ["overlap"] if count else []
    table = build(cells)
    value = look(table, "B", "BTAD", "image_ap")
    assert (value.text, value.symbols, value.rank) == ("80.0", "¶", 1)
    assert look(table, "A", "BTAD", "image_ap").symbols == ""
    assert "B on BTAD: 6 of the 90 test images were among the training images" in table.notes
    assert ("¶", "some of the test images were among the training images") in table.legend()
    assert "¶" in table.sections[0].rows[7].entries[1][0].symbols


def test_stand_in_and_real_data_are_never_averaged_together(make_dataset: Make) -> None:
    cells = [cell for key in INDUSTRIAL for cell in make_dataset("m", key, 0.7)]
    cells += make_dataset("m", "standin_visa", 0.1, marks=["stand-in"])
    averages = {row.labels[0]: row.entries[0][0] for row in build(cells).sections[0].rows if row.is_average}
    assert (averages["Industrial"].text, averages["Industrial"].symbols) == ("70.0", "")
    assert (averages["Industrial, stand-in"].text, averages["Industrial, stand-in"].symbols) == ("10.0", "*")


def test_ones_own_datasets_get_rows_and_no_average(make_cell: Make, make_dataset: Make) -> None:
    cells = [*make_dataset("m", "visa", 0.9), make_cell("m", "screws", "m4", 0.7)]
    table = build(cells)
    assert table.sections[0].rows[-1].labels == ("Other", "SCREWS")
    assert table.sections[0].rows[-1].entries[0][0].text == "70.0"
    alone = build(cells[-1:])
    assert [row.labels for row in alone.sections[0].rows] == [("Other", "SCREWS")]
    assert "|Method|ImageSCREWS|PixelSCREWS|" in render(build(cells[-1:], "methods")).replace(" ", "")


@pytest.mark.parametrize("layout", ["paper", "methods", "per-class", "cross"])
def test_a_level_that_is_undefined_leaves_a_place_and_a_reason_in_every_layout(
    make_cell: Make, layout: str
) -> None:
    cell = make_cell("m", "screws", "m4", 0.7, levels=["pixel"])
    for metric in ("image_auroc", "image_ap", "image_f1max"):
        cell["metrics"][metric], cell["reasons"][metric] = None, "no normal images"
    table = build([cell], layout)
    undefined = [value for value in table.values() if value.metric == "image_auroc"]
    assert {value.text for value in undefined} == {"undef."}
    assert "M on SCREWS: image level is undefined (no normal images)" in [
        note.replace("M (mvtec)", "M") for note in table.notes
    ]
    (line,) = [
        line
        for line in render(table, "csv").splitlines()
        if ",image,auroc," in line
        and "Average" not in line
        and ",m4," in (line if layout == "per-class" else ",m4,")
    ]
    assert ",image,auroc,,,,,undefined,,,,,screws,data of screws/m4,vision:" in line


def test_asking_for_datasets_gives_their_rows_and_an_average_that_says_so(make_dataset: Make) -> None:
    cells = [
        *make_dataset("a", "visa", 0.9),
        *make_dataset("a", "mpdd", 0.8),
        *make_dataset("a", "btad", 0.1),
    ]
    table = build(cells, datasets=["mpdd", "visa"])
    assert [row.labels[1] for row in table.sections[0].rows] == ["VisA", "MPDD", "Average of these"]
    value = look(table, "A", "Average of these", "image_ap")
    assert (value.text, value.symbols) == ("85.0", "")
    assert "Image industrial (2 datasets)" in render(build(cells, "methods", datasets=["mpdd", "visa"]))


def test_per_class_shows_both_aupros_and_flags_few_thresholds(make_dataset: Make) -> None:
    cells = make_dataset("a", "btad", 0.7)
    for cell in cells:
        cell["metrics"]["pixel_aupro_exact"] = 0.65
    cells[2]["details"] = {"pixel_aupro_few_thresholds": True}
    table = build(cells, "per-class")
    assert look(table, "A", "BTAD", "pixel_aupro", "03").symbols == "§"
    assert look(table, "A", "BTAD", "pixel_aupro", "02").symbols == ""
    assert look(table, "A", "BTAD", "pixel_aupro_exact", "03").text == "65.0"
    assert look(table, "A", "BTAD", "pixel_aupro_exact", "03").symbols == ""
    assert look(table, "A", "BTAD", "pixel_aupro").symbols == "§"
    assert "AUPRO rests on few thresholds, in so many classes: A on BTAD (1/3)" in table.notes
    titles = [(column.span, column.title) for column in table.columns]
    assert ("Pixel", "AUPRO") in titles
    assert ("Pixel", "exact AUPRO") in titles


def test_the_flag_for_few_thresholds_is_the_one_that_the_metrics_raise(make_dataset: Make) -> None:
    maps = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32) ** 8
    maps[0, 0, 0] = 100  # one hot normal pixel leaves the thresholds nothing to tell apart
    masks = np.zeros((2, 32, 32), dtype=np.uint8)
    masks[1, 8:16, 8:16] = 1
    pixels = PixelMetrics()
    pixels.add(maps, masks, ["good", "bad"])
    report = pixels.result()
    cells = make_dataset("a", "ksdd", 0.7)
    cells[0]["metrics"] |= report.values
    cells[0]["details"] = report.details
    assert look(build(cells, "per-class"), "A", "KSDD", "pixel_aupro", cells[0]["class"]).symbols == "§"


def test_per_class_lists_missing_classes_and_only_datasets_that_were_run(make_dataset: Make) -> None:
    cells = [
        *make_dataset("a", "btad", 0.7)[:2],
        *make_dataset("b", "btad", 0.6),
        *make_dataset("b", "isic", 0.6),
    ]
    table = build(cells, "per-class")
    assert [section.title for section in table.sections] == ["BTAD (industrial)", "ISIC (medical)"]
    assert look(table, "A", "BTAD", "image_auroc", "03").text == "n/a"
    assert [row.labels for row in table.sections[1].rows] == [("skin", "B")]
    assert [row.labels[0] for row in table.sections[0].rows][-2:] == ["Mean", "Mean"]


def test_methods_layout_has_a_row_for_each_preset(make_dataset: Make) -> None:
    cells = [cell for key in INDUSTRIAL for cell in make_dataset("m", key, 0.7)]
    ablation = {"preset": "no-local-evidence", "config__options": {"image_size": 518, "local": False}}
    cells += [cell for key in INDUSTRIAL for cell in make_dataset("m", key, 0.6, **ablation)]
    (section,) = build(cells, "methods").sections
    assert [row.labels for row in section.rows] == [("M",), ("M (no-local-evidence)",)]
    assert [[value.rank for value in row.entries[0]] for row in section.rows] == [[1, 1, 1], [2, 2, 2]]
    assert section.rows[0].entries[1][0].text == "n/a"  # medical


def test_the_footer_names_commit_day_cells_and_protocol(make_dataset: Make) -> None:
    cells = [
        *make_dataset("m", "mvtec", 0.9),
        *make_dataset("m", "visa", 0.9),
        *make_dataset("m", "ksdd", 0.9),
    ]
    for cell in cells[15:]:
        cell["provenance"] = {"commit": "f" * 40, "dirty": True, "started": "2025-11-25T01:00:00+00:00"}
    cells[-1]["dataset_protocol"] = "thirds"
    cells[-1]["counts"] = {"normal": 286, "anomalous": 54}
    footer = build(cells).footer
    assert footer.startswith(
        "commit 0123456789, ffffffffff+changes; 2025-11-23 to 2025-11-25; 28 cells; float32; "
    )
    assert "masks resized; anomalous where mask > 0; exact metrics; metrics version 1; AUPRO numpy1" in footer
    assert "ksdd thirds (286 normal, 54 anomalous)" in footer
    assert footer.endswith("M trained on mvtec (visa for mvtec)")
    assert "\n" not in footer
    for form in ("md", "csv"):
        assert render(build(cells), form).rstrip().endswith(footer)


def test_few_thresholds_reach_the_averages_and_are_not_ranked(make_dataset: Make) -> None:
    cells = [cell for key in INDUSTRIAL for cell in make_dataset("a", key, 0.7)]
    cells += [cell for key in INDUSTRIAL for cell in make_dataset("b", key, 0.6)]
    cells += [cell for key in INDUSTRIAL for cell in make_dataset("c", key, 0.5)]
    few = [cell for cell in cells if (cell["method"], cell["dataset"]) in {("a", "visa"), ("a", "ksdd")}]
    for cell in few[:3] + few[-1:]:
        cell["details"] = {"pixel_aupro_few_thresholds": True}

    def industrial(table: Table, metric: str) -> list[tuple[str, int | None]]:
        found = [value for value in table.values() if value.subject[2:4] == ("Industrial", "Average")]
        return [(value.symbols, value.rank) for value in found if value.metric == metric]

    for layout in ("paper", "methods"):
        assert industrial(build(cells, layout), "pixel_aupro") == [("§", None), ("", 1), ("", 2)]
        exact = build(cells, layout, aupro="exact")
        assert industrial(exact, "pixel_aupro_exact") == [("", 1), ("", 2), ("", 3)]
        assert not any("thresholds" in note for note in exact.notes)
    (note,) = [note for note in build(cells).notes if "thresholds" in note]
    assert note == "AUPRO rests on few thresholds, in so many classes: A on VisA (3/12), KSDD"


@pytest.mark.parametrize("layout", ["paper", "per-class", "methods", "cross"])
def test_every_layout_has_the_aupro_that_is_asked_for(make_dataset: Make, layout: str) -> None:
    cells = make_dataset("m", "btad", 0.7)
    found = {}
    for which in ("protocol", "exact", "both"):
        metrics = dict.fromkeys(value.metric for value in build(cells, layout, aupro=which).values())
        found[which] = [metric for metric in metrics if "aupro" in metric]
        assert "pixel_auroc" in metrics
    assert found == {
        "protocol": ["pixel_aupro"],
        "exact": ["pixel_aupro_exact"],
        "both": ["pixel_aupro", "pixel_aupro_exact"],
    }
    with pytest.raises(BenchError, match="did you mean 'exact'"):
        build(cells, layout, aupro="exakt")


def test_the_exact_aupro_takes_the_place_of_the_other(make_dataset: Make) -> None:
    cells = make_dataset("m", "btad", 0.7)
    assert build(cells, aupro="exact").sections[1].title == "Pixel level (AUROC, exact AUPRO, F1-max)"
    assert build(cells, aupro="both").sections[1].title == "Pixel level (AUROC, AUPRO, exact AUPRO, F1-max)"
    methods = build(cells, "methods", aupro="protocol").sections[0].title
    assert methods.endswith("Pixel level (AUROC, AUPRO, F1-max)")


def test_what_is_said_of_several_methods_and_datasets_is_said_once(make_dataset: Make) -> None:
    cells = []
    for method in "abc":
        for key in ("btad", "mpdd") if method != "c" else ("btad",):
            cells += make_dataset(method, key, 0.7)
    for cell in cells:
        cell["metrics"]["pixel_ap"], cell["reasons"]["pixel_ap"] = None, "too few"
        if cell["dataset"] == "btad":
            cell["marks"], cell["counts"] = ["partial"], {"normal": 1, "anomalous": 2}
    notes = build(cells, "per-class").notes
    assert "all methods on BTAD: not all images, only 3 normal and 6 anomalous ones" in notes
    assert "A, B on BTAD, MPDD: pixel AP is undefined in every class (too few)" not in notes
    assert [note for note in notes if "AP is undefined" in note] == [
        "A, B on MPDD, BTAD: pixel AP is undefined in every class (too few)",
        "C on BTAD: pixel AP is undefined in every class (too few)",
    ]
    assert not any("pixel AP" in note for note in build(cells).notes)  # which does not show it


def test_own_datasets_of_one_title_are_told_apart(make_cell: Make) -> None:
    cells = [make_cell("m", key, "x", 0.7, dataset_title="images") for key in ("images-1a", "images-2b")]
    cells.append(make_cell("m", "nuts", "x", 0.7))
    rows = [row.labels[1] for row in build(cells).sections[0].rows]
    assert rows == ["images-1a", "images-2b", "NUTS"]


def test_two_methods_of_two_are_all_and_one_of_one_is_named(make_dataset: Make) -> None:
    cells = [cell for method in "ab" for cell in make_dataset(method, "btad", 0.7)[:2]]
    assert "all methods on BTAD: 2 of 3 classes run" in build(cells).notes
    assert "A on BTAD: 2 of 3 classes run" in build(cells[:2]).notes


def test_what_no_layout_shows_is_not_lamented(make_dataset: Make) -> None:
    cells = make_dataset("a", "btad", 0.7)
    cells[0]["details"] = {"pixel_aupro_few_thresholds": True}
    for cell in cells:
        for metric in ("pixel_ap", "pixel_aupro_exact"):
            cell["metrics"][metric], cell["reasons"][metric] = None, "constant maps"
    assert build(cells).notes == ("AUPRO rests on few thresholds, in so many classes: A on BTAD (1/3)",)
    assert build(cells, aupro="exact").notes == (
        "A on BTAD: pixel exact AUPRO is undefined in every class (constant maps)",
    )


def test_reasons_that_differ_are_counted_even_if_nothing_is_defined(make_dataset: Make) -> None:
    cells = make_dataset("a", "btad", 0.7)
    for cell, why in zip(cells, ("constant", "constant", "no regions"), strict=True):
        cell["metrics"]["pixel_f1max"], cell["reasons"]["pixel_f1max"] = None, why
    assert build(cells).notes == (
        "A on BTAD: pixel F1-max is defined in 0/3 classes (constant in 2; no regions in 1)",
    )


def test_other_datasets_stand_in_sections_of_their_own(make_dataset: Make) -> None:
    cells = [cell for key in GROUPS["all"] for cell in make_dataset("m", key, 0.7)]
    paper = build(cells)
    cells += [*make_dataset("m", "kvasir", 0.5), *make_dataset("m", "bmad_brain", 0.4)]
    cells += make_dataset("m", "mvtec_loco", 0.3)
    table = build(cells)
    assert table.sections[:2] == paper.sections
    found = {
        section.title.partition(" (")[0]: [row.labels for row in section.rows]
        for section in table.sections[2:]
    }
    assert list(found.items()) == [
        ("Beyond the paper's table: Image level", [("Industrial", "MVTec LOCO"), ("Medical", "BMAD Brain")]),
        (
            "Beyond the paper's table: Pixel level",
            [("Industrial", "MVTec LOCO"), ("Medical", "Kvasir"), ("Medical", "BMAD Brain")],
        ),
    ]  # fmt: skip
    alone = build(make_dataset("m", "kvasir", 0.5))
    assert [row.labels for section in alone.sections for row in section.rows] == [("Medical", "Kvasir")]


def test_a_part_of_a_dataset_is_a_row_of_its_own(make_cell: Make, make_dataset: Make) -> None:
    part = [
        make_cell(
            "m", "mvtec_zs", name, 0.5, target="mvtec", source="visa", dataset_title="MVTec (ZS)",
            levels=["image"], domain="industrial", dataset_protocol="zs", n_classes=2,
        )
        for name in ("cable", "grid")
    ]  # fmt: skip
    table = build([*make_dataset("m", "mvtec", 0.9), *part])
    assert look(table, "M", "MVTec (ZS)", "image_auroc").text == "50.0"
    assert look(table, "M", "MVTec", "image_auroc").text == "90.0"
    assert [row.labels[1] for row in table.sections[-1].rows] == ["MVTec (ZS)"]
    assert {cell["dataset"] for cell in part} == {"mvtec_zs"}
    per_class = build(part, "per-class")
    assert [section.title for section in per_class.sections] == ["MVTec (ZS) (industrial)"]


def test_training_on_a_related_dataset_is_marked_and_said(make_dataset: Make) -> None:
    cells = make_dataset("m", "cvc300", 0.5, source="visa+cvc_colondb~1", protocol_source=True)
    table = build([*cells, *make_dataset("n", "cvc300", 0.5, source="mvtec")])
    value = look(table, "M", "CVC-300", "pixel_auroc")
    assert (value.symbols, look(table, "N", "CVC-300", "pixel_auroc").symbols) == ("≈", "")
    assert value.rank == 1
    assert any(
        note.startswith("M on CVC-300: trained on cvc_colondb: CVC-300 is an older form")
        for note in table.notes
    )
