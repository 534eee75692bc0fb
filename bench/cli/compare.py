"""Compare methods image by image: differences of their metrics with 95% intervals and p-values, or their
average ranks over datasets. docs/studies.md says what is resampled, tested and corrected.

examples:
  run_bench.py compare --methods tipsomaly winclip --datasets industrial
  run_bench.py compare --methods tipsomaly vand winclip                      all pairs, Holm
  run_bench.py compare --methods vand winclip --against tipsomaly --metrics image_auroc
  run_bench.py compare --methods tipsomaly tipsomaly:no-local-evidence --out table.tex     or .csv
  run_bench.py compare --methods tipsomaly vand --datasets mvtec visa --where source=btad
  run_bench.py compare --methods tipsomaly winclip --metrics pixel_auroc pixel_aupro_exact
  run_bench.py compare --methods tipsomaly vand winclip --ranks --metrics pixel_aupro --figure cd
"""

import argparse
from pathlib import Path

from bench.cli.common import add_roots, add_selection, open_selection
from bench.cli.tables import add_format, print_or_write
from bench.errors import BenchError
from bench.show.figures.critical import draw
from bench.show.images import Images
from bench.study.bootstrap import METRICS
from bench.study.compare import CORRECTIONS, compare
from bench.study.ranks import ranks


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_selection(
        parser,
        methods="keys or key:preset, as in table; all pairs are compared",
        datasets="default: all that every method has cells of",
        required=True,
    )
    parser.add_argument("--against", metavar="M", help="a control: all others against this one alone")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=METRICS,
        metavar="KEY",
        help="default: those at image level; those at pixel level need cells run with --save-maps",
    )
    parser.add_argument(
        "--correction",
        choices=CORRECTIONS,
        default="holm",
        help="of p-values and intervals for several comparisons; default: %(default)s",
    )
    parser.add_argument(
        "--resamples", type=int, metavar="N", help="default: 2000, more for more than five comparisons"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling; default: %(default)s")
    parser.add_argument(
        "--ranks", action="store_true", help="average ranks over datasets instead, of three methods or more"
    )
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="STEM",
        help="with --ranks: the critical-difference diagram, as STEM.pdf and STEM.png",
    )
    add_format(parser, out=True)
    add_roots(parser, "results")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if parsed.figure and not parsed.ranks:
        raise BenchError("--figure goes with --ranks")
    store, cells, wanted = open_selection(parsed)
    wanted |= {"against": parsed.against, "metrics": parsed.metrics}
    if parsed.ranks:
        found = ranks(cells, **wanted)
        table = found.table
    else:
        images = Images(store, cells, Path())
        table = compare(
            cells,
            **wanted,
            correction=parsed.correction,
            resamples=parsed.resamples,
            seed=parsed.seed,
            read_counts=lambda cell: images.maps(cell).counts(),
        )
    print_or_write(table, parsed.format, parsed.out)
    if parsed.figure:
        from bench.show.figures.paper import save  # noqa: PLC0415 (only who draws waits for matplotlib)

        for path in save(lambda: draw(found.diagrams), parsed.figure, "--figure"):
            print(f"wrote {path}")
    return 0
