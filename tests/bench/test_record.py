"""Everything that a finished cell says, entry by entry."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metrics
from bench.demo.untrained import write_untrained
from bench.run.execute import execute
from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.run.protocol import MethodRequest
from bench.store.cells import CellStore
from methods.source import Source

Planner = Callable[..., Plan]


@pytest.fixture
def run(plan_for: Planner, tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Return a function that runs a plan and gives its cells by class."""

    def run(method: str, **more: Any) -> dict[str, dict[str, Any]]:
        store = CellStore(tmp_path / f"runs of {method} {more.get('source')}")
        plan = plan_for(method, force=True, **more)
        assert not plan.refused
        assert not execute(plan, store, Machine(batch_size=3)).failed
        return {cell["class"]: cell for cell in store}

    return run


def test_every_entry_of_a_cell(run: Callable[..., Any], plan_for: Planner) -> None:
    cell = run("chance")["bolt"]
    task = plan_for("chance").tasks[0]
    same = {
        "schema": 1,
        "key": task.cell.key,
        "method": "chance",
        "preset": None,
        "title": "Chance",
        "source": None,
        "protocol_source": True,
        "dataset": task.cell.dataset,
        "dataset_title": task.folder.title,
        "target": task.folder.target,
        "domain": "other",
        "levels": ["image", "pixel"],
        "class": "bolt",
        "n_classes": 2,
        "config": task.cell.config,
        "names": task.folder.names,
        "dataset_protocol": None,
        "reasons": {},
        "brackets": {},
        "also": {},
        "not_applicable": {"image": None, "pixel": None},
        "counts": {"normal": 4, "anomalous": 4},
        "marks": [],
    }
    assert {name: cell[name] for name in same} == same
    assert list(cell["metrics"]) == list(metrics.METRICS)
    assert all(0 <= value <= 1 for value in cell["metrics"].values())
    assert not cell["remarks"]
    assert {"pixel_aupro_thresholds", "pixel_aupro_largest_fpr", "pixel_f1max_threshold"} < set(
        cell["details"]
    )
    assert cell["details"]["image_count"] == 8
    assert cell["details"]["pixel_images"] == 8
    assert cell["details"]["overlap_images"] == 0
    assert [(row["image"], row["label"]) for row in cell["scores"]] == [
        (sample.name, sample.label) for sample in task.samples
    ]
    timing = cell["timing"]
    assert {"read_s", "inference_s", "metrics_s", "load_s", "images_per_s"} < set(timing)
    assert timing["batch_size"] == 3
    assert timing["peak_gpu_bytes"] is None
    # Four decimals of seconds against three of images a second.
    assert timing["images_per_s"] * timing["inference_s"] == pytest.approx(8, rel=0.05)
    assert cell["provenance"]["weights"] == {}
    assert cell["provenance"]["device_type"] == "cpu"


def test_brackets_of_streaming_metrics_are_kept(run: Callable[..., Any]) -> None:
    cell = run("chance", metrics_mode="streaming")["bolt"]
    assert set(cell["brackets"]) == {"pixel_auroc", "pixel_aupro_exact", "pixel_f1max", "pixel_ap"}
    for name, (low, high) in cell["brackets"].items():
        assert low <= cell["metrics"][name] <= high
    assert cell["reasons"] == {"pixel_aupro": "not in streaming mode"}


def test_levels_that_do_not_apply_say_why(run: Callable[..., Any], data: Path) -> None:
    shutil.rmtree(data / "gear" / "ground_truth")
    for image in (data / "bolt" / "test" / "good").iterdir():
        image.unlink()
    cells = run("chance")
    bolt, gear = cells["bolt"], cells["gear"]
    assert bolt["not_applicable"]["image"]
    assert bolt["reasons"]["image_auroc"] == bolt["not_applicable"]["image"]
    assert bolt["metrics"]["image_auroc"] is bolt["metrics"]["image_ap"] is None
    assert gear["not_applicable"]["pixel"]
    assert gear["reasons"]["pixel_ap"] == gear["not_applicable"]["pixel"]
    assert gear["metrics"]["image_auroc"] is not None
    assert "pixel_images" not in gear["details"]


@pytest.mark.parametrize(("source", "own"), [(None, True), ("visa", False), ("mvtec+visa", False)])
def test_a_cell_says_whether_its_source_was_the_protocols(
    run: Callable[..., Any], tmp_path: Path, source: str | None, own: bool
) -> None:
    chosen = Source.parse(source) if source else None
    write_untrained(MethodRequest("vand", "mini"), ["something"], tmp_path / "weights", source=chosen)
    for cell in run("vand:mini", source=source).values():
        assert cell["protocol_source"] is own
        assert cell["source"].partition("~")[0] == (source or "mvtec")
        assert set(cell["provenance"]["weights"]) == {"vision", "learned"}
        assert "untrained" in cell["marks"]
