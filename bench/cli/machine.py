"""Arguments that change only speed, and the machine and the engine they describe."""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from bench.errors import BenchError
from bench.run.engines.driver import Engine
from bench.run.engines.processes import ProcessPool
from bench.run.features import FeatureCache
from bench.run.machine import Machine, choose_device, cores
from bench.store.digests import DigestCache, cache_folder


def add_machine(parser: argparse.ArgumentParser, *, cache: float) -> None:
    """Add `--device`, `--batch-size`, `--workers` and `--feature-cache` with its default in GB."""
    machine = parser.add_argument_group("what changes only speed")
    machine.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda or cuda:n; in run, train and cross also several: cuda:0,cuda:1",
    )
    machine.add_argument("--batch-size", type=int, default=8, help="images at once in evaluation")
    machine.add_argument(
        "--workers",
        type=int,
        default=min(16, cores()),
        help="threads that read images (default: one a core, now %(default)s)",
    )
    machine.add_argument(
        "--feature-cache",
        type=float,
        default=cache,
        metavar="GB",
        help="keep the features of frozen encoders, up to this size, in the cache folder (ZSAD_CACHE); 0: do "
        "not (default: %(default)g)",
    )
    machine.add_argument(
        "--memory",
        type=float,
        default=4.0,
        metavar="GB",
        help="for the metrics of methods that go through a class together (more methods take another pass), "
        "and for its features and what a transductive method makes of them, of which more goes to disk "
        "(default: %(default)g)",
    )


def add_engine(parser: argparse.ArgumentParser, *, collect: bool = False) -> None:
    """Add what has several workers share the work; `collect`: also `--collect`."""
    engine = parser.add_argument_group("several workers (--device cuda:0,cuda:1 starts one for each)")
    engine.add_argument(
        "--processes", type=int, metavar="N", help="so many workers; on a device they share, or on Ray"
    )
    engine.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: workers of a cluster (docs/cluster.md)",
    )
    engine.add_argument("--address", help="of the Ray cluster, or auto (default: one on this machine)")
    engine.add_argument(
        "--gpus-per-worker", type=float, metavar="G", help="of Ray (default: 1 where the cluster has any)"
    )
    if collect:
        engine.add_argument(
            "--collect", action="store_true", help="send cells here: the nodes share no results folder"
        )


def engine_of(parsed: argparse.Namespace) -> Engine | None:
    """Return what the arguments ask for; None: one worker, in this process."""
    if parsed.processes is not None and parsed.processes < 1:
        raise BenchError(f"--processes {parsed.processes}: at least 1")
    roots: dict[str, Path] = {
        name: folder
        for name in ("data", "weights", "results")
        if (folder := getattr(parsed, name if name == "results" else f"{name}_root", None)) is not None
    }
    collect = bool(getattr(parsed, "collect", False))
    devices = parsed.device.split(",")
    if parsed.engine == "ray":
        from bench.run.engines.ray_cluster import RayPool  # noqa: PLC0415 (an extra)

        if len(devices) > 1:
            raise BenchError(
                f"--device {parsed.device}: Ray gives each worker its GPU; name auto, cpu or cuda"
            )
        pool = partial(
            RayPool,
            device=parsed.device,
            address=parsed.address,
            gpus=parsed.gpus_per_worker,
            most=parsed.processes,
        )
        share = 1 if parsed.gpus_per_worker or torch.cuda.is_available() else cores()
        return Engine(pool, roots, collect, share)
    if len(devices) == 1 and parsed.processes is None:
        return None
    count = max(parsed.processes or 0, len(devices))
    several = [_one_of(devices[place % len(devices)], place) for place in range(count)]
    for device in several:
        choose_device(device)
    share = max(several.count(device) for device in several)
    return Engine(partial(ProcessPool, devices=several), roots, collect, share)


def _one_of(device: str, place: int) -> str:
    """Return a device; of several GPUs, those that `auto` or `cuda` leave open are taken in turn."""
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{place % torch.cuda.device_count()}"
    return device


def machine_of(parsed: argparse.Namespace, digest: DigestCache) -> Machine:
    """Return the machine that the arguments describe; raises `BenchError` for what cannot be."""
    if parsed.batch_size < 1:
        raise BenchError(f"--batch-size {parsed.batch_size}: must be at least 1")
    if parsed.feature_cache < 0:
        raise BenchError(f"--feature-cache {parsed.feature_cache:g}: a size in GB, or 0")
    if parsed.memory <= 0:
        raise BenchError(f"--memory {parsed.memory:g}: a size in GB")
    first, memory = parsed.device.split(",")[0], int(parsed.memory * 1e9)
    elsewhere = getattr(parsed, "engine", "local") == "ray" and first in ("cpu", "cuda")
    device = torch.device(first) if elsewhere else choose_device(first)
    return Machine(device, parsed.batch_size, parsed.workers, _cache(parsed, digest), digest, memory)


def _cache(parsed: argparse.Namespace, digest: DigestCache) -> FeatureCache | None:
    if not (limit := int(parsed.feature_cache * 1e9)):
        return None
    try:
        return FeatureCache(cache_folder() / "features", limit, digest)
    except RuntimeError:  # no home folder
        print("note: features are not kept: no home folder; name one with ZSAD_CACHE", file=sys.stderr)
        return None
