"""Columns as runs of experiment trackers, written by the trackers' own clients without a network."""

import csv
import importlib.util
import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.results import frame, read
from bench.show import build
from bench.show.export import Run, runs
from bench.store.cells import CellStore
from datasets.catalog import CATALOG
from tests.bench.page.grid import HOSTILE, cell, write, write_grid

METHODS = ("vand", "musc")
Lines = pytest.CaptureFixture[str]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    write_grid(root, METHODS, ("mvtec", "btad", "tn3k"))
    write(root, cell("vand", "btad", "01") | {"marks": ["selected"]})
    return root


def found(results: Path, **wanted: Any) -> list[Run]:
    return runs(read(CellStore(results / "runs"), scores=False), **wanted)


def needs(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}: pip install '.[{name}]'")


def test_a_run_has_the_numbers_of_the_table_and_of_the_frame(results: Path) -> None:
    vand, musc = found(results)
    assert (vand.name, vand.group, musc.name) == ("VAND", "VAND", "MuSc")
    table = build(read(CellStore(results / "runs")), "paper")
    shown = {
        (value.subject.dataset.casefold(), value.metric): float(value.number)
        for value in table.values()
        if value.subject.method == "VAND"
        and value.number is not None
        and value.subject.domain == "Industrial"
    }
    for dataset, name in (("mvtec", "mvtec"), ("btad", "btad"), ("average/industrial", "average")):
        for metric in ("image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_aupro", "pixel_f1max"):
            assert vand.metrics[f"{dataset}/{metric}"] == shown[name, metric]
    numbers = frame(results).dropna(subset="value")
    of_class = {
        f"{row['dataset']}/{row['class']}/{row['level']}_{row['metric']}": row["value"]
        for row in numbers[numbers.method == "vand"].to_dict("records")
    }
    assert of_class.items() <= vand.metrics.items()
    assert len(vand.metrics) == len(of_class) + 8 + 8 + 5 + 8 + 5  # means of three datasets, two averages
    assert [row["key"] for row in vand.rows] == list(frame(results).query("method == 'vand'").key)


def test_a_run_says_how_and_from_what_it_was_measured(results: Path) -> None:
    vand, musc = found(results)
    assert vand.config["precision"] == "float32"
    assert vand.config["options.image_size"] == 518
    assert vand.config["trained_on"] == {"btad": "mvtec", "mvtec": "visa", "tn3k": "mvtec"}
    assert not {"data", "prompt"} & vand.config.keys()
    assert vand.tags["commit"] == "0123456789abcdef0123456789abcdef01234567"
    assert vand.tags["weights"] == f"learned:{'cd' * 32} vision:{'0' * 64}"
    assert len(vand.tags["cells"].split()) == 15 + 3 + 1
    assert vand.tags["marks/btad/01"] == vand.tags["marks/btad"] == "selected"
    assert "marks/mvtec" not in vand.tags
    assert (vand.tags["setting"], musc.tags["setting"]) == ("inductive", "transductive")
    assert vand.started == "2025-11-23T10:00:00+00:00"


def test_the_id_follows_the_content_and_the_column_the_name(results: Path) -> None:
    before, again = found(results)[0], found(results)[0]
    assert (before.id, before.column) == (again.id, again.column)
    changed = cell("vand", "tn3k", CATALOG["tn3k"].classes[0].key)
    changed["metrics"]["pixel_ap"] = 0.125
    write(results, changed)
    after = found(results)[0]
    assert after.column == before.column
    assert after.id != before.id
    (one,) = found(results, methods=["vand"], datasets=["mvtec"])
    assert one.column == before.column and one.id not in (before.id, after.id)


