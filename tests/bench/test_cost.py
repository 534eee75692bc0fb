"""What past cells say of the cost of a plan."""

from pathlib import Path
from typing import Any

import pytest

from bench.run.cost import Rates, forecast
from bench.store.cells import CellStore


def cell(method: str, seconds: float, images: int, device: str = "X", **more: Any) -> dict[str, Any]:
    kind = "cuda" if "GPU" in device else "cpu"
    return {
        "method": method,
        "preset": more.get("preset"),
        "timing": {"inference_s": seconds - 1, "metrics_s": 1.0, "peak_gpu_bytes": more.get("peak")},
        "provenance": {"device": device, "device_type": kind},
        "scores": [{}] * images,
    }


def test_hours_are_images_by_the_median_rate_of_each_device(plan_for: Any) -> None:
    plan = plan_for("chance", "oracle")  # 16 images each
    cells = [cell("chance", seconds, 10) for seconds in (9000.0, 900.0, 4500.0)]
    lines = forecast(plan, Rates.measured([*cells, cell("chance", 225.0, 1, "a GPU", peak=3 << 30)]))
    assert lines[0] == "by past cells 2 hours on one worker with X, without oracle: 16 images"
    assert lines[1] == (
        "by past cells 1 hours on one worker with a GPU, 1 GPU hours, at most 3.0 GiB of its memory, "
        "without oracle: 16 images"
    )
    assert lines[2] == "no past cell tells how long these take: oracle: 16 images"
    assert lines[3].startswith("cells will take about 0.0")
    assert len(lines) == 4


def test_another_column_s_rate_is_not_borrowed(plan_for: Any) -> None:
    rates = Rates.measured([cell("chance", 100.0, 10, preset="seed=1")])
    assert "no past cell tells how long these take: chance: 16 images" in forecast(plan_for("chance"), rates)
    own = forecast(plan_for("chance", overrides={"seed": "1"}), rates)
    assert own[0] == "by past cells 0.0444 hours on one worker with X"


def test_without_past_cells_nothing_is_guessed(plan_for: Any, tmp_path: Path) -> None:
    plan = plan_for("chance")
    rates = Rates.of(plan, CellStore(tmp_path / "none"))
    assert forecast(plan, rates) == ["no past cell tells how long these take: chance: 16 images"]
    assert rates.weight(plan.tasks[0], "cpu") == 8  # images
    assert Rates.measured([{"method": "chance"}, cell("chance", 1.0, 0)]) == Rates()


def test_units_weigh_seconds_and_those_without_a_rate_the_usual_ones(plan_for: Any) -> None:
    rates = Rates.measured(
        [cell("chance", 20.0, 10), cell("vand", 60.0, 10), cell("oracle", 9.0, 1, "a GPU")]
    )
    chance, oracle = (plan_for(method).tasks[0] for method in ("chance", "oracle"))
    assert rates.weight(chance, "cpu") == pytest.approx(16.0)
    assert rates.weight(oracle, "cpu") == pytest.approx(32.0)
    assert rates.weight(oracle, "cuda") == pytest.approx(72.0)
