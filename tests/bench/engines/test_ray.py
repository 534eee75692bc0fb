"""A real Ray cluster of several nodes on this machine; `benchmarks.chaos` is the long version."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.cli import main
from benchmarks import chaos
from benchmarks.cluster import CLASSES, METHODS, Bench, Boxes, numbers, until
from tests.bench.conftest import make_mvtec_layout

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install '.[ray]'"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZSAD_CACHE", "")  # put back at the end
        yield Bench(tmp_path_factory.mktemp("chaos"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Boxes]:
    with closing(Boxes()) as made:
        yield made


def test_kills_of_worker_node_and_driver_lose_nothing(bench: Bench, cluster: Boxes) -> None:
    done = chaos.kills(bench, cluster, 0)
    assert done["worker"] + done["node"] + done["driver"] >= 1
    assert done["cells, all equal to those of a local run"] == len(METHODS) * len(CLASSES)


def test_a_node_with_other_data_is_refused_by_name(bench: Bench, cluster: Boxes) -> None:
    chaos.other_data(bench, cluster)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a full file system")
def test_a_node_whose_disk_is_full_is_left_out_by_name(bench: Bench, cluster: Boxes) -> None:
    chaos.full_disk(bench, cluster)


def test_cells_are_collected_where_no_folder_is_shared(bench: Bench, cluster: Boxes) -> None:
    far = cluster.add("far", ZSAD_RESULTS=str(bench.root / "far away"))
    for node in [node for node in cluster.nodes if node is not far]:
        cluster.lose(node)
    until(lambda: cluster.names() == {"head", "far"})
    one = ("--processes", "1")
    assert bench.wait(bench.on(cluster, "collected", *one, "--collect")) == 0
    bench.check("collected")
    assert not (bench.root / "far away").exists()
    before = len(bench.said())
    assert bench.wait(bench.on(cluster, "not shared", *one)) == 2
    assert "node far is left out: " in bench.said()[before:]
    assert "is not the driver's folder" in bench.said()[before:]
    assert numbers(bench.root / "not shared") == {}


def test_no_cluster_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.chdir(tmp_path)
    make_mvtec_layout(tmp_path / "parts", ("bolt",), 1)
    words = ("--datasets", str(tmp_path / "parts"), "--engine", "ray", "--address", "127.0.0.1:1")
    assert main(["run", "--methods", "chance", *words]) == 2
    assert "start a cluster with `ray start --head`" in capsys.readouterr().err
