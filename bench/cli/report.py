"""Write the results page: one HTML file to open from disk, or a folder for a web server with images."""

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from bench.cli.common import add_roots, cell_dataset_keys, cell_store, parse_pairs
from bench.results import read
from bench.show.page import LARGEST, Read, add_images, content, write_page
from bench.store.cells import Cell
from datasets.images import read_image
from datasets.meta import open_dataset, own_key
from datasets.samples import Folder

EXAMPLES = """\
  run_bench.py report
  run_bench.py report --results demo/results --out demo.html
  run_bench.py report --site public --data-root data"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: %(default)s"
    )
    place.add_argument(
        "--site", type=Path, metavar="DIR", help="a folder with the page and small copies of images instead"
    )
    parser.add_argument("--methods", nargs="+", default=[], metavar="M", help="methods and their order")
    parser.add_argument("--datasets", nargs="+", default=[], metavar="D", help="datasets (default: all)")
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="only cells with this setting"
    )
    parser.add_argument(
        "--latest", action="store_true", help="of cells that differ in data or weights, the newest"
    )
    add_roots(parser, "results", "data")


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
    path, images, flag = parsed.out, None, "--out"
    if parsed.site is not None:
        path, flag = parsed.site / "index.html", "--site"
        page, images = add_images(page, parsed.site, _reader(cells, parsed.data_root))
        print(images)
    size = write_page(page, path, images=images, flag=flag).stat().st_size
    print(f"wrote {path} ({size / 2**20:.1f} MiB, {len(page.cells)} cells)")
    if size > LARGEST:
        print(f"that is above {LARGEST / 2**20:.0f} MiB: choose --methods or --datasets for a lighter page")
    return 0


def _reader(cells: Sequence[Cell], data_root: Path) -> Read:
    """Return what finds the images of cells in the datasets' folders."""
    known = {cell["key"]: cell for cell in cells}

    @cache
    def samples(dataset: str, target: str, protocol: str | None) -> dict[str, Path]:
        for folder in _folders(dataset, target, protocol, data_root):
            if folder.key == dataset:
                return {sample.name: sample.image for data in folder.classes for sample in data.samples}
        return {}

    def read_one(key: str, name: str) -> Image.Image | None:
        cell = known[key]
        path = samples(cell["dataset"], cell["target"], cell["dataset_protocol"]).get(name)
        try:
            return None if path is None else read_image(path)
        except (OSError, ValueError):
            return None

    return read_one


def _folders(dataset: str, target: str, protocol: str | None, data_root: Path) -> Iterator[Folder]:
    """Yield the folders under the data root that may be the cell's dataset."""
    own = [path for path in data_root.glob("*/") if path.is_dir() and own_key(path) == dataset]
    named = [f"{target}:{protocol}"] if protocol else []
    specs: list[str | Path] = [*own, *named, target]
    for spec in specs:
        try:
            yield open_dataset(spec, data_root, missing_ok=True)
        except (OSError, ValueError):  # not here
            continue
