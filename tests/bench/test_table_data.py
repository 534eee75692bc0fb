"""Tables as data: each row says from which cells, data, weights and commit its number came."""

import csv
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.cli import main
from bench.results import frame
from tests.bench.page.grid import cell, write, write_grid

ORIGIN = ("dataset_key", "data", "weights", "commit", "cells")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    write_grid(root, ("vand", "tipsomaly"), ("btad", "tn3k"))
    later = cell("vand", "btad", "03", 0)
    write(root, later | {"provenance": later["provenance"] | {"commit": "f" * 40}})
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def write_table(results: Path, out: Path, *words: str) -> Path:
    assert main(["table", "--results", str(results), "--out", str(out), *words]) == 0
    return out


def test_every_csv_row_of_a_class_has_the_origin_that_the_frame_has(results: Path, tmp_path: Path) -> None:
    rows = rows_of(write_table(results, tmp_path / "t.csv", "--layout", "per-class"))
    of_class = [row for row in rows if row["class"]]
    numbers = frame(results).dropna(subset="value")
    assert len(of_class) == len(numbers)
    known = {(each.key, each.level, each.metric): each for each in numbers.itertuples()}
    for row in of_class:
        each = known[row["cells"], row["level"], row["metric"]]
        assert (row["dataset_key"], row["data"], row["weights"], row["commit"]) == (
            each.dataset, each.data, each.weights, each.commit
        )  # fmt: skip
        assert float(row["exact"]) == each.value


def test_a_mean_names_all_its_cells_and_what_they_share_once(results: Path, tmp_path: Path) -> None:
    rows = rows_of(write_table(results, tmp_path / "t.csv"))
    numbers = frame(results)
    (row,) = [
        row for row in rows
        if (row["method"], row["dataset"], row["level"], row["metric"]) == ("VAND", "BTAD", "image", "ap")
    ]  # fmt: skip
    of_btad = numbers[
        (numbers.method == "vand") & (numbers["dataset"] == "btad") & (numbers.metric == "auroc")
    ]
    assert row["cells"].split() == sorted(set(of_btad.key)) and len(row["cells"].split()) == 3
    assert row["data"] == hashlib.sha256("\n".join(sorted(set(of_btad.data))).encode()).hexdigest()
    assert {row["weights"]} == set(of_btad.weights)
    assert row["commit"] == "0123456789abcdef0123456789abcdef01234567 " + "f" * 40
    assert row["dataset_key"] == "btad"
    assert all(row[name] for row in rows for name in ORIGIN)


def test_json_and_parquet_say_the_same_as_csv(results: Path, tmp_path: Path) -> None:
    rows = rows_of(write_table(results, tmp_path / "t.csv"))
    content = json.loads(write_table(results, tmp_path / "t.json").read_text(encoding="utf-8"))
    values: list[dict[str, Any]] = [
        value
        for section in content["sections"]
        for row in section["rows"]
        for entry in row["entries"]
        for value in entry
        if value["number"] is not None
    ]
    assert [[value[name] for name in ORIGIN] for value in values] == [
        [row[name] for name in ORIGIN] for row in rows
    ]
    if importlib.util.find_spec("pyarrow") is None:
        pytest.skip("Parquet needs pyarrow: pip install '.[parquet]'")
    table = pd.read_parquet(write_table(results, tmp_path / "t.parquet"))
    assert list(table.columns) == list(rows[0])
    for name in table.columns:
        if name in ("value", "std", "exact", "low", "high", "seeds"):
            assert [None if pd.isna(value) else float(value) for value in table[name]] == [
                float(row[name]) if row[name] else None for row in rows
            ]
        else:
            assert ["" if pd.isna(value) else value for value in table[name]] == [row[name] for row in rows]
    assert table.attrs["comments"][-1] == content["footer"]


def test_parquet_without_its_library_or_a_file_is_one_line(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["table", "--results", str(results), "--format", "parquet"]
    assert main(words) == 2
    assert capsys.readouterr().err == "error: --format parquet is not for printing: name a file with --out\n"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main([*words, "--out", str(tmp_path / "t.parquet")]) == 2
    assert capsys.readouterr().err == "error: --format parquet needs pyarrow: pip install '.[parquet]'\n"
    assert not list(tmp_path.iterdir())


def test_published_numbers_have_no_origin(tmp_path: Path) -> None:
    out = tmp_path / "paper.csv"
    assert main(["table", "--published", "tipsomaly_paper", "--out", str(out)]) == 0
    assert {row[name] for row in rows_of(out) for name in ORIGIN} == {""}


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("t.tex", "% Needs"),
        ("t.txt", "Zero-shot"),
        ("t.csv", "paper,"),
        ("t.json", "{"),
        ("t", "###"),
        ("t.md", "###"),
    ],
)
def test_the_suffix_chooses_the_format_unless_one_is_named(
    results: Path, tmp_path: Path, name: str, first: str
) -> None:
    assert write_table(results, tmp_path / name).read_text(encoding="utf-8").startswith(first)
    assert (
        write_table(results, tmp_path / name, "--format", "csv")
        .read_text(encoding="utf-8")
        .startswith("paper,")
    )
