"""Trainings on several workers give the files of trainings one after the other."""

from functools import partial
from pathlib import Path

import pytest

from bench.demo.untrained import write_untrained
from bench.errors import BenchError
from bench.run.engines.driver import Engine
from bench.run.engines.processes import ProcessPool
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.protocol import MethodRequest
from bench.store.digests import sha256
from bench.study.job import TrainJob, differences, make_job
from bench.study.train import train
from bench.study.train_on import train_on
from datasets.meta import open_dataset

CPU = Machine(workers=1)


def test_trainings_on_two_workers_are_those_of_one(data: Path, tmp_path: Path) -> None:
    request = MethodRequest("vand", "mini")
    for place in ("here", "there"):
        write_untrained(request, ["something"], tmp_path / place)

    def jobs(place: str) -> list[TrainJob]:
        library = Library(tmp_path / place, sha256)
        return [make_job(request, [open_dataset(data)], seed, library) for seed in (1, 2)]

    def on_workers() -> list[str]:
        said.clear()
        missing = [job for job in jobs("there") if differences(job, sha256) != []]
        return train_on(engine, missing, CPU, sha256, said.append)

    said: list[str] = []
    # Not forked: autograd refuses a process whose parent has computed gradients on a device.
    pool = partial(ProcessPool, devices=["cpu", "cpu"])
    engine = Engine(pool, {"data": tmp_path, "weights": tmp_path / "there"})
    alone = [train(job, CPU, sha256).read_bytes() for job in jobs("here")]
    assert on_workers() == []
    assert [job.out.read_bytes() for job in jobs("there")] == alone
    assert sum(line.startswith("wrote ") for line in said) == 2
    assert any(": epoch 1: " in line for line in said)
    assert [path.name for path in (tmp_path / "there").iterdir() if path.name.startswith(".shared")] == []

    late = jobs("there")[0]
    late.out.unlink()
    (refused,) = train_on(engine, [late], CPU, lambda path: "0" * 64, said.append)  # as if it saw other files
    assert "no node has its files as planned" in refused
    assert not late.out.exists()


def test_trainings_are_not_collected(tmp_path: Path) -> None:
    engine = Engine(partial(ProcessPool, devices=["cpu"]), {"weights": tmp_path}, collect=True)
    with pytest.raises(BenchError, match="share the weights folder"):
        train_on(engine, [], CPU, sha256, print)
