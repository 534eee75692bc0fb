"""Faults on a real Ray cluster of several nodes on this machine: every cell is compared with a local run.

    python -m benchmarks.chaos --seeds 30       workers, nodes and drivers killed at random moments
    python -m benchmarks.chaos --only disk      one of: kills, drivers, slow, data, disk

Needs the extra `ray`; `disk` needs root, for a small file system of its own. Prints Markdown.
"""

import argparse
import json
import multiprocessing
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tabulate import tabulate

from bench.store.cells import CellStore

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
CLASSES = tuple(f"part{index}" for index in range(5))
_OPTIONS = {"include_dashboard": False, "object_store_memory": 80 << 20}
_LONGEST = 900.0
"""Seconds that one run may take."""


class Bench:
    """Generated data, weights and a reference made in one process, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make_data(root / "data", seed=0)
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


def make_data(root: Path, *, seed: int) -> None:
    """Write a dataset `parts` of a few small noisy pictures; classes differ in their number."""
    rng = np.random.default_rng(seed)
    for place, name in enumerate(CLASSES):
        for species in ("good", "spot"):
            for index in range(4 + 2 * place):
                pixels = rng.integers(60, 120, (40, 56, 3), dtype=np.uint8)
                mask = np.zeros((40, 56), np.uint8)
                if species == "spot":
                    mask[8:20, 10:30], pixels[8:20, 10:30] = 255, 250
                    truth = root / f"parts/{name}/ground_truth/spot/{index:03}_mask.png"
                    truth.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask).save(truth)
                image = root / f"parts/{name}/test/{species}/{index:03}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(image)


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
            initialize_head=True, head_node_args={"num_cpus": 0, "node_name": "head", **_OPTIONS}
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
            num_cpus=1, node_name=name or f"box{self._made}", env_vars=environment, **_OPTIONS
        )
        self.nodes.append(node)
        return node

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


@contextmanager
def boxes(count: int = 2) -> Iterator[Boxes]:
    """A cluster that is shut down whatever happens."""
    made = Boxes(count)
    try:
        yield made
    finally:
        made.close()


def kills(bench: Bench, cluster: Boxes, seed: int) -> Counter[str]:
    """Kill workers, nodes and drivers at random moments, start again, compare; returns what was killed."""
    rng, done, results = random.Random(seed), Counter[str](), f"kills{seed}"
    methods = METHODS if seed % 4 == 0 else QUICK  # a trained model takes seconds longer to load
    faults = [rng.choice(("worker", "worker", "node", "driver")) for _ in range(rng.randrange(2, 5))]
    ray = ("--engine", "ray", "--address", cluster.address)
    driver = bench.run(results, *ray, methods=methods)
    while faults:
        until(lambda driver=driver: bool(cluster.workers()) or not driver.is_alive())
        driver.join(rng.uniform(0.2, 6.0))
        if not driver.is_alive():
            break
        fault = faults.pop()
        if fault == "worker":
            if not (pids := cluster.workers()):
                continue
            with suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
        elif fault == "node":
            cluster.lose(rng.choice(cluster.nodes))
            cluster.add()
        else:
            os.kill(driver.pid, signal.SIGKILL)
            driver.join()
            driver = bench.run(results, *ray, methods=methods)
        done[fault] += 1
    if bench.wait(driver) != 0:  # a unit that lost its worker twice is recorded as failed
        done["run again after recorded failures"] += 1
        assert bench.wait(bench.run(results, *ray, methods=methods)) == 0
    done["cells, all equal to those of a local run"] += bench.check(results, methods)
    shutil.rmtree(bench.root / results)
    return done


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def two_drivers(bench: Bench, cluster: Boxes) -> str:
    """Two drivers on one cluster and one results folder; returns what came of it."""
    ray = ("--engine", "ray", "--address", cluster.address, "--processes", "1")
    drivers = [bench.run("drivers", *ray) for _ in range(2)]
    assert [bench.wait(driver) for driver in drivers] == [0, 0]
    bench.check("drivers")
    return "both ended well, every cell equal"


def slow_node(bench: Bench, cluster: Boxes) -> str:
    """One node is many times slower; returns what came of it."""
    node = cluster.add("slow", SLOW_SECONDS="2")
    started = time.monotonic()
    try:
        assert bench.wait(bench.run("slow", "--engine", "ray", "--address", cluster.address)) == 0
    finally:
        cluster.lose(node)
    bench.check("slow")
    return f"every cell equal, {time.monotonic() - started:.0f} s"


def other_data(bench: Bench, cluster: Boxes) -> str:
    """A node's own data folder holds other pictures; returns what came of it."""
    make_data(bench.root / "other", seed=1)
    node = cluster.add("stranger", ZSAD_DATA=str(bench.root / "other"))
    before = len(bench.said())
    try:
        assert bench.wait(bench.run("strange", "--engine", "ray", "--address", cluster.address)) == 0
    finally:
        cluster.lose(node)
    bench.check("strange")
    assert "node stranger is left out of some units: files of part" in bench.said()[before:]
    return "the node was refused by name, every cell equal"


def full_disk(bench: Bench, cluster: Boxes) -> str:
    """On one node a part of the results folder is a full file system; returns what came of it."""
    folder = bench.root / "disk" / "runs" / "chance"
    folder.mkdir(parents=True)
    ray = Path(sys.executable).with_name("ray")
    options = f"--num-cpus=1 --node-name=full --object-store-memory={_OPTIONS['object_store_memory']}"
    start = f"{ray} start --address={cluster.address} {options}"
    fill = f"mount -t tmpfs -o size=16k none {folder} && (head -c 1M /dev/zero > {folder}/filler || true)"
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"{fill}; exec {start} --block"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    before = len(bench.said())
    try:
        until(lambda: "full" in cluster.names())
        assert bench.wait(bench.run("disk", "--engine", "ray", "--address", cluster.address)) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()
    bench.check("disk")
    said = bench.said()[before:]
    assert "node full is left out: cannot write" in said, said
    return "the node was left out by name, every cell equal"


SCENES: dict[str, Callable[[Bench, Boxes], str]] = {
    "drivers": two_drivers,
    "slow": slow_node,
    "data": other_data,
    "disk": full_disk,
}


def main() -> None:
    """Try faults, and print what was survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--minutes", type=float, default=120, help="begin no seed after so many")
    parser.add_argument("--only", choices=("kills", *SCENES))
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # not without shutting the cluster down
    with tempfile.TemporaryDirectory(prefix="zsad-chaos-") as folder:
        bench = Bench(Path(folder))
        with boxes() as cluster:
            for name, scene in SCENES.items():
                if parsed.only in (None, name):
                    print(f"* {(scene.__doc__ or '').partition(';')[0]}: {scene(bench, cluster)}", flush=True)
            total, end = Counter[str](), time.monotonic() + 60 * parsed.minutes
            seeds = range(parsed.first, parsed.first + parsed.seeds)
            for seed in seeds if parsed.only in (None, "kills") else ():
                if (started := time.monotonic()) > end:
                    break
                done = kills(bench, cluster, seed)
                total += done + Counter(seeds=1)
                took = time.monotonic() - started
                print(f"seed {seed}: {dict(done)}, {took:.0f} s", file=sys.stderr, flush=True)
            if total:
                print("\n" + tabulate(sorted(total.items()), headers=("what", "times"), tablefmt="github"))


if __name__ == "__main__":
    main()
