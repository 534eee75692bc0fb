"""Write the results page: one HTML file to open from disk, or a folder for a web server with images."""

import argparse
from pathlib import Path

from bench.cli.common import add_roots, cell_dataset_keys, cell_store, parse_pairs
from bench.results import read
from bench.show.page import LARGEST, content, write_page

EXAMPLES = """\
  run_bench.py report
  run_bench.py report --results demo/results --out demo.html
  run_bench.py report --site public"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--methods", nargs="+", default=[], metavar="M", help="methods and their order")
    parser.add_argument("--datasets", nargs="+", default=[], metavar="D", help="datasets (default: all)")
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="only cells with this setting"
    )
    parser.add_argument(
        "--latest", action="store_true", help="of cells that differ in data or weights, the newest"
    )
    add_roots(parser, "results")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    cells = read(cell_store(parsed.results))
    page = content(
        cells,
        methods=parsed.methods,
        datasets=cell_dataset_keys(parsed.datasets, cells),
        where=parse_pairs(parsed.where, "--where"),
        latest=parsed.latest,
    )
    size = write_page(page, parsed.out).stat().st_size
    print(f"wrote {parsed.out} ({size / 2**20:.1f} MiB, {len(page.cells)} cells)")
    if size > LARGEST:
        print(f"that is above {LARGEST / 2**20:.0f} MiB: choose --methods or --datasets for a lighter page")
    return 0