def test_names_that_a_tracker_would_refuse_stay_apart(results: Path) -> None:
    for name in (HOSTILE, "a/b", "a:b", "Größe"):
        own = {"dataset": "own", "dataset_title": "own", "target": "own", "domain": "other", "n_classes": 4}
        write(results, cell("vand", "btad", name) | own)
    places = [name.split("/") for name in found(results)[0].metrics]
    names = {place[1] for place in places if place[0] == "own" and len(place) == 3}
    assert len(names) == 4 and {"Größe", "a:2f:b", "a:3a:b"} < names
    assert all(letter.isalnum() or letter in "_-.: " for name in names for letter in name)


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_missing_client_is_one_line(
    results: Path, tracker: str, monkeypatch: pytest.MonkeyPatch, capsys: Lines
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    assert main(["export", tracker, "--results", str(results)]) == 2
    assert capsys.readouterr().err == f"error: export {tracker} needs {tracker}: pip install '.[{tracker}]'\n"


def test_offline_is_wandbs_alone(results: Path, capsys: Lines) -> None:
    assert main(["export", "mlflow", "--offline", "--results", str(results)]) == 2
    assert "--offline goes with wandb" in capsys.readouterr().err


def records(path: Path) -> list[Any]:
    """Return the records of a run that wandb wrote offline: LevelDB's log format, of protocol buffers."""
    from wandb.proto import wandb_internal_pb2  # noqa: PLC0415

    content, at, parts, whole = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            whole.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return whole


def test_wandb_offline(results: Path, tmp_path: Path, capsys: Lines) -> None:
    needs("wandb")
    words = ["export", "wandb", "--offline", "--to", str(tmp_path / "out"), "--results", str(results)]
    assert main([*words, "--project", "zsad"]) == 0
    vand, musc = found(results)
    assert capsys.readouterr().out == f"VAND: {vand.id} written\nMuSc: {musc.id} written\n"
    (path,) = (tmp_path / "out").glob(f"wandb/offline-run-*-{vand.id}/run-{vand.id}.wandb")
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "run" and record.run.run_id:
            assert (record.run.run_id, record.run.project) == (vand.id, "zsad")
            assert (record.run.display_name, record.run.run_group) == ("VAND", "VAND")
            assert list(record.run.tags) == ["inductive", "0123456789"]
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert config["options.image_size"] == 518
    assert config["origin"] == dict(vand.tags)
    assert vand.metrics.items() <= summary.items()
    (table,) = path.parent.glob("files/media/table/cells_*.table.json")
    assert len(json.loads(table.read_text())["data"]) == len(vand.rows)

    assert main([*words, "--project", "zsad"]) == 0
    assert capsys.readouterr().out.count("is there, unchanged") == 2
    assert len(list((tmp_path / "out/wandb").glob("offline-run-*"))) == 2


def test_mlflow_in_a_database(
    results: Path, tmp_path: Path, capsys: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("mlflow")
    from mlflow import MlflowClient  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts of a database in the working directory
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ["export", "mlflow", "--to", address, "--project", "zsad", "--results", str(results)]
    client = MlflowClient(tracking_uri=address)

    def there() -> dict[str, Any]:
        experiment = client.get_experiment_by_name("zsad")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        assert len(found) <= 2, "the older run of a column is there still"
        return {run.info.run_name: run for run in found}

    assert main(words) == 0
    vand, musc = found(results)
    assert capsys.readouterr().out == f"VAND: {vand.id} written\nMuSc: {musc.id} written\n"
    written = there()
    assert set(written) == {"VAND", "MuSc"}
    run = written["VAND"]
    assert run.data.metrics == pytest.approx(vand.metrics, abs=0)
    assert run.data.params == {name: str(value) for name, value in vand.config.items()}
    assert vand.tags.items() <= run.data.tags.items()
    assert (run.info.status, run.data.tags["zsad.id"]) == ("FINISHED", vand.id)
    (place,) = tmp_path.glob(f"mlruns/**/{run.info.run_id}/artifacts/cells.csv")
    assert len(list(csv.DictReader(place.open(encoding="utf-8")))) == len(vand.rows)

    assert main(words) == 0
    assert capsys.readouterr().out.count("is there, unchanged") == 2
    assert {name: run.info.run_id for name, run in there().items()} == {
        name: run.info.run_id for name, run in written.items()
    }

    write(results, cell("vand", "btad", "01"))
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"VAND: {found(results)[0].id} written, the older one deleted",
        f"MuSc: {musc.id} is there, unchanged",
    ]
    assert there()["VAND"].data.tags["zsad.id"] == found(results)[0].id
    client.delete_tag(there()["VAND"].info.run_id, "zsad.id")  # as after an export that was cut short
    assert main(words) == 0
    assert "VAND: " in capsys.readouterr().out.splitlines()[0]
    assert len(there()) == 2

    assert main([*words[:2], "--to", "nowhere://x", "--results", str(results)]) == 2
    assert capsys.readouterr().err.startswith("error: MLflow: ")
