"""Arguments that change only speed, and the machine they describe."""

import argparse
import os
import sys

from bench.errors import BenchError
from bench.run.features import FeatureCache
from bench.run.machine import Machine, choose_device
from bench.store.digests import DigestCache, cache_folder


def add_machine(parser: argparse.ArgumentParser, *, cache: float) -> None:
    """Add `--device`, `--batch-size`, `--workers` and `--feature-cache` with its default in GB."""
    machine = parser.add_argument_group("what changes only speed")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")
    machine.add_argument("--batch-size", type=int, default=8, help="images at once in evaluation")
    machine.add_argument(
        "--workers", type=int, default=min(4, os.cpu_count() or 1), help="threads that read images"
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
        help="for the features of a class and what a transductive method makes of them; more goes to disk "
        "(default: %(default)g)",
    )


def machine_of(parsed: argparse.Namespace, digest: DigestCache) -> Machine:
    """Return the machine that the arguments describe; raises `BenchError` for what cannot be."""
    if parsed.batch_size < 1:
        raise BenchError(f"--batch-size {parsed.batch_size}: must be at least 1")
    if parsed.feature_cache < 0:
        raise BenchError(f"--feature-cache {parsed.feature_cache:g}: a size in GB, or 0")
    if parsed.memory <= 0:
        raise BenchError(f"--memory {parsed.memory:g}: a size in GB")
    device, memory = choose_device(parsed.device), int(parsed.memory * 1e9)
    return Machine(device, parsed.batch_size, parsed.workers, _cache(parsed, digest), digest, memory)


def _cache(parsed: argparse.Namespace, digest: DigestCache) -> FeatureCache | None:
    if not (limit := int(parsed.feature_cache * 1e9)):
        return None
    try:
        return FeatureCache(cache_folder() / "features", limit, digest)
    except RuntimeError:  # no home folder
        print("note: features are not kept: no home folder; name one with ZSAD_CACHE", file=sys.stderr)
        return None
