"""The cell store: whole or not at all, found again by what can change a number and by nothing else."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.store.cells import CellId, CellStore, identify, write_json

CONFIG = {"options": {"sigma": 4}, "precision": "float32", "weights": {"vision": "ab"}, "data": "cd"}


def cell(**changes: Any) -> CellId:
    fields = {"method": "m", "source": "mvtec", "dataset": "visa", "class_key": "candle", "config": CONFIG}
    return CellId(**{**fields, **changes})


def content(identity: CellId) -> dict[str, Any]:
    return {
        "method": identity.method,
        "source": identity.source,
        "dataset": identity.dataset,
        "class": identity.class_key,
        "config": dict(identity.config),
        "metrics": {"image_auroc": 0.5},
    }


def test_a_written_cell_is_read_back(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    assert store.read(cell()) is None
    path = store.write(cell(), content(cell()))
    assert path == store.path(cell())
    found = store.read(cell())
    assert found is not None
    assert found["metrics"] == {"image_auroc": 0.5}
    assert identify(found) == cell()
    assert [each["key"] for each in store] == [cell().key]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "other"},
        {"source": None},
        {"dataset": "mvtec"},
        {"class_key": "pcb1"},
        {"config": {**CONFIG, "options": {"sigma": 0}}},
        {"config": {**CONFIG, "precision": "bfloat16"}},
        {"config": {**CONFIG, "weights": {"vision": "other"}}},
        {"config": {**CONFIG, "data": "other"}},
    ],
)
def test_whatever_changes_numbers_changes_the_key(changes: dict[str, Any], tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.write(cell(), content(cell()))
    assert cell(**changes).key != cell().key
    assert store.read(cell(**changes)) is None


def test_the_order_of_options_does_not_change_the_key() -> None:
    assert cell(config=dict(reversed(CONFIG.items()))).key == cell().key


@pytest.mark.parametrize("tail", [0, 1, 10, -3])
def test_a_torn_file_is_no_cell(tail: int, tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    path = store.write(cell(), content(cell()))
    whole = path.read_bytes()
    path.write_bytes(whole[:tail])
    assert store.read(cell()) is None
    assert list(store) == []


def test_a_cell_under_another_key_or_schema_is_no_cell(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    path = store.write(cell(), content(cell()))
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "schema": 0}))
    assert store.read(cell()) is None
    path.write_text(json.dumps({**found, "key": "0123456789"}))
    assert store.read(cell()) is None


def test_an_edited_cell_is_noticed(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.write(cell(), {**content(cell()), "class": "pcb1"})
    (found,) = store
    with pytest.raises(BenchError, match="does not hash to its key"):
        identify(found)


@pytest.mark.parametrize("name", ["../../escape", "a/b", "", ".", "..", "zu Hause", "电路"])
def test_any_class_name_stays_below_the_root(name: str, tmp_path: Path) -> None:
    store = CellStore(tmp_path / "runs")
    path = store.write(cell(class_key=name), content(cell(class_key=name)))
    assert (tmp_path / "runs").resolve() in path.resolve().parents
    assert len(path.relative_to(tmp_path / "runs").parts) == 4
    assert store.read(cell(class_key=name)) is not None


def test_no_part_of_a_name_is_hidden_or_leads_upwards(tmp_path: Path) -> None:
    dotted = cell(method=".m", source="..", dataset=".d", class_key=".c")
    assert dotted.name == f"%2Em/%2E./%2Ed/%2Ec.{dotted.key}"
    assert cell(class_key="a.b").name == f"m/mvtec/visa/a.b.{cell(class_key='a.b').key}"
    assert cell(class_key="a/b +,=@").name.startswith("m/mvtec/visa/a%2Fb +,=@.")
    assert cell(source=None).name.startswith("m/none/visa/candle.")
    store = CellStore(tmp_path)
    store.write(dotted, content(dotted))
    assert [found["class"] for found in store] == [".c"]


def test_the_key_is_the_hash_of_plain_sorted_json() -> None:
    # Whoever changes this makes a stranger of every cell on every disk.
    canonical = (
        r'{"class":"\u7535\u8def","config":{"data":"cd","options":{"sigma":4},"precision":"float32",'
        r'"weights":{"vision":"ab"}},"dataset":"visa","method":"m","schema":1,"source":null}'
    )
    identity = cell(source=None, class_key="电路")
    assert identity.key == hashlib.sha256(canonical.encode()).hexdigest()[:10]
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = cell(config={"sigma": float("inf")}).key


def test_cells_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    for name in ("c", "a", "b"):
        store.write(cell(class_key=name), content(cell(class_key=name)))
    (tmp_path / "m" / "mvtec" / "notes.json").write_text("[]")
    assert [found["class"] for found in store] == ["a", "b", "c"]


def test_a_file_says_what_it_holds(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    text = store.write(cell(class_key="电路"), {"metrics": {}}).read_text(encoding="utf-8")
    assert text.count("\n") == 5, "one thing a line: people read it and compare two"
    assert json.loads(text) == {"schema": 1, "key": cell(class_key="电路").key, "metrics": {}}
    assert "电路" in store.fail(cell(class_key="电路"), "why", "trace").read_text(encoding="utf-8")
    failure = json.loads(store.fail(cell(), "why", "trace").read_text())
    assert failure == {
        "schema": 1, "key": cell().key, "cell": "m on visa/candle", "reason": "why", "trace": "trace"
    }  # fmt: skip


def test_a_failure_is_recorded_and_dropped_by_success(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    path = store.fail(cell(), "image x.png is truncated", "Traceback ...")
    assert json.loads(path.read_text())["reason"] == "image x.png is truncated"
    assert store.read(cell()) is None
    assert list(store) == []
    store.write(cell(), content(cell()))
    assert not path.exists()


def test_what_is_not_json_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_a_clear_error(tmp_path: Path) -> None:
    CellStore(tmp_path / "new").ensure_writable()
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchError, match="--results"):
        CellStore(tmp_path / "file" / "runs").ensure_writable()


def _write_many(root: Path, value: float, times: int) -> None:
    store = CellStore(root)
    for _ in range(times):
        store.write(cell(), {**content(cell()), "metrics": {"image_auroc": value}, "scores": [value] * 2000})


def test_two_writers_never_leave_a_torn_cell(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path, value, 40)) for value in (0.25, 0.75)]
    for writer in writers:
        writer.start()
    store, seen = CellStore(tmp_path), 0
    while any(writer.is_alive() for writer in writers):
        found = store.read(cell())
        if found is not None:
            seen += 1
            assert set(found["scores"]) == {found["metrics"]["image_auroc"]}
        elif seen:
            pytest.fail("a finished cell vanished while it was rewritten")
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen


def test_a_killed_writer_leaves_no_torn_cell(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for pause in (0.01, 0.03, 0.05):
        store = CellStore(tmp_path / str(pause))
        writer = context.Process(target=_write_many, args=(store.root, 0.5, 100_000))
        writer.start()
        while store.read(cell()) is None:
            time.sleep(0.01)
        time.sleep(pause)
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        found = store.read(cell())
        assert found is not None
        assert len(found["scores"]) == 2000
        assert len(list(store)) == 1
