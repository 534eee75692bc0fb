"""Faults on a real Ray cluster of several nodes on this machine: every cell is compared with a local run.

    python -m benchmarks.chaos --seeds 30       workers, nodes and drivers killed at random moments
    python -m benchmarks.chaos --only disk      one of: kills, drivers, slow, data, disk

Needs the extra `ray`; `disk` needs root, for a small file system of its own. Prints Markdown.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from tabulate import tabulate

from benchmarks.cluster import CLASSES, METHODS, OPTIONS, QUICK, Bench, Boxes, until
from benchmarks.common import parser_of, write_dataset


def kills(bench: Bench, cluster: Boxes, seed: int) -> Counter[str]:
    """Kill workers, nodes and drivers at random moments, start again, compare; returns what was killed."""
    rng, done, results = random.Random(seed), Counter[str](), f"kills{seed}"
    methods = METHODS if seed % 4 == 0 else QUICK  # a trained model takes seconds longer to load
    faults = [rng.choice(("worker", "worker", "node", "driver")) for _ in range(rng.randrange(2, 5))]
    driver = bench.on(cluster, results, methods=methods)
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
            driver = bench.on(cluster, results, methods=methods)
        done[fault] += 1
    if bench.wait(driver) != 0:  # a unit that lost its worker twice is recorded as failed
        done["run again after recorded failures"] += 1
        assert bench.wait(bench.on(cluster, results, methods=methods)) == 0
    done["cells, all equal to those of a local run"] += bench.check(results, methods)
    shutil.rmtree(bench.root / results)
    return done


def two_drivers(bench: Bench, cluster: Boxes) -> str:
    """Two drivers on one cluster and one results folder; returns what came of it."""
    drivers = [bench.on(cluster, "drivers", "--processes", "1") for _ in range(2)]
    assert [bench.wait(driver) for driver in drivers] == [0, 0]
    bench.check("drivers")
    return "both ended well, every cell equal"


def slow_node(bench: Bench, cluster: Boxes) -> str:
    """One node is many times slower; returns what came of it."""
    started = time.monotonic()
    with cluster.guest("slow", SLOW_SECONDS="2"):
        assert bench.wait(bench.on(cluster, "slow")) == 0
    bench.check("slow")
    return f"every cell equal, {time.monotonic() - started:.0f} s"


def other_data(bench: Bench, cluster: Boxes) -> str:
    """A node's own data folder holds other pictures; returns what came of it."""
    write_dataset(bench.root / "other" / "parts", CLASSES, seed=1)
    before = len(bench.said())
    with cluster.guest("stranger", ZSAD_DATA=str(bench.root / "other")):
        assert bench.wait(bench.on(cluster, "strange")) == 0
    bench.check("strange")
    assert "node stranger is left out of some units: files of part" in bench.said()[before:]
    return "the node was refused by name, every cell equal"


def full_disk(bench: Bench, cluster: Boxes) -> str:
    """On one node a part of the results folder is a full file system; returns what came of it."""
    folder = bench.root / "disk" / "runs" / "chance"
    folder.mkdir(parents=True)
    ray = Path(sys.executable).with_name("ray")
    options = f"--num-cpus=1 --node-name=full --object-store-memory={OPTIONS['object_store_memory']}"
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
        assert bench.wait(bench.on(cluster, "disk")) == 0
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
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--minutes", type=float, default=120, help="begin no seed after so many")
    parser.add_argument("--only", choices=("kills", *SCENES))
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # not without shutting the cluster down
    with tempfile.TemporaryDirectory(prefix="zsad-chaos-") as folder:
        bench = Bench(Path(folder))
        with closing(Boxes()) as cluster:
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
