"""Several processes of one machine: the same cells, whatever ends in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.errors import BenchError
from bench.run.engines.cells import execute_on
from bench.run.engines.driver import Engine
from bench.run.engines.processes import ProcessPool
from bench.run.execute import Listener, Outcome, execute
from bench.run.machine import Machine
from bench.run.plan import Plan
from bench.store.cells import CellStore
from tests.bench.conftest import make_mvtec_layout
from tests.bench.engines.conftest import ForkedPool, numbers

ROOT = Path(__file__).resolve().parents[3]
CPU = Machine(batch_size=3, workers=1)


class Heard(Listener):
    def __init__(self) -> None:
        self.n_images, self.failures, self.remarks = 0, list[str](), list[str]()

    def images(self, count: int) -> None:
        self.n_images += count

    def engine(self, text: str) -> None:
        self.remarks.append(text)

    def failure(self, cell: Any, reason: str, trace: str) -> None:
        self.failures.append(f"{cell.class_key}: {reason}")


def on_processes(
    plan: Plan,
    results: Path,
    count: int = 2,
    *,
    kind: type[ProcessPool] = ForkedPool,
    collect: bool = False,
    listener: Heard | None = None,
) -> tuple[Outcome, list[str]]:
    listener = listener or Heard()
    pool = partial(kind, devices=["cpu"] * count)
    engine = Engine(pool, {"weights": results.parent / "weights", "results": results}, collect)
    outcome = execute_on(engine, plan, CellStore(results), CPU, listener)
    return outcome, listener.remarks


def test_two_processes_write_the_cells_of_one(plan_for: Any, tmp_path: Path) -> None:
    plan, heard = plan_for("chance", "oracle"), Heard()
    execute(plan, CellStore(tmp_path / "alone"), CPU)
    (tmp_path / "runs").mkdir()
    outcome, remarks = on_processes(plan, tmp_path / "runs", kind=ProcessPool, listener=heard)
    assert (len(outcome.finished), outcome.failed, remarks) == (4, [], [])
    assert numbers(tmp_path / "runs") == numbers(tmp_path / "alone")
    assert heard.n_images == plan.n_images
    assert [path for path in (tmp_path / "runs").iterdir() if path.is_file()] == []
    outcome, _ = on_processes(plan, tmp_path / "sent", 1, collect=True)
    assert numbers(tmp_path / "sent") == numbers(tmp_path / "alone")
    assert len(outcome.finished) == 4


@pytest.mark.parametrize("collect", [False, True])
def test_a_cell_that_fails_is_recorded_with_its_trace(
    plan_for: Any, fragile: Path, tmp_path: Path, collect: bool
) -> None:
    (fragile / "nut").write_text("!")
    data, heard = make_mvtec_layout(tmp_path / "more", ("bolt", "nut")), Heard()
    (tmp_path / "runs").mkdir()
    outcome, _ = on_processes(
        plan_for("fragile", folder=data), tmp_path / "runs", 1, collect=collect, listener=heard
    )
    assert [cell.class_key for cell in outcome.finished] == ["bolt"]
    assert heard.failures == ["nut: RuntimeError: in trouble"]
    (path,) = (tmp_path / "runs").rglob("*.failed.json")
    assert 'raise RuntimeError("in trouble")' in json.loads(path.read_text())["trace"]


def test_a_class_that_ends_its_worker_once_is_done_and_twice_is_recorded(
    plan_for: Any, fragile: Path, tmp_path: Path
) -> None:
    data = make_mvtec_layout(tmp_path / "more", ("bolt", "gear", "nut", "pin"))
    plan = plan_for("fragile", folder=data)
    (fragile / "nut").write_text(".")
    (fragile / "gear").write_text("..")
    outcome, remarks = on_processes(plan, tmp_path / "runs")
    assert sorted(cell.class_key for cell in outcome.finished) == ["bolt", "nut", "pin"]
    ((failed, reason),) = outcome.failed
    assert failed.class_key == "gear"
    assert "worker ended 2 times over it, the last time so: killed by SIGKILL" in reason
    assert json.loads(next((tmp_path / "runs").rglob("*.failed.json")).read_text())["reason"] == reason
    assert "killed by SIGKILL" in remarks[0]
    outcome, _ = on_processes(plan_for("fragile", folder=data), tmp_path / "runs")  # it ends nobody any more
    assert [cell.class_key for cell in outcome.finished] == ["gear"]
    execute(plan, CellStore(tmp_path / "alone"), CPU)
    assert numbers(tmp_path / "runs") == numbers(tmp_path / "alone")


def test_files_that_changed_since_the_plan_are_refused_before_work(
    plan_for: Any, fragile: Path, data: Path, tmp_path: Path
) -> None:
    plan = plan_for("chance")
    shutil.copy(data / "bolt/test/good/000.png", data / "gear/test/good/000.png")
    outcome, remarks = on_processes(plan, tmp_path / "runs", 1)
    assert [cell.class_key for cell in outcome.finished] == ["bolt"]
    assert "no node has its files as planned" in outcome.failed[0][1]
    assert "files of gear in" in remarks[0]
    plan = plan_for("fragile")
    with (fragile / "fragile.py").open("a") as file:
        file.write("# edited\n")
    outcome, _ = on_processes(plan, tmp_path / "runs", 1, kind=ProcessPool)  # a fork would know the old one
    assert "the method fragile is another file" in outcome.failed[0][1]


def test_a_run_ends_where_cells_cannot_be_written(plan_for: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/chance").write_text("in the way")
    with pytest.raises(BenchError, match=r"no worker is left .*cannot write .*--results"):
        on_processes(plan_for("chance"), tmp_path / "runs", 1)


def _children(pid: int) -> set[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(word) for word in found.read_text().split()} if found.exists() else set()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes in /proc")
def test_a_driver_killed_leaves_no_worker_and_loses_nothing(
    fragile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_mvtec_layout(tmp_path / "more", tuple(f"part{index}" for index in range(8)))
    words = ["run", "--methods", "fragile", "--methods-path", str(fragile), "--datasets", str(data)]
    words += ["--results", str(tmp_path / "results"), "--device"]
    command = [sys.executable, str(ROOT / "run_bench.py"), *words, "cpu,cpu"]
    slow = os.environ | {"FRAGILE_SECONDS": "0.5", "ZSAD_CACHE": str(tmp_path / "cache")}
    first = subprocess.Popen(command, env=slow, stdout=subprocess.DEVNULL)
    store = CellStore(tmp_path / "results" / "runs")
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and first.poll() is None and len(list(store)) < 2:
        time.sleep(0.05)
    workers = _children(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert len(workers) >= 2
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}
    assert 2 <= len(before) < 8
    assert main([*words, "cpu"]) == 0
    assert f"{8 - len(before)} cells written" in capsys.readouterr().out
    assert before.items() <= {path: path.stat().st_mtime_ns for path in store.root.rglob("*.json")}.items()
