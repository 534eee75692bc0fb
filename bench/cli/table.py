"""Print tables of finished cells, or of published numbers.

examples:
  run_bench.py table                                    aligned columns on a terminal, Markdown in a pipe
  run_bench.py table --layout paper --out table1.tex    or .md, .txt, .csv, .json, .parquet
  run_bench.py table --layout per-class --methods tipsomaly --datasets mvtec
  run_bench.py table --layout methods --methods tipsomaly
  run_bench.py table --layout cross --methods tipsomaly --metrics pixel_auroc
  run_bench.py table --against published
  run_bench.py table --published tipsomaly_paper
"""

import argparse

from bench.cli.common import add_roots, add_selection, open_selection
from bench.cli.tables import add_format, print_or_write
from bench.show import AUPRO, LAYOUTS, build, build_published
from bench.show.published import DEFAULT, available


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--layout", choices=LAYOUTS, default="paper")
    add_format(parser, out=True)
    add_selection(parser, methods="columns and their order (default: all)", datasets="rows (default: all)")
    parser.add_argument("--metrics", nargs="+", default=[], metavar="K", help="of --layout cross")
    parser.add_argument(
        "--aupro",
        choices=tuple(AUPRO),
        help="by the published 200 thresholds, exact, or both (default: as the layout has it)",
    )
    parser.add_argument(
        "--against",
        metavar="PAPER",
        help=f"ours beside theirs: published (= {DEFAULT}), {', '.join(available())}, or a CSV",
    )
    parser.add_argument("--published", metavar="PAPER", help="the paper's own numbers in our layout")
    add_roots(parser, "results")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if parsed.published:
        table = build_published(_paper(parsed.published), parsed.layout, parsed.aupro)
    else:
        _, cells, wanted = open_selection(parsed, scores=False)
        table = build(
            cells,
            parsed.layout,
            **wanted,
            against=_paper(parsed.against) if parsed.against else None,
            metrics=parsed.metrics,
            aupro=parsed.aupro,
        )
    print_or_write(table, parsed.format, parsed.out)
    return 0


def _paper(name: str) -> str:
    return DEFAULT if name == "published" else name
