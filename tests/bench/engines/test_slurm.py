"""The commands of docs/cluster.md, with the variables that SLURM sets and an `srun` that only starts them."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.bench.conftest import make_mvtec_layout
from tests.bench.engines.conftest import numbers

ROOT = Path(__file__).resolve().parents[3]
STUBS = {
    "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done; exec "$@"',
    "scontrol": "echo 127.0.0.1; echo other",
    "ray": f'exec {Path(sys.executable).with_name("ray")} "$@" > /dev/null 2>&1',
}


def script(heading: str, port: str = "6379") -> str:
    """Return a script of the page, with its request made small."""
    page = (ROOT / "docs" / "cluster.md").read_text()
    found = next(
        text for text in re.findall(r"```\n(#!/bin/bash\n.*?)```", page, re.DOTALL) if heading in text
    )
    small = found.replace(
        "--methods all --datasets all --device cuda", "--methods chance --datasets parts --device cpu"
    )
    assert small != found
    small = small.replace("/shared/results", "results").replace("run_bench.py", str(ROOT / "run_bench.py"))
    return small.replace("6379", port).replace("ray start", "ray start --num-cpus=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a dataset `parts`, and `bin` with stand-ins for SLURM's commands."""
    make_mvtec_layout(tmp_path / "parts", tuple(f"part{index}" for index in range(6)), 2)
    (tmp_path / "bin").mkdir()
    for name, text in {**STUBS, "python": f'exec {sys.executable} "$@"'}.items():
        stub = tmp_path / "bin" / name
        stub.write_text(f"#!/bin/sh\n{text}\n")
        stub.chmod(0o755)
    return tmp_path


def start(folder: Path, heading: str, port: str = "6379", **variables: str) -> "subprocess.Popen[str]":
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "ZSAD_CACHE": str(folder / "cache"),
    }
    return subprocess.Popen(
        ["bash", "-c", script(heading, port)],
        cwd=folder,
        env=environment | variables,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_tasks_of_an_array_share_a_results_folder(folder: Path) -> None:
    tasks = [
        start(folder, "--array", SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_COUNT="2") for task in (1, 2)
    ]
    said = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    assert sum(int(re.search(r"(\d+) cells written", text)[1]) for text in said) == 6  # type: ignore[index]
    assert len(numbers(folder / "results" / "runs")) == 6


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install '.[ray]'")
def test_a_ray_cluster_within_a_job(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    job = start(folder, "ray start", port=port, SLURM_JOB_NODELIST="two", SLURM_JOB_NUM_NODES="2")
    try:
        said = job.communicate(timeout=400)[0]
        assert "6 cells written" in said
    finally:  # SLURM ends what a job has left running
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode == 0
    assert len(numbers(folder / "results" / "runs")) == 6
