"""Train on each source, test on every target, and print the source x target matrix.

examples:
  run_bench.py cross --methods tipsomaly --sources mvtec visa btad --targets industrial
  run_bench.py cross --methods tipsomaly vand --sources mvtec visa --targets all --seeds 3
  run_bench.py cross --methods tipsomaly --sources mvtec visa --targets all --device cuda:0,cuda:1
  run_bench.py cross --methods anomalyclip --sources mpdd --targets medical --dry-run
"""

import argparse

from bench.cli.common import (
    add_methods,
    add_options,
    add_precision,
    add_roots,
    cell_store,
    dataset_keys,
    open_methods,
)
from bench.cli.machine import add_engine, add_machine, engine_of, machine_of
from bench.cli.run import run_with_progress
from bench.cli.tables import add_format, print_table
from bench.cli.train import add_seeds, seeds_of, train_all
from bench.results import read
from bench.run.library import Library
from bench.run.plan import Settings, summary
from bench.show import build, write_tables
from bench.store.digests import DigestCache
from bench.study.cross import plan_cross
from datasets.meta import open_dataset


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_methods(parser, required=True)
    parser.add_argument(
        "--sources", nargs="+", required=True, metavar="D", help="keys or groups, each by itself"
    )
    parser.add_argument("--targets", nargs="+", required=True, metavar="D", help="keys or groups")
    add_options(parser)
    add_precision(parser)
    parser.add_argument("--metrics", nargs="+", default=[], metavar="KEY", help="metrics of the matrix")
    add_format(parser)
    add_seeds(parser)
    add_roots(parser, "data", "weights", "results")
    add_machine(parser, cache=20.0)
    add_engine(parser)
    parser.add_argument("--dry-run", action="store_true", help="print plan and cost, and stop")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    digest = DigestCache()
    machine, engine = machine_of(parsed, digest), engine_of(parsed)
    library = Library(parsed.weights_root, digest)
    requests, all_open = open_methods(parsed, parsed.methods)
    sources = [open_dataset(key, parsed.data_root) for key in dataset_keys(parsed.sources)]
    targets = [open_dataset(key, parsed.data_root) for key in dataset_keys(parsed.targets)]
    seeds = () if parsed.seed is None and parsed.seeds == 1 else seeds_of(requests[0].recipe.seed, parsed)
    study = plan_cross(requests, sources, targets, seeds, library)
    print(study.summary(), flush=True)
    if parsed.dry_run:
        return 0
    untrained = train_all(study.missing, machine, digest, engine)
    store = cell_store(parsed.results)
    plan = study.evaluation(store, library, Settings(parsed.precision), machine.device.type)
    print(summary(plan, machine.memory), flush=True)
    outcome = run_with_progress(plan, store, machine, engine)
    wanted = {cell.key for cell in plan.wanted}
    table = build(
        [cell for cell in read(store, scores=False) if cell["key"] in wanted],
        "cross",
        metrics=parsed.metrics,
    )
    print()
    print_table(table, parsed.format)
    for path in write_tables(table, parsed.results / "tables", "cross"):
        print(f"wrote {path}")
    return 1 if untrained or outcome.failed or plan.refused or not all_open else 0
