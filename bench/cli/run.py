"""Measure methods on datasets. Finished cells are kept and skipped; run it again to go on.

examples:
  run_bench.py run --methods tipsomaly --datasets industrial
  run_bench.py run --methods all --datasets all --device cuda --precision float32
  run_bench.py run --methods tipsomaly:no-local-evidence --datasets mvtec visa
  run_bench.py run --methods tipsomaly --set sigma=0 --datasets mvtec
  run_bench.py run --methods winclip --datasets path/to/my/folder
  run_bench.py run --methods all --datasets all --device cuda:0,cuda:1
  run_bench.py run --methods all --datasets all --engine ray --address auto
  run_bench.py run --methods all --datasets all --shard 2/8
  run_bench.py run --methods all --datasets all --save-maps --dry-run
"""

import argparse
import sys
from contextlib import closing
from dataclasses import replace

import torch

from bench.cli.common import (
    add_datasets,
    add_methods,
    add_options,
    add_precision,
    add_roots,
    cell_store,
    open_folders,
    open_methods,
    parse_source,
)
from bench.cli.machine import add_engine, add_machine, engine_of, machine_of
from bench.cli.progress import on_terminal, progress
from bench.errors import BenchError
from bench.run.cost import Rates, forecast
from bench.run.engines.cells import execute_on
from bench.run.engines.driver import Engine
from bench.run.execute import Listener, Outcome, execute
from bench.run.machine import Machine
from bench.run.plan import ModelSpec, Permissions, Plan, Settings, Task, summary
from bench.run.planner import make_plan
from bench.run.precision import slow_here
from bench.run.record import remetric
from bench.store.cells import CellId, CellStore
from bench.store.digests import DigestCache


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_methods(parser, required=True)
    add_datasets(parser, required=True)
    add_roots(parser, "data", "weights", "results")
    number = parser.add_argument_group("what changes numbers (part of a cell's key)")
    add_options(number)
    number.add_argument(
        "--source", metavar="D[+D2]", help="weights trained on these instead of the protocol's"
    )
    add_precision(number)
    number.add_argument(
        "--masks", choices=("resized", "native"), default="resized", help="size of evaluation"
    )
    number.add_argument(
        "--mask-threshold", type=int, default=0, metavar="G", help="grey > G is anomalous (0..254)"
    )
    number.add_argument("--metrics-mode", choices=("exact", "streaming"), default="exact")
    number.add_argument("--aupro-flavour", choices=("numpy1", "numpy2"), default="numpy1")
    number.add_argument("--limit", type=int, metavar="N", help="at most N images a class; marked partial")
    add_machine(parser, cache=0.0)
    add_engine(parser, collect=True)
    run = parser.add_argument_group("the run")
    run.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    run.add_argument("--force", action="store_true", help="compute cells that are here already again")
    run.add_argument(
        "--save-maps",
        action="store_true",
        help="keep small anomaly maps beside the cells, for figures and the page; "
        "a cell that is here without maps is computed again",
    )
    run.add_argument("--shard", metavar="I/N", help="only this part of the classes, for several machines")
    run.add_argument(
        "--remetric", action="store_true", help="only recompute image metrics from stored scores"
    )
    run.add_argument(
        "--allow-seen", action="store_true", help="test on what was trained on; marked, unranked"
    )
    run.add_argument("--allow-partial", action="store_true", help="accept incomplete datasets; marked")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if parsed.limit is not None and parsed.limit < 1:
        raise BenchError(f"--limit {parsed.limit}: must be at least 1")
    if not 0 <= parsed.mask_threshold < 255:
        raise BenchError(f"--mask-threshold {parsed.mask_threshold}: a grey value from 0 to 254")
    if parsed.save_maps and parsed.collect:
        raise BenchError(
            "--save-maps keeps maps beside the cells, in a folder that all nodes share: no --collect"
        )
    digest = DigestCache()
    machine, engine = machine_of(parsed, digest), engine_of(parsed)
    store = cell_store(parsed.results)
    requests, all_open = open_methods(parsed, parsed.methods)
    folders, unopened = open_folders(parsed)
    plan = make_plan(
        requests,
        folders,
        store,
        weights_root=parsed.weights_root,
        digest=digest,
        settings=Settings(
            parsed.precision,
            parsed.masks,
            parsed.mask_threshold,
            parsed.metrics_mode,
            parsed.aupro_flavour,
            parsed.limit,
        ),
        source=parse_source(parsed.source),
        allow=Permissions(parsed.allow_seen, parsed.allow_partial),
        force=parsed.force,
        keeps_maps=lambda folder, data: parsed.save_maps and not parsed.remetric,
        device=machine.device.type,
    )
    if parsed.shard:
        plan = plan.shard(*_shard(parsed.shard))
    for failure in unopened:
        print(f"not opened: {failure}", file=sys.stderr)
    print(summary(plan, machine.memory))
    if parsed.remetric:
        print(f"image metrics recomputed in {remetric(plan.done, store)} cells")
        return 0
    if parsed.dry_run:
        print("\n".join(f"  {line}" for line in forecast(plan, Rates.of(plan, store))))
        return 0 if all_open and not (plan.refused or unopened) else 1
    outcome = run_with_progress(plan, store, machine, engine)
    complete = all_open and not (outcome.failed or plan.refused or unopened)
    print(
        f"{len(outcome.finished)} cells written to {store.root}, {len(plan.done)} were there, "
        f"{len(outcome.failed)} failed, {len(plan.refused) + len(unopened)} refused"
    )
    return 0 if complete else 1


def _shard(text: str) -> tuple[int, int]:
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise BenchError(f"--shard {text}: expected I/N, such as 2/8") from None
    return index, count


def run_with_progress(
    plan: Plan, store: CellStore, machine: Machine, engine: Engine | None = None
) -> Outcome:
    """Execute the plan, here or on an engine, with a progress bar on a terminal and lines elsewhere."""
    if not plan.tasks and not plan.lacking:
        return Outcome()
    for precision in sorted({task.spec.precision for task in plan.tasks}):
        if slow_here(precision, machine.device.type, torch.cpu.get_capabilities()):
            print(f"note: this CPU has no instructions for {precision}: slower than float32", file=sys.stderr)
    with closing(_Progress(total=plan.n_images)) as listener:
        if engine is not None:
            return execute_on(engine, plan, store, machine, listener)
        return execute(plan, store, replace(machine, note=listener.note), listener)


class _Progress(Listener):
    def __init__(self, total: int) -> None:
        self._said: set[str] = set()
        self._bar = progress(total=total, unit="images")

    def close(self) -> None:
        self._bar.close()

    def loading(self, spec: ModelSpec) -> None:
        if not on_terminal():
            print(f"loading {spec}", flush=True)

    def task(self, task: Task) -> None:
        self._task = f"{task.cell.dataset}/{task.cell.class_key}"
        self._bar.set_description(self._task)

    def note(self, text: str) -> None:
        self._bar.set_description(f"{self._task}, {text}")

    def images(self, count: int) -> None:
        self._bar.update(count)

    def remark(self, cell: CellId, text: str) -> None:
        line = f"warning: {cell.dataset}/{cell.class_key}: {text}"
        if line not in self._said:  # every method would say so
            self._bar.write(line, file=sys.stderr)
        self._said.add(line)

    def engine(self, text: str) -> None:
        self._bar.write(f"note: {text}", file=sys.stderr)

    def failure(self, cell: CellId, reason: str, trace: str) -> None:
        self._bar.write(f"failed: {cell}: {reason}", file=sys.stderr)
