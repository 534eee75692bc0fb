"""Seeds of a training are replicates: mean and standard deviation over their own means."""

import csv
import json
from collections.abc import Callable
from statistics import stdev
from typing import Any

import pytest

from bench.errors import BenchError
from bench.show import Table, build, render
from bench.show.model import Value
from datasets.catalog import CATALOG

Make = Callable[..., Any]
Cells = list[dict[str, Any]]


@pytest.fixture
def trained(make_cell: Make) -> Callable[..., Cells]:
    """Return a maker of the cells of one seed on one dataset, one value a class."""

    def make(seed: int, dataset: str, *values: float, source: str = "mvtec", **changes: Any) -> Cells:
        names = [entry.key for entry in CATALOG[dataset].classes]
        weights = {"vision": "ab" * 32, "learned": f"{source}{seed}" * 8}
        changes = {"source": f"{source}~{seed}", "config__weights": weights} | changes
        return [
            make_cell("m", dataset, name, value, **changes)
            for name, value in zip(names, values, strict=False)
        ]

    return make


def look(table: Table, method: str, dataset: str, class_key: str = "", metric: str = "image_auroc") -> Value:
    place = (method, dataset, class_key, metric)
    (found,) = [
        value
        for value in table.values()
        if (value.subject.method, value.subject.dataset, value.subject.class_key, value.metric) == place
    ]
    return found


def test_every_seed_has_its_own_mean_and_these_are_averaged(trained: Make) -> None:
    cells = [
        *trained(1, "btad", 0.90, 0.80, 0.70),
        *trained(2, "btad", 0.60, 0.90, 0.90),
        *trained(10, "btad", 0.90, 0.90, 0.96),
        *trained(1, "ksdd", 0.60),
        *trained(2, "ksdd", 0.61),
        *trained(10, "ksdd", 0.48),
    ]
    table = build(cells, datasets=["btad", "ksdd"])
    assert [column.title for column in table.columns] == ["M"]
    btad, average = look(table, "M", "BTAD"), look(table, "M", "Average of these")
    assert float(btad.number or 0) == pytest.approx((0.8 + 0.8 + 0.92) / 3)
    assert btad.std == pytest.approx(stdev([0.8, 0.8, 0.92]))
    assert btad.symbols == ""
    # The seed that is better on one dataset is worse on the other: averages hardly differ.
    assert average.std == pytest.approx(stdev([0.70, 0.705, 0.70]))
    assert [seed for seed, _ in btad.by_seed] == ["1", "2", "10"]
    assert table.notes == ("M: mean ± sample standard deviation over 3 training seeds (1, 2, 10)",)
    assert table.footer.endswith("M trained on mvtec")


def test_every_layout_and_format_shows_the_standard_deviation(trained: Make) -> None:
    cells = [*trained(1, "btad", 0.80, 0.70, 0.75), *trained(2, "btad", 0.82, 0.74, 0.75)]
    # class stds: 1.4, 2.8, 0.0; means 75.0 and 77.0, whose std is 1.4 as well
    assert "(76.0±1.4, 76.0±1.4, 76.0±1.4)" in render(build(cells))
    assert "(76.0±1.4, 76.0±1.4, 76.0±1.4)" in render(build(cells, "methods", datasets=["btad"]))
    assert "| 01 | 81.0±1.4 |" in " ".join(render(build(cells, "per-class")).split())
    assert "| 03 | 75.0±0.0 |" in " ".join(render(build(cells, "per-class")).split())
    assert r"76.0{\scriptsize$\,\pm\,1.4$}" in render(build(cells), "latex")
    rows = list(csv.DictReader(render(build(cells, "per-class"), "csv").splitlines()))
    (second,) = [row for row in rows if (row["class"], row["level"], row["metric"]) == ("02", "image", "ap")]
    assert (second["value"], second["std"], second["seeds"]) == ("72.0", "2.8", "2")
    value = json.loads(render(build(cells), "json"))["sections"][0]["rows"][3]["entries"][0][0]
    assert value["std"] == pytest.approx(stdev([0.75, 0.77]))
    assert value["seeds"] == {"1": pytest.approx(0.75), "2": pytest.approx(0.77)}


def test_the_rank_is_that_of_the_rounded_mean(trained: Make, make_dataset: Make) -> None:
    cells = [*trained(1, "isic", 0.9), *trained(2, "isic", 0.7002), *make_dataset("n", "isic", 0.80)]
    table = build(cells)
    ours, theirs = (look(table, method, "ISIC", metric="pixel_auroc") for method in "MN")
    assert (ours.text, ours.rank, theirs.text, theirs.rank) == ("80.0", 1, "80.0", 1)
    assert "**80.0**±14.1" in render(table)


