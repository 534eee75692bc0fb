"""Reading results: edited cells are refused, and all numbers come as one tidy data frame."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metrics
from bench.cli import main
from bench.cli.common import cell_dataset_keys
from bench.errors import BenchError
from bench.results import COLUMNS, frame, read
from bench.store.cells import CellId, CellStore

LABELS, SCORES = [0, 0, 0, 1, 1], [0.1, 0.4, 0.2, 0.3, 0.9]
AP = metrics.image_metrics(np.array(LABELS), np.array(SCORES, np.float32)).values["image_ap"]


def content(dataset: str = "screws", class_key: str = "m4", **changes: Any) -> dict[str, Any]:
    report = metrics.image_metrics(np.array(LABELS), np.array(SCORES, np.float32))
    values, reasons = metrics.undefined("pixel", "no masks")
    return {
        "method": "vand",
        "preset": None,
        "title": "VAND",
        "source": "mvtec~7",
        "protocol_source": False,
        "setting": "inductive",
        "dataset": dataset,
        "dataset_title": dataset.upper(),
        "target": dataset,
        "domain": "other",
        "levels": ["image"],
        "class": class_key,
        "n_classes": 1,
        "config": {
            "method_version": 1,
            "options": {"image_size": 518},
            "precision": "float32",
            "prompt": class_key,
            "weights": {"vision": "ab", "learned": "cd"},
            "data": f"data of {dataset}/{class_key}",
            "protocol": {"metrics_version": metrics.VERSION, "limit": None},
        },
        "names": "meta",
        "dataset_protocol": None,
        "metrics": {**report.values, **values},
        "reasons": {**report.reasons, **reasons},
        "details": {},
        "not_applicable": {"image": None, "pixel": "no masks"},
        "counts": {"normal": 3, "anomalous": 2},
        "marks": ["partial", "overlap"],
        "scores": [
            {"image": f"{index}.png", "label": label, "score": score}
            for index, (label, score) in enumerate(zip(LABELS, SCORES, strict=True))
        ],
        "timing": {"images_per_s": 12.5, "peak_gpu_bytes": None},
        "provenance": {"commit": "0123456789", "dirty": False, "started": "2025-11-23T10:00:00+00:00"},
        **changes,
    }


def write(root: Path, cell: dict[str, Any]) -> Path:
    identity = CellId(cell["method"], cell["source"], cell["dataset"], cell["class"], cell["config"])
    return CellStore(root / "runs").write(identity, cell)


def test_a_row_for_each_cell_and_metric(tmp_path: Path) -> None:
    write(tmp_path, content())
    write(tmp_path, content("nuts", "hex", source=None, protocol_source=True, marks=[]))
    numbers = frame(tmp_path)
    assert tuple(numbers.columns) == COLUMNS
    assert len(numbers) == 2 * len(content()["metrics"])
    (auroc,) = numbers[
        (numbers["dataset"] == "screws") & (numbers.level == "image") & (numbers.metric == "auroc")
    ].to_dict("records")
    auroc = {name: None if pd.isna(value) else value for name, value in auroc.items()}
    assert auroc == {
        "method": "vand", "title": "VAND", "variant": None, "setting": "inductive", "source": "mvtec",
        "seed": "7", "protocol_source": False, "dataset": "screws", "dataset_title": "SCREWS",
        "target": "screws", "domain": "other", "class": "m4", "level": "image", "metric": "auroc",
        "value": content()["metrics"]["image_auroc"], "reason": None, "marks": "partial overlap",
        "normal": 3, "anomalous": 2, "images_per_s": 12.5, "peak_gpu_bytes": None,
        "data": "data of screws/m4", "weights": "learned:cd vision:ab", "precision": "float32",
        "commit": "0123456789", "started": "2025-11-23T10:00:00+00:00", "key": auroc["key"],
    }  # fmt: skip
    undefined = numbers[(numbers["dataset"] == "nuts") & (numbers.level == "pixel")]
    assert undefined.value.isna().all()
    assert set(undefined.reason) == {"no masks"}
    assert undefined.source.isna().all()
    assert set(undefined.marks) == {""}


def test_marks_of_one_metric_and_of_the_setting_are_in_the_frame(tmp_path: Path) -> None:
    cell = content(marks=[], setting="transductive", details={"pixel_aupro_few_thresholds": True})
    cell["metrics"]["pixel_aupro"] = 0.5
    write(tmp_path, cell)
    numbers = frame(tmp_path)
    marks = dict(zip(numbers.level + "_" + numbers.metric, numbers.marks, strict=True))
    assert marks["pixel_aupro"] == "transductive few-thresholds"
    assert marks["pixel_auroc"] == marks["image_ap"] == "transductive"


def test_no_results_are_an_empty_frame(tmp_path: Path) -> None:
    assert tuple(frame(tmp_path).columns) == COLUMNS
    assert frame(tmp_path).empty


@pytest.mark.parametrize(
    ("metric", "value", "says"),
    [
        ("image_auroc", 17.5, "image_auroc is 17.5, not a fraction of one"),
        ("pixel_auroc", -3, "pixel_auroc is -3, not a fraction of one"),
        ("pixel_auroc", -0.001, "pixel_auroc is -0.001"),
        ("pixel_ap", math.nextafter(1, 2), "pixel_ap is 1.0000000000000002"),
        ("pixel_ap", math.inf, "pixel_ap is inf"),
        ("pixel_ap", math.nan, "pixel_ap is nan"),
        ("pixel_ap", "0.5", "pixel_ap is '0.5'"),
        ("pixel_ap", True, "pixel_ap is True"),
        ("image_ap", 0.5, "image_ap is 0.5, but its scores give 0.8"),
        ("image_ap", None, "image_ap is None, but its scores give 0.8"),
        ("image_ap", AP + 1e-5, "image_ap is 0.8"),
        ("image_ap", AP - 1e-5, "image_ap is 0.8"),
    ],
)
def test_edited_metrics_are_refused_with_their_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str, value: Any, says: str
) -> None:
    path = write(tmp_path, content())
    cell = json.loads(path.read_text())
    cell["metrics"][metric] = value
    path.write_text(json.dumps(cell))
    with pytest.raises(BenchError) as caught:
        read(CellStore(tmp_path / "runs"))
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "repeat its `run` command" in str(caught.value)
    for verb in (["table"], ["compare", "--methods", "vand", "winclip"]):
        assert main([*verb, "--results", str(tmp_path)]) == 2
        assert says in capsys.readouterr().err


def _ends_of_the_range(cell: dict[str, Any]) -> None:
    cell["metrics"] |= {"pixel_ap": 1, "pixel_auroc": 0}


def _noise_of_another_machine(cell: dict[str, Any]) -> None:
    cell["metrics"]["image_ap"] += 1e-7


def _no_scores(cell: dict[str, Any]) -> None:
    del cell["scores"]


def _scores_that_are_ties_in_float32(cell: dict[str, Any]) -> None:
    cell["scores"][0]["score"] = cell["scores"][3]["score"] + 1e-10
    scores = np.array([row["score"] for row in cell["scores"]], np.float32)
    cell["metrics"] |= metrics.image_metrics(np.array(LABELS), scores).values


def _no_image_level(cell: dict[str, Any]) -> None:
    cell["not_applicable"]["image"] = "pixel level only"
    cell["metrics"] |= metrics.undefined("image", "pixel level only")[0]


def _one_label(cell: dict[str, Any]) -> None:
    cell["scores"] = cell["scores"][:3]
    cell["metrics"] |= metrics.undefined("image", "one class")[0]


@pytest.mark.parametrize(
    "change",
    [
        _ends_of_the_range,
        _noise_of_another_machine,
        _no_scores,
        _scores_that_are_ties_in_float32,
        _no_image_level,
        _one_label,
    ],
)
def test_what_is_no_edit_is_read(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    cell = content()
    change(cell)
    write(tmp_path, cell)
    assert len(read(CellStore(tmp_path / "runs"))) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"marks": ["seen", "perfect"]}, "unknown mark 'perfect'"),
        ({"setting": "clairvoyant"}, "unknown mark 'clairvoyant'"),
        ({"metrics": None}, "AttributeError"),
        ({"scores": [{"image": "a.png", "label": 3, "score": 0.5}]}, "its label 3 is not 0 or 1"),
        ({"scores": [{"image": "a.png", "score": 0.5}]}, "KeyError 'label'"),
    ],
)
def test_damaged_cells_are_refused_with_their_file(tmp_path: Path, changes: Any, says: str) -> None:
    path = write(tmp_path, content(**changes))
    with pytest.raises(BenchError) as caught:
        read(CellStore(tmp_path / "runs"))
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metrics_of_another_version_are_not_recomputed(tmp_path: Path) -> None:
    cell = content()
    cell["config"]["protocol"]["metrics_version"] = metrics.VERSION - 1
    cell["metrics"]["image_ap"] = 0.5
    write(tmp_path, cell)
    assert read(CellStore(tmp_path / "runs"))[0]["metrics"]["image_ap"] == 0.5


def test_cells_of_an_older_version_ask_for_their_run_again(tmp_path: Path) -> None:
    write(tmp_path, content("nuts"))
    old = [content("screws", name) for name in ("m4", "m5")]
    for cell in old:
        del cell["setting"]
    paths = [write(tmp_path, cell) for cell in old]
    with pytest.raises(
        BenchError, match=r"2 cells, such as .*m4.*, were written by an older version; repeat"
    ):
        read(CellStore(tmp_path / "runs"))
    assert paths[0].exists()


@pytest.mark.parametrize(
    ("word", "keys"),
    [
        ("screws", ["screws"]),
        ("SCREWS", ["screws"]),
        ("Images", ["images-1", "images-2"]),
        ("MVTec", ["standin_mvtec"]),
        ("mvtec", ["standin_mvtec"]),
        ("standin_mvtec", ["standin_mvtec"]),
        ("visa", ["visa"]),
        ("VisA", ["visa"]),
    ],
)
def test_shown_names_of_datasets_can_be_typed_back(word: str, keys: list[str]) -> None:
    cells = [
        content("screws"),
        content("images-1", dataset_title="images"),
        content("images-2", dataset_title="images"),
        content("standin_mvtec", target="mvtec", dataset_title="MVTec"),
        content("standin_visa", target="visa", dataset_title="VisA"),
        content("visa", dataset_title="VisA"),
    ]
    assert cell_dataset_keys([word, word], cells) == keys


def test_groups_mean_the_stand_ins_where_there_is_nothing_else() -> None:
    cells = [content("standin_btad", target="btad", dataset_title="BTAD")]
    keys = cell_dataset_keys(["industrial"], cells)
    assert "standin_btad" in keys
    assert "btad" not in keys
    assert "visa" in keys
