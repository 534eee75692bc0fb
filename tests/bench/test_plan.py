"""What a plan says of the work before any is done."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.run.plan import Permissions, Plan, Refusal, summary
from methods.registry import find
from metrics import memory_estimate
from tests.bench.conftest import make_mvtec_layout

Planner = Callable[..., Plan]
PIXELS = 224**2


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Return a dataset of three classes with 4, 8 and 12 images."""
    for name, count in (("few", 2), ("some", 4), ("many", 6)):
        make_mvtec_layout(tmp_path / "uneven", (name,), count)
    return tmp_path / "uneven"


def test_metrics_memory_is_that_of_the_two_largest_classes(plan_for: Planner, uneven: Path) -> None:
    plan = plan_for("chance", folder=uneven)
    assert plan.metrics_memory() == memory_estimate(8 * PIXELS) + memory_estimate(12 * PIXELS)
    alone = dataclasses.replace(plan, tasks=plan.tasks[:1])
    assert alone.metrics_memory() == memory_estimate(len(plan.tasks[0].samples) * PIXELS)
    assert Plan().metrics_memory() == 0


def test_metrics_memory_follows_settings_and_size(plan_for: Planner, uneven: Path) -> None:
    streaming = plan_for("chance", folder=uneven, metrics_mode="streaming")
    assert streaming.metrics_memory() == 2 * memory_estimate(1, "streaming")
    limited = plan_for("chance", folder=uneven, limit=3)
    assert limited.metrics_memory() == 2 * memory_estimate(3 * PIXELS)
    small = plan_for("chance", folder=uneven, overrides={"image_size": "32"})
    assert small.metrics_memory() == memory_estimate(8 * 32**2) + memory_estimate(12 * 32**2)


def test_classes_without_masks_take_no_metrics_memory(plan_for: Planner, uneven: Path) -> None:
    shutil.rmtree(uneven / "many" / "ground_truth")
    plan = plan_for("chance", folder=uneven)
    assert plan.metrics_memory() == memory_estimate(4 * PIXELS) + memory_estimate(8 * PIXELS)


def test_the_summary_tells_the_hours_of_comparing_images(
    plan_for: Planner, uneven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        find("chance"), "judge_flops", classmethod(lambda cls, options, count: 1e16 * count), raising=False
    )
    plan = plan_for("chance", folder=uneven, limit=8)
    assert plan.judge_flops() == pytest.approx(1e16 * (4 + 8 + 8))
    (line,) = (line for line in summary(plan).splitlines() if "comparing" in line)
    assert "takes 200.00 PFLOP" in line
    assert line.endswith("about 1.39 hours on a GPU at 40 TFLOP/s, or 926 hours on a CPU core at 60 GFLOP/s")


def test_the_summary_counts_cells_and_images(plan_for: Planner, uneven: Path) -> None:
    plan = plan_for("chance", "oracle", folder=uneven)
    assert plan.n_images == 2 * 24
    text = summary(plan).splitlines()
    assert text[0] == "6 cells wanted, 0 here already, 6 to compute (48 images)"
    assert text[1:3] == ["     3 cells  chance", "     3 cells  oracle"]
    mebibytes = round(plan.metrics_memory() / 2**20)
    assert text[3] == f"  metrics need at most {mebibytes} MiB beside the model"
    assert not any("comparing" in line for line in text)
    assert summary(Plan()) == "0 cells wanted, 0 here already, 0 to compute (0 images)"


def test_the_summary_tells_refusals_and_warnings() -> None:
    plan = Plan(refused=(Refusal("vand", "visa", "weights missing"),), warnings=("visa: a mask is grey",))
    assert summary(plan).splitlines()[1:] == [
        "refused: vand on visa: weights missing", "warning: visa: a mask is grey"
    ]  # fmt: skip


def test_nothing_is_allowed_unless_said() -> None:
    assert Permissions() == Permissions(seen=False, partial=False)


@pytest.mark.parametrize(("index", "count"), [(0, 3), (4, 3), (-1, 3), (1, 0)])
def test_shards_are_counted_from_one(index: int, count: int) -> None:
    with pytest.raises(BenchError, match=f"--shard {index}/{count}: the first number goes from 1 to {count}"):
        Plan().shard(index, count)


def test_a_limit_takes_evenly_spaced_images(plan_for: Planner, uneven: Path) -> None:
    def chosen(limit: int | None) -> list[list[str]]:
        plan = plan_for("chance", folder=uneven, limit=limit)
        return [[sample.name.partition("test/")[2] for sample in task.samples] for task in plan.tasks]

    few, many, some = chosen(3)
    assert few == ["good/000.png", "good/001.png", "spot/000.png"]
    assert many == ["good/000.png", "good/004.png", "spot/002.png"]
    assert some == ["good/000.png", "good/002.png", "spot/001.png"]
    assert [len(names) for names in chosen(8)] == [4, 8, 8]
    assert [len(names) for names in chosen(None)] == [4, 12, 8]
