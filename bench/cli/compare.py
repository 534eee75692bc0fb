"""Compare two methods image by image: differences of their image metrics, with 95% intervals."""

import argparse

from bench.cli.common import add_roots, cell_dataset_keys, cell_store, parse_pairs
from bench.cli.tables import add_format, print_table
from bench.results import read
from bench.study.compare import compare

EXAMPLES = """\
  run_bench.py compare --methods tipsomaly winclip --datasets industrial
  run_bench.py compare --methods tipsomaly tipsomaly:no-local-evidence
  run_bench.py compare --methods tipsomaly vand --datasets mvtec visa --where source=btad"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--methods", nargs=2, required=True, metavar=("A", "B"), help="keys or key:preset, as in table"
    )
    parser.add_argument(
        "--datasets", nargs="+", default=[], metavar="D", help="default: all that both have cells of"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only cells with this setting, such as source=btad or seed=none (published weights)",
    )
    parser.add_argument(
        "--latest", action="store_true", help="of cells that differ in data or weights, the newest"
    )
    add_format(parser)
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling; default: %(default)s")
    add_roots(parser, "results")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    cells = read(cell_store(parsed.results))
    table = compare(
        cells,
        *parsed.methods,
        datasets=cell_dataset_keys(parsed.datasets, cells),
        where=parse_pairs(parsed.where, "--where"),
        latest=parsed.latest,
        resamples=parsed.resamples,
        seed=parsed.seed,
    )
    print_table(table, parsed.format)
    return 0
