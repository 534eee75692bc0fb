"""Everything at once, offline: generated datasets, small models, all methods; tables, pictures, the page.

examples:
  run_bench.py demo
  run_bench.py demo --root /tmp/demo
"""

import argparse
from pathlib import Path

from bench.cli.machine import add_machine, machine_of
from bench.cli.run import run_with_progress
from bench.cli.tables import print_table
from bench.demo.demo import HEADLINE, Demo, demo_requests
from bench.errors import BenchError
from bench.results import read
from bench.run.plan import summary
from bench.show import select, write_tables
from bench.store.digests import DigestCache


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--root", type=Path, default=Path("demo"), metavar="DIR", help="default: %(default)s")
    add_machine(parser, cache=0.0)


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    demo = Demo(parsed.root)
    print(f"generating and preparing stand-in datasets in {parsed.root} (kept for the next time)", flush=True)
    plan = demo.prepare()
    machine = machine_of(parsed, DigestCache())
    print(summary(plan, machine.memory), flush=True)
    outcome = run_with_progress(plan, demo.store, machine)
    wanted = {cell.key for cell in plan.wanted}
    cells = [cell for cell in read(demo.store) if cell["key"] in wanted]
    chosen = select(cells, methods=[request.word for request in demo_requests()], headline=HEADLINE)
    written = write_tables(chosen.table(), demo.tables, "paper")
    pictures = demo.draw_gallery(cells)
    try:
        page = f"all of it to look at: {demo.write_page(chosen, cells)}"
    except BenchError as error:
        page = f"no page: {error}"
    print()
    print_table(chosen.table("methods"), "text")
    print(f"every dataset: {', '.join(map(str, written))}\npictures: {', '.join(map(str, pictures))}\n{page}")
    return 1 if outcome.failed or plan.refused else 0