def test_a_seed_that_lacks_a_class_makes_the_mean_partial_and_leaves_no_spread(trained: Make) -> None:
    cells = [*trained(1, "btad", 0.9, 0.8, 0.1), *trained(2, "btad", 0.9, 0.8), *trained(1, "ksdd", 0.5)]
    table = build(cells, datasets=["btad", "ksdd"])
    btad = look(table, "M", "BTAD")
    assert (btad.text, btad.symbols, btad.std) == ("72.5", "*", None)  # (60.0 + 85.0) / 2
    assert "M on BTAD, seed 2: 2 of 3 classes run" in table.notes
    assert "M on KSDD: only seeds 1" in table.notes
    assert look(table, "M", "KSDD").symbols == ""
    assert look(table, "M", "Average of these").symbols == "*"
    per_class = build(cells, "per-class")
    assert look(per_class, "M", "BTAD", "03").symbols == "*"
    assert look(per_class, "M", "BTAD", "02").symbols == ""


def test_a_class_that_is_undefined_for_one_seed_is_partial(trained: Make) -> None:
    cells = [*trained(1, "btad", 0.9, 0.8, 0.7), *trained(2, "btad", 0.9, 0.8, 0.7)]
    cells[5]["metrics"]["image_auroc"], cells[5]["reasons"]["image_auroc"] = None, "constant"
    table = build(cells, "per-class")
    assert (look(table, "M", "BTAD", "03").text, look(table, "M", "BTAD", "03").symbols) == ("70.0", "*")
    assert look(table, "M", "BTAD").symbols == "*"
    assert "M on BTAD, seed 2: image AUROC is defined in 2/3 classes (constant in 1)" in table.notes


def test_remarks_that_hold_for_all_seeds_are_made_once(trained: Make) -> None:
    table = build([*trained(1, "btad", 0.9, 0.8), *trained(2, "btad", 0.9, 0.8)])
    assert table.notes[1:] == ("M on BTAD: 2 of 3 classes run",)
    assert look(table, "M", "BTAD").std == 0  # both seeds have the same classes
    assert look(table, "M", "BTAD").symbols == "*"


def test_published_weights_are_no_seed(trained: Make, make_dataset: Make) -> None:
    published = make_dataset("m", "btad", 0.9)
    cells = [*trained(1, "btad", 0.8, 0.8, 0.8), *published, *trained(2, "btad", 0.8, 0.8, 0.8)]
    cells += trained(1, "visa", *[0.7] * 12, source="btad")
    table = build(cells)
    assert [column.title for column in table.columns] == ["M", "M (retrained)", "M (btad)"]
    assert look(table, "M", "BTAD").text == "90.0"
    assert look(table, "M", "BTAD").std is None
    assert look(table, "M (retrained)", "BTAD").text == "80.0"
    assert "M (btad): trained here, with one seed (1)" in table.notes


def test_published_weights_count_for_every_seed_of_an_average(trained: Make, make_dataset: Make) -> None:
    cells = [*trained(1, "ksdd", 0.6), *trained(2, "ksdd", 0.8), *make_dataset("m", "btad", 0.9)]
    table = build(cells, datasets=["btad", "ksdd"])
    average = look(table, "M", "Average of these")
    assert (average.text, average.symbols) == ("80.0", "")
    assert average.std == pytest.approx(stdev([0.75, 0.85]))


def test_one_seed_has_no_spread(trained: Make) -> None:
    table = build(trained(111, "btad", 0.9, 0.8, 0.7))
    assert look(table, "M", "BTAD").std is None
    assert "±" not in render(table)
    assert table.notes == ("M: trained here, with one seed (111)",)


def test_seeds_differ_in_nothing_but_the_learned_weights(trained: Make) -> None:
    first = trained(1, "isic", 0.9)
    other = {"vision": "cd" * 32, "learned": "ef" * 32}
    with pytest.raises(BenchError, match=r"differ in weights\.vision\. Choose"):
        build([*first, *trained(2, "isic", 0.8, config__weights=other)])
    with pytest.raises(BenchError, match=r"isic/skin: seeds 1, 2 differ in data\."):
        build([*first, *trained(2, "isic", 0.8, config__data="other")])
    again = trained(1, "isic", 0.8, config__data="other")
    with pytest.raises(BenchError, match=r"isic/skin: 2 cells .* differ in data\. Take the newest"):
        build([*first, *again])
    halves = trained(2, "isic", 0.7, config__precision="float16")
    assert len(build([*first, *halves]).columns) == 2


def test_where_knows_source_and_seed(trained: Make, make_dataset: Make) -> None:
    cells = [*trained(1, "isic", 0.9), *trained(2, "isic", 0.8), *trained(1, "isic", 0.7, source="btad")]
    cells += make_dataset("m", "isic", 0.6)

    def column(**where: str) -> list[str]:
        table = build(cells, "per-class", where=where)
        return [value.text for value in table.values() if value.metric == "pixel_ap"]

    assert column(source="btad") == ["70.0"]
    assert column(source="mvtec", seed="2") == ["80.0"]
    assert column(seed="none") == ["60.0"]
    with pytest.raises(BenchError, match="none of 4 cells matches seed=3"):
        column(seed="3")


def test_one_seed_of_untrained_weights_is_not_called_trained(trained: Make) -> None:
    one = trained(1, "btad", 0.5, 0.5, 0.5, marks=["untrained"])
    assert not any("seed" in note for note in build(one).notes)
    two = [*one, *trained(2, "btad", 0.5, 0.5, 0.5, marks=["untrained"])]
    assert "M: mean ± sample standard deviation over 2 training seeds (1, 2)" in build(two).notes
