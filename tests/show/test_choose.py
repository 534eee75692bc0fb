"""Cells measured differently never share a column unseen."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.errors import BenchError
from bench.show import Table, build
from bench.show.choose import choose, fill_columns

Make = Callable[..., Any]


def labels(table: Table) -> list[str]:
    return [column.title for column in table.columns]


def test_other_precision_or_options_get_columns_of_their_own(make_dataset: Make) -> None:
    cells = [
        *make_dataset("m", "visa", 0.9),
        *make_dataset("m", "btad", 0.8),
        *make_dataset("m", "visa", 0.7, config__precision="float16"),
    ]
    table = build(cells)
    assert labels(table) == ["M (precision=float32)", "M (precision=float16)"]
    visa = table.sections[0].rows[1]
    assert [entry[0].text for entry in visa.entries] == ["90.0", "70.0"]
    cells = [
        *make_dataset("m", "visa", 0.9),
        *make_dataset("m", "visa", 0.7, config__options__sigma=0.0),
    ]
    assert labels(build(cells)) == ["M (sigma=4.0)", "M (sigma=0.0)"]


def test_lower_precision_alone_is_the_method_and_beside_float32_a_column_of_its_own(
    make_dataset: Make,
) -> None:
    of_encoder = {"config__precision": "bfloat16", "config__precision_of": "encoder"}
    lower = make_dataset("m", "visa", 0.7, **of_encoder)
    (column,) = fill_columns(choose(lower))
    assert (column.label, column.as_published) == ("M", True)
    assert "; encoders of M in bfloat16, the drift of M not measured; " in build(lower).footer
    both = build([*lower, *make_dataset("m", "btad", 0.9), *make_dataset("n", "btad", 0.9)])
    assert labels(both) == ["M (precision=bfloat16)", "M (precision=float32)", "N"]
    unmeasured = "the drift of M (precision=bfloat16) not measured"
    assert (
        f"; encoders of M (precision=bfloat16) in bfloat16, {unmeasured}, all else float32; " in both.footer
    )
    assert all(column.as_published for column in fill_columns(choose(lower + make_dataset("m", "btad", 0.9))))
    throughout = make_dataset("m", "visa", 0.6, preset="bfloat16", config__precision="bfloat16")
    table = build([*lower, *throughout])
    assert labels(table) == ["M", "M (bfloat16)"]
    said = "encoders of M in bfloat16, all of M (bfloat16) in bfloat16"
    assert f"; {said}, the drift of M, M (bfloat16) not measured; " in table.footer
    assert "; float32; " in build(make_dataset("m", "visa", 0.9)).footer


def test_options_may_follow_the_target(make_dataset: Make) -> None:
    cells = [*make_dataset("m", "visa", 0.9), *make_dataset("m", "isic", 0.8, config__options__sigma=8.0)]
    assert labels(build(cells)) == ["M"]


def test_a_limit_is_told_apart_even_on_another_dataset(make_dataset: Make) -> None:
    quick = make_dataset("m", "isic", 0.8, config__protocol__limit=5, marks=["partial"])
    assert labels(build([*make_dataset("m", "visa", 0.9), *quick])) == ["M", "M (limit=5)"]
    assert labels(build(quick)) == ["M"]


def test_where_chooses(make_dataset: Make) -> None:
    cells = [*make_dataset("m", "visa", 0.9), *make_dataset("m", "visa", 0.7, config__precision="float16")]
    table = build(cells, where={"precision": "float16"})
    assert labels(table) == ["M"]
    assert table.sections[0].rows[1].entries[0][0].text == "70.0"
    assert labels(build(cells, where={"image_size": "518", "precision": "float32"})) == ["M"]
    with pytest.raises(BenchError, match="did you mean 'precision'"):
        build(cells, where={"precison": "float16"})
    with pytest.raises(BenchError, match="none of 24 cells matches precision=int8"):
        build(cells, where={"precision": "int8"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"config__weights": {"vision": "cd" * 32}},
            r"differ in weights\.vision\. Choose with --where weights\.vision=abab",
        ),
        ({"dataset_protocol": "whole", "config__data": "other"}, "differ in dataset_protocol"),
        ({"config__data": "other"}, "visa/candle: 2 cells .* differ in data. Take the newest with --latest"),
    ],
)
def test_what_no_column_can_be_labelled_by_is_refused(make_dataset: Make, changes: Any, says: str) -> None:
    old = make_dataset("m", "visa", 0.9)
    new = make_dataset("m", "visa", 0.7, provenance__started="2025-12-01T00:00:00+00:00", **changes)
    for cell in new:
        cell["key"] += "new"
    with pytest.raises(BenchError, match=says):
        build([*old, *new])
    table = build([*new, *old], latest=True)
    assert labels(table) == ["M"]
    assert table.sections[0].rows[1].entries[0][0].text == "70.0"


def test_where_settles_a_dataset_and_leaves_the_others(make_dataset: Make) -> None:
    other = {"config__weights": {"vision": "cd" * 32}}
    cells = [
        *make_dataset("m", "visa", 0.9),
        *make_dataset("m", "visa", 0.7, **other),
        *make_dataset("m", "btad", 0.8),
    ]
    rows = build(cells, where={"weights.vision": "cdcd"}).sections[0].rows
    assert rows[1].entries[0][0].text == "70.0"
    assert rows[3].entries[0][0].text == "80.0"


def test_classes_left_behind_by_new_weights_are_not_mixed_in(make_dataset: Make) -> None:
    old = make_dataset("m", "visa", 0.9)
    new = make_dataset(
        "m",
        "visa",
        0.7,
        config__weights={"vision": "cd" * 32},
        provenance__started="2025-12-01T00:00:00+00:00",
    )
    with pytest.raises(BenchError, match="run the classes that lag behind again"):
        build([*old, *new[:5]], latest=True)


def test_sources_of_one_target_stand_apart(make_dataset: Make) -> None:
    cells = [
        *make_dataset("m", "visa", 0.9),
        *make_dataset("m", "mvtec", 0.9),
        *make_dataset("m", "visa", 0.7, source="btad"),
    ]
    table = build(cells)
    assert labels(table) == ["M", "M (btad)"]
    assert [entry[0].text for entry in table.sections[0].rows[0].entries] == ["90.0", "n/a"]
    assert [entry[0].text for entry in table.sections[0].rows[1].entries] == ["90.0", "70.0"]


def test_the_same_cell_read_twice_counts_once(make_dataset: Make) -> None:
    cells = make_dataset("m", "visa", 0.9)
    assert build([*cells, *cells]).footer == build(cells).footer


def test_methods_choose_and_order_the_columns(make_dataset: Make) -> None:
    cells = [cell for method in "cab" for cell in make_dataset(method, "visa", 0.9)]
    cells += make_dataset("b", "visa", 0.8, preset="small", config__options={"image_size": 224})
    assert labels(build(cells)) == ["A", "B", "B (small)", "C"]
    assert labels(build(cells, methods=["c", "b"])) == ["C", "B", "B (small)"]
    assert labels(build(cells, methods=["b:small", "a"])) == ["B (small)", "A"]


def test_two_methods_with_one_title_stay_apart(make_dataset: Make) -> None:
    cells = [*make_dataset("a", "visa", 0.9, title="CLIP"), *make_dataset("b", "visa", 0.8, title="CLIP")]
    table = build(cells)
    assert labels(table) == ["CLIP [a]", "CLIP [b]"]
    assert "the methods a and b have one title, CLIP: told apart by their keys" in table.notes
    assert [entry[0].text for entry in table.sections[0].rows[1].entries] == ["90.0", "80.0"]


def test_no_cells_is_a_clear_error() -> None:
    with pytest.raises(BenchError, match="no cells yet: make some with"):
        build([])


def test_columns_stand_as_in_the_paper_and_baselines_last(make_dataset: Make) -> None:
    titles = {
        "adaclip": "AdaCLIP", "anomalyclip": "AnomalyCLIP", "chance": "Chance", "newest": "Newest",
        "oracle": "Oracle", "tipsomaly": "Tipsomaly", "vand": "VAND",
    }  # fmt: skip
    cells = [cell for key, title in titles.items() for cell in make_dataset(key, "isic", 0.9, title=title)]
    assert labels(build(cells)) == [
        "VAND", "AnomalyCLIP", "AdaCLIP", "Tipsomaly", "Newest", "Chance", "Oracle"
    ]  # fmt: skip


def test_shown_names_of_methods_can_be_typed_back(make_dataset: Make) -> None:
    cells = make_dataset("vand", "isic", 0.9, title="VAND")
    cells += make_dataset("vand", "isic", 0.8, title="VAND", preset="small", config__options={"sigma": 0})
    cells += make_dataset("b", "isic", 0.9)
    assert labels(build(cells, methods=["B", "VAND"])) == ["B", "VAND", "VAND (small)"]
    assert labels(build(cells, methods=["VAND (small)"])) == ["VAND (small)"]
    assert "no cells of wand" in build(cells, methods=["vand", "wand"]).notes
    assert build(cells, methods=["vand"]).notes == ()


def test_a_preset_with_a_title_of_its_own_is_called_by_it(make_cell: Make) -> None:
    named = {"preset": "plus", "title": "Crane+", "titled_preset": True}
    sigma = {**named, "preset": "plus,sigma=0"}
    cells = [
        make_cell("crane", "mvtec", "bottle", 0.8, title="Crane"),
        make_cell("crane", "mvtec", "bottle", 0.9, config__options__dattn=True, **named),
        make_cell("crane", "mvtec", "bottle", 0.7, config__options__sigma=0.0, **sigma),
    ]
    columns = fill_columns(choose(cells))
    assert {column.label: column.as_published for column in columns} == {
        "Crane": True,
        "Crane+": True,
        "Crane+ (sigma=0)": False,
    }
    assert [cell["title"] for cell in choose(cells, methods=["crane:plus"])] == ["Crane+"]
