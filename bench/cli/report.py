"""Write the results page: one HTML file to open from disk, or a folder for a web server with images.

examples:
  run_bench.py report
  run_bench.py report --results demo --out demo.html
  run_bench.py report --images --data-root data
  run_bench.py report --site public --data-root data
"""

import argparse
from pathlib import Path

from bench.cli.common import add_roots, add_selection, open_selection
from bench.show import select
from bench.show.images import Images
from bench.show.page import LARGEST, add_images, content, write_page


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: %(default)s"
    )
    place.add_argument(
        "--site", type=Path, metavar="DIR", help="a folder with the page and small copies of images instead"
    )
    parser.add_argument(
        "--images",
        action="store_true",
        help="small pictures in the one file too (up to 5 MiB of them); --site has them larger and beside it",
    )
    add_selection(parser)
    add_roots(parser, "results", "data")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    store, cells, wanted = open_selection(parsed)
    images = Images(store, cells, parsed.data_root)
    page = content(select(cells, **wanted), images)
    path, flag, said = parsed.out, "--out", None
    if parsed.site is not None:
        path, flag = parsed.site / "index.html", "--site"
    if parsed.site is not None or parsed.images:
        page, said = add_images(page, cells, images, parsed.site)
        print(said)
    size = write_page(page, path, images=said, flag=flag).stat().st_size
    print(f"wrote {path} ({size / 2**20:.1f} MiB, {len(page.cells)} cells)")
    if size > LARGEST and not parsed.images:
        print(f"that is above {LARGEST / 2**20:.0f} MiB: choose --methods or --datasets for a lighter page")
    return 0
