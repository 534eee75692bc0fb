"""One dataset, one identity: what shares a name never shares a cell, a mean or a row."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.demo.standin import stand_in_folders
from bench.store.cells import CellStore
from datasets.meta import open_dataset
from datasets.prepare import prepare
from tests.bench.conftest import Run, make_mvtec_layout


def found(results: Path) -> list[tuple[Any, ...]]:
    return sorted(
        (
            cell["dataset"],
            cell["class"],
            cell["key"],
            cell["counts"]["normal"],
            cell["metrics"]["image_auroc"],
        )
        for cell in CellStore(results / "runs")
    )


@pytest.mark.parametrize("names", [("a/mine", "b/mine"), ("螺丝", "螺母")])
def test_folders_of_one_name_in_one_run_are_as_in_two(
    run: Run, tmp_path: Path, names: tuple[str, str]
) -> None:
    folders = [
        make_mvtec_layout(tmp_path / name, ("nut",), count, seed=count)
        for name, count in zip(names, (3, 4), strict=True)
    ]
    assert run("run", "--methods", "chance", "--datasets", *folders, "--results", "one") == 0
    for folder in folders:
        assert run("run", "--methods", "chance", "--datasets", folder, "--results", "two") == 0
    assert found(tmp_path / "one") == found(tmp_path / "two")
    assert sorted(entry[3] for entry in found(tmp_path / "one")) == [3, 4]
    assert run("table", "--results", "one", "--datasets", folders[0], "--format", "csv") == 0


def test_two_protocols_in_one_run_are_as_in_two(run: Run, tmp_path: Path) -> None:
    stand_in_folders(tmp_path / "s", keys=("ksdd",), scale="tiny")
    raw = tmp_path / "s" / "raw"
    prepare("ksdd", raw, tmp_path / "data")
    prepare("ksdd", raw, tmp_path / "data", protocol="whole")
    words = ("run", "--methods", "chance", "--data-root", "data")
    assert run(*words, "--datasets", "ksdd", "ksdd:whole", "--results", "one") == 0
    for name in ("ksdd", "ksdd:whole"):
        assert run(*words, "--datasets", name, "--results", "two") == 0
    assert found(tmp_path / "one") == found(tmp_path / "two")
    assert len(found(tmp_path / "one")) == 2


def test_two_folders_that_claim_to_be_one_dataset_are_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [make_mvtec_layout(tmp_path / name, ("bottle",)) for name in ("a/mvtec", "b/mvtec")]
    assert open_dataset(folders[0]).key == open_dataset(folders[1]).key == "mvtec"
    assert run("run", "--methods", "chance", "--datasets", *folders, "--allow-partial") == 2
    assert f"{folders[0]} and {folders[1]} are both mvtec" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    assert (
        run("run", "--methods", "chance", "--datasets", folders[0], f"{folders[0]}/", "--allow-partial") == 0
    )
    assert len(found(tmp_path / "results")) == 1


def test_names_too_long_or_no_utf8_stop_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bytes_name = os.fsdecode(b"caf\xe9")
    folders = [
        make_mvtec_layout(tmp_path / "long", ("螺" * 80,), 2),
        make_mvtec_layout(tmp_path / ("螺" * 80), ("nut",), 2),
        make_mvtec_layout(tmp_path / bytes_name, ("nut", bytes_name), 2),
        make_mvtec_layout(tmp_path / "plain", ("nut",), 2),
    ]
    assert sys.stdout.errors == "strict"
    assert run("check", "--datasets", *folders) == 0
    assert run("run", "--methods", "chance", "--datasets", *folders) == 0
    assert len(found(tmp_path / "results")) == 5
