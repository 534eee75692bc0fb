"""From folders to cells: what is computed, skipped, refused, recorded."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from bench.errors import BenchError
from bench.run.execute import Listener, execute
from bench.run.machine import Machine
from bench.run.plan import summary
from bench.run.record import remetric
from bench.store.cells import CellId, CellStore
from bench.store.digests import sha256

CPU = Machine(batch_size=3, workers=2)


def cells(root: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(cell["method"], cell["class"]): cell for cell in CellStore(root)}


def without_timing(cell: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if name not in ("timing", "provenance")}


def test_oracle_is_perfect_and_chance_is_not(plan_for: Any, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    outcome = execute(plan_for("oracle", "chance"), store, CPU)
    assert not outcome.failed
    found = cells(store.root)
    assert set(found) == {(method, name) for method in ("oracle", "chance") for name in ("bolt", "gear")}
    for name in ("bolt", "gear"):
        metrics = found["oracle", name]["metrics"]
        for key in ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_f1max", "pixel_ap"):
            assert metrics[key] == pytest.approx(1.0, abs=1e-12), key
        assert metrics["pixel_aupro_exact"] == pytest.approx(1.0, abs=1e-12)
        assert 0.3 < found["chance", name]["metrics"]["pixel_auroc"] < 0.7
        assert "privileged" in found["oracle", name]["marks"]


def test_a_cell_holds_what_its_numbers_rest_on(plan_for: Any, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance"), store, CPU)
    cell = cells(store.root)["chance", "bolt"]
    assert cell["counts"] == {"normal": 4, "anomalous": 4}
    assert len(cell["scores"]) == 8
    assert cell["metrics"]["image_auroc"] == pytest.approx(
        roc_auc_score([row["label"] for row in cell["scores"]], [row["score"] for row in cell["scores"]])
    )
    assert cell["config"]["prompt"] == "bolt"
    assert len(cell["config"]["data"]) == 64
    assert cell["provenance"]["packages"]["torch"]
    assert cell["timing"]["inference_s"] > 0


def test_finished_cells_are_skipped_and_missing_ones_made(plan_for: Any, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance"), store, CPU)
    again = plan_for("chance")
    assert (len(again.tasks), len(again.done)) == (0, 2)
    store.path(again.done[0]).unlink()
    assert [task.cell for task in plan_for("chance").tasks] == [again.done[0]]
    assert len(plan_for("chance", force=True).tasks) == 2


@pytest.mark.parametrize(
    "change", [{"limit": 4}, {"mask_threshold": 127}, {"masks": "native"}, {"precision": "bfloat16"}]
)
def test_settings_that_change_numbers_make_other_cells(
    plan_for: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    execute(plan_for("chance"), CellStore(tmp_path / "runs"), CPU)
    assert len(plan_for("chance", **change).tasks) == 2


def test_changed_data_make_other_cells(plan_for: Any, tmp_path: Path, data: Path) -> None:
    execute(plan_for("chance"), CellStore(tmp_path / "runs"), CPU)
    picture = data / "bolt" / "test" / "good" / "000.png"
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(picture)
    assert [task.cell.class_key for task in plan_for("chance").tasks] == ["bolt"]


def test_batch_size_and_workers_change_nothing(plan_for: Any, tmp_path: Path) -> None:
    found = []
    for batch_size, workers in ((1, 0), (3, 1), (8, 4)):
        store = CellStore(tmp_path / f"runs{batch_size}")
        execute(plan_for("chance", force=True), store, Machine(batch_size=batch_size, workers=workers))
        found.append({key: without_timing(cell) for key, cell in cells(store.root).items()})
    assert found[0] == found[1] == found[2]


def test_a_broken_image_fails_its_class_only(plan_for: Any, tmp_path: Path, data: Path) -> None:
    broken = data / "bolt" / "test" / "spot" / "001.png"
    broken.write_bytes(broken.read_bytes()[:100])
    store = CellStore(tmp_path / "runs")
    outcome = execute(plan_for("chance"), store, CPU)
    assert [(cell.class_key, "001.png" in reason) for cell, reason in outcome.failed] == [("bolt", True)]
    assert set(cells(store.root)) == {("chance", "gear")}
    (record,) = store.root.rglob("*.failed.json")
    assert "001.png" in json.loads(record.read_text())["reason"]
    assert [task.cell.class_key for task in plan_for("chance").tasks] == ["bolt"], "it is tried again"


def test_an_image_that_cannot_be_read_is_refused_with_its_class_only(
    plan_for: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(path: Path) -> str:
        if path.parts[-4:] == ("bolt", "test", "good", "000.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return sha256(path)

    monkeypatch.setattr("tests.bench.conftest.sha256", digest)
    plan = plan_for("chance")
    assert [task.cell.class_key for task in plan.tasks] == ["gear"]
    (refusal,) = plan.refused
    assert refusal.dataset.endswith("/bolt")
    assert "Permission denied" in refusal.reason and "000.png" in refusal.reason


@pytest.mark.parametrize("changed", ["test/good/000.png", "ground_truth/spot/000_mask.png"])
def test_data_that_change_between_planning_and_reading_fail_their_cell(
    plan_for: Any, tmp_path: Path, data: Path, changed: str
) -> None:
    plan = plan_for("chance")
    Image.fromarray(np.full((40, 56), 90, np.uint8)).save(data / "bolt" / changed)
    store = CellStore(tmp_path / "runs")
    outcome = execute(plan, store, CPU)
    assert [(cell.class_key, "changed since" in reason) for cell, reason in outcome.failed] == [
        ("bolt", True)
    ]
    assert set(cells(store.root)) == {("chance", "gear")}


def test_missing_weights_are_refused_before_anything_runs(plan_for: Any) -> None:
    plan = plan_for("tipsomaly", "chance")
    assert [(refusal.method, "weights missing" in refusal.reason) for refusal in plan.refused] == [
        ("tipsomaly", True)
    ]
    assert len(plan.tasks) == 2
    assert "run_bench.py weights --methods tipsomaly --fetch" in summary(plan)


def test_shards_are_disjoint_and_complete(plan_for: Any) -> None:
    plan = plan_for("chance", "oracle")
    parts = [plan.shard(index, 3) for index in (1, 2, 3)]
    found = [task.cell.key for part in parts for task in part.tasks]
    assert sorted(found) == sorted(task.cell.key for task in plan.tasks)
    here, missing = ([task for task in plan.tasks if (task.data.key == "bolt") is it] for it in (True, False))
    later = replace(plan, tasks=tuple(missing), done=tuple(task.cell for task in here))
    for index, part in enumerate(parts, 1):
        wanted = later.shard(index, 3).wanted
        assert {cell.key for cell in wanted} == {cell.key for cell in part.wanted}
    with pytest.raises(BenchError, match="--shard 4/3"):
        plan.shard(4, 3)


def test_a_limit_takes_both_labels_and_marks_the_cell(plan_for: Any, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance", limit=4), store, CPU)
    for cell in cells(store.root).values():
        assert cell["counts"] == {"normal": 2, "anomalous": 2}
        assert "partial" in cell["marks"]


def test_without_masks_pixel_metrics_are_null_with_a_reason(
    plan_for: Any, tmp_path: Path, data: Path
) -> None:
    for name in ("bolt", "gear"):
        for mask in (data / name / "ground_truth" / "spot").iterdir():
            mask.unlink()
    store = CellStore(tmp_path / "runs")
    execute(plan_for("oracle"), store, CPU)
    for cell in cells(store.root).values():
        assert cell["metrics"]["image_auroc"] == 1.0
        assert cell["metrics"]["pixel_auroc"] is None
        assert "no mask" in cell["reasons"]["pixel_auroc"]


def test_odd_masks_are_remarked_on_in_the_cell_and_heard(plan_for: Any, tmp_path: Path, data: Path) -> None:
    Image.fromarray(np.full((40, 56), 2, np.uint8)).save(data / "bolt/ground_truth/spot/001_mask.png")
    heard: list[tuple[str, str]] = []

    class Ear(Listener):
        def remark(self, cell: CellId, text: str) -> None:
            heard.append((cell.class_key, text))

    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance"), store, CPU, Ear())
    text = "1 masks that cover the whole image (spot/001_mask.png)"
    assert heard == [("bolt", text)]
    found = cells(store.root)
    assert found["chance", "bolt"]["remarks"] == [text]
    assert found["chance", "gear"]["remarks"] == []


def test_native_masks_are_evaluated_at_their_own_size(plan_for: Any, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance", masks="native"), store, CPU)
    for cell in cells(store.root).values():
        assert cell["details"]["pixel_count"] == 8 * 40 * 56
        assert cell["preset"] == "native masks"


def test_remetric_recomputes_image_metrics_from_scores(plan_for: Any, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    execute(plan_for("chance"), store, CPU)
    before = cells(store.root)
    done = plan_for("chance").done
    for identity in done:
        cell = store.read(identity)
        assert cell is not None
        cell["metrics"]["image_auroc"] = 0.123
        store.write(identity, cell)
    assert remetric(done, store) == 2
    assert cells(store.root) == before
