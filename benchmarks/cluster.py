"""A Ray cluster of several nodes on this machine, and runs of the suite on it beside one in one process."""

import json
import multiprocessing
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.store.cells import CellStore
from benchmarks.common import write_dataset

SLOW = """
import os, time
from methods.chance import Chance
class Slow(Chance):
    title = "Slow"
    defaults = {"image_size": 56, "seed": 0}
    def forward(self, images, prompts):
        time.sleep(float(os.environ.get("SLOW_SECONDS", 0.05)))
        return super().forward(images, prompts)
"""
QUICK = ("chance", "oracle", "slow")
METHODS = (*QUICK, "clip:mini")
CLASSES = {f"part{index}": 8 + 4 * index for index in range(5)}
"""Class -> images."""
OPTIONS = {"include_dashboard": False, "object_store_memory": 80 << 20}
_LONGEST = 900.0
"""Seconds that one run may take."""


class Bench:
    """Generated data, weights, runs, and a reference made in one process, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_dataset(root / "data" / "parts", CLASSES)
        (root / "own").mkdir()
        (root / "own" / "slow.py").write_text(SLOW)
        os.environ["ZSAD_CACHE"] = str(root / "cache")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["bench.cli.run", "bench.run.engines.ray_cluster"])
        weights = ("weights", "--methods", "clip:mini", "--fetch", "--weights-root", str(root / "weights"))
        assert self.wait(self.start(*weights)) == 0
        assert self.wait(self.run("reference")) == 0
        self.reference = numbers(root / "reference")

    def run(self, results: str, *more: str, methods: Sequence[str] = METHODS) -> Any:
        """Start `run_bench.py run` in a process of its own; its output goes to a file."""
        root = self.root
        return self.start(
            *("run", "--methods", *methods, "--datasets", str(root / "data" / "parts"), "--device", "cpu"),
            *("--data-root", str(root / "data"), "--weights-root", str(root / "weights")),
            *("--methods-path", str(root / "own"), "--results", str(root / results), "--workers", "1"),
            *more,
        )

    def on(self, cluster: "Boxes", results: str, *more: str, methods: Sequence[str] = METHODS) -> Any:
        """Start it on a cluster."""
        return self.run(results, "--engine", "ray", "--address", cluster.address, *more, methods=methods)

    def start(self, *words: str) -> Any:
        process = self._context.Process(target=_main, args=(words, self.root / "log.txt"))
        process.start()
        return process

    def wait(self, process: Any) -> int | None:
        """Return the exit code of a run; it must end in time."""
        process.join(_LONGEST)
        assert process.exitcode is not None, f"still running after {_LONGEST} s: {self.root / 'log.txt'}"
        return int(process.exitcode)

    def check(self, results: str, methods: Sequence[str] = METHODS) -> int:
        """Return the number of cells, which are those of the reference, in whole files; else raise."""
        found, keys = numbers(self.root / results), {word.partition(":")[0] for word in methods}
        assert found == {key: cell for key, cell in self.reference.items() if cell["method"] in keys}
        for path in (self.root / results).rglob("*.json"):
            json.loads(path.read_text())
            assert not path.name.endswith(".failed.json"), path.read_text()
        return len(found)

    def said(self) -> str:
        """Return what runs have printed so far."""
        return (self.root / "log.txt").read_text()


def _main(words: tuple[str, ...], log: Path) -> None:
    import torch  # noqa: PLC0415 (preloaded where this runs)

    from bench.cli import main  # noqa: PLC0415

    torch.set_num_threads(1)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    print("$", shlex.join(words), flush=True)
    code = main(words)
    sys.stdout.flush()
    sys.exit(code)


def numbers(results: Path) -> dict[str, Any]:
    """Return the cells by their keys without what differs from run to run."""
    return {
        cell["key"]: {name: value for name, value in cell.items() if name not in ("timing", "provenance")}
        for cell in CellStore(results / "runs")
    }


class Boxes:
    """A cluster: a head without work, and nodes of one CPU."""

    def __init__(self, count: int = 2) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415 (an extra)

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "node_name": "head", **OPTIONS}
        )
        self.address = str(self.cluster.address)
        self.nodes: list[Any] = []
        self._made = 0
        for _ in range(count):
            self.add()

    def add(self, name: str | None = None, **environment: str) -> Any:
        """Add a node; returns it."""
        self._made += 1
        node = self.cluster.add_node(
            num_cpus=1, node_name=name or f"box{self._made}", env_vars=environment, **OPTIONS
        )
        self.nodes.append(node)
        return node

    @contextmanager
    def guest(self, name: str, **environment: str) -> Iterator[None]:
        """Have a node more for a while."""
        node = self.add(name, **environment)
        try:
            yield
        finally:
            self.lose(node)

    def lose(self, node: Any) -> None:
        """Kill a node's processes, all at once."""
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def names(self) -> set[str]:
        """Return the names of the nodes that are alive."""
        return {node["NodeName"] for node in self.cluster.global_state.node_table() if node["Alive"]}

    def workers(self) -> list[int]:
        """Return the process ids of actors at work."""
        found = []
        for node in self.nodes:
            for process in node.all_processes.get("raylet", []):
                children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children")
                with suppress(OSError):
                    found += [
                        int(child)
                        for child in children.read_text().split()
                        if b"_Worker" in Path(f"/proc/{child}/cmdline").read_bytes()
                    ]
        return found

    def close(self) -> None:
        self.cluster.shutdown()


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
