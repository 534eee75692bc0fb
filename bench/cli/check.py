"""Look a dataset over: counts against the catalog, broken files, sizes, duplicates, overlaps.

examples:
  run_bench.py check --datasets all
  run_bench.py check --datasets mvtec --quick
  run_bench.py check --datasets brainmri br35h          also: images they share
  run_bench.py check --datasets path/to/my/folder
"""

import argparse
from functools import partial
from itertools import combinations

from bench.cli.common import add_datasets, add_roots, open_folders
from bench.cli.progress import progress
from bench.store.digests import DigestCache
from datasets.catalog import related
from datasets.check import check
from datasets.overlap import overlaps


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_datasets(parser, required=True)
    add_roots(parser, "data")
    parser.add_argument("--quick", action="store_true", help="counts and paths only, open no image")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code: 0 if it is complete and sound."""
    folders, failures = open_folders(parsed, missing_ok=True)
    digest = DigestCache()
    sound = not failures
    for folder in folders:
        watched = partial(progress, unit="images", description=folder.key)
        report = check(folder, deep=not parsed.quick, digest=digest, progress=watched)
        print(report, end="\n\n")
        sound = sound and report.ok and report.complete
    for one, other in combinations(folders, 2):
        if why := related(one.target, other.target):
            print(f"note: {one.key} and {other.key}: {why}")
    for overlap in () if parsed.quick else overlaps(folders, digest):
        print(f"note: {overlap}")
    for failure in failures:
        print(f"error: {failure}")
    return 0 if sound else 1
