"""Draw a figure for a paper, as PDF and PNG, from finished cells and kept maps: no model is loaded."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.cli.common import add_roots, add_selection, cell_store, selection_of
from bench.results import marks_of, read
from bench.show import build
from bench.show.choose import choose, fill_columns
from bench.show.curves import PICKS
from bench.show.figures.cross import draw_cross
from bench.show.figures.curves import PANELS, draw_curves
from bench.show.figures.gallery import SCALES, draw_gallery, gallery_rows
from bench.show.figures.paper import WIDTHS, save, width_of
from bench.show.figures.speed import draw_speed
from bench.show.images import Images
from bench.show.means import ColumnCells
from bench.show.summary import summarise
from bench.store.marks import legend

EXAMPLES = """\
  run_bench.py run --methods winclip vand musc --datasets mvtec visa --save-maps
  run_bench.py figure gallery --methods winclip vand musc --pick median disagreement
  run_bench.py figure gallery --datasets mvtec --images bottle/test/broken_large/000.png --scale common
  run_bench.py figure curves --datasets mvtec --classes bottle --panels roc pro --width column
  run_bench.py figure cross --methods tipsomaly --metrics pixel_aupro
  run_bench.py figure speed --metric pixel_aupro"""

_KINDS = {
    "gallery": "images, ground truth and heat maps side by side; needs kept maps and the dataset",
    "curves": "ROC and precision-recall curves, and with kept maps those of pixels and per-region overlap",
    "cross": "the source x target matrix as a heat map",
    "speed": "images per second and peak memory against accuracy",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    made = {name: kinds.add_parser(name, help=text, description=text) for name, text in _KINDS.items()}
    for name, kind in made.items():
        add_selection(kind)
        widths = ", ".join(f"{word} ({inches} in)" for word, inches in WIDTHS.items())
        kind.add_argument("--width", default="text", metavar="W", help=f"{widths} or inches (default: text)")
        kind.add_argument(
            "--out",
            type=Path,
            default=Path("figures") / name,
            metavar="STEM",
            help="STEM.pdf and STEM.png are written (default: %(default)s)",
        )
        kind.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        add_roots(kind, "results")
    gallery, curves = made["gallery"], made["curves"]
    which = gallery.add_mutually_exclusive_group()
    which.add_argument(
        "--pick",
        nargs="+",
        choices=PICKS,
        default=["median"],
        help="anomalous images of each class, by their ranks among the methods' scores (default: median)",
    )
    which.add_argument(
        "--images", nargs="+", default=[], metavar="NAME", help="these, as the cells name them"
    )
    gallery.add_argument("--rows", type=int, default=6, metavar="N", help="at most (default: %(default)s)")
    scales = "; ".join(f"{word}: {meaning}" for word, meaning in SCALES.items())
    gallery.add_argument("--scale", choices=tuple(SCALES), default="map", help=f"of colours. {scales}")
    add_roots(gallery, "data")
    curves.add_argument(
        "--panels", nargs="+", choices=tuple(PANELS), help="default: roc pr, and pro where maps are kept"
    )
    for kind in (gallery, curves):
        kind.add_argument("--classes", nargs="+", default=[], metavar="C", help="default: all")
    made["cross"].add_argument(
        "--metrics", nargs="+", default=[], metavar="K", help="default: AUROCs and AUPRO"
    )
    made["speed"].add_argument("--metric", default="image_auroc", metavar="K", help="default: %(default)s")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    width = width_of(parsed.width)
    store = cell_store(parsed.results)
    cells = read(store)
    wanted = selection_of(parsed, cells)
    if parsed.kind == "cross":
        table = build(cells, "cross", metrics=parsed.metrics, **wanted)
        draw, said = (lambda: draw_cross(table, width)), table.legend()
    else:
        columns = fill_columns(choose(cells, **wanted))
        images = Images(store, cells, getattr(parsed, "data_root", Path()))
        draw = _drawing(parsed, columns, wanted["datasets"], images)
        shown = (cell for column in columns for cell in column.cells)
        said = legend(frozenset().union(*(marks_of(cell) for cell in shown)))
    for path in save(draw, parsed.out):
        print(f"wrote {path}")
    for symbol, meaning in said if parsed.kind in ("cross", "curves") else ():
        print(f"for the caption: {symbol} {meaning}")
    return 0


def _drawing(
    parsed: argparse.Namespace, columns: list[ColumnCells], datasets: list[str], images: Images
) -> Callable[[], Figure]:
    """Return what draws the figure; everything is read and checked before."""
    width = width_of(parsed.width)
    if parsed.kind == "gallery":
        rows = gallery_rows(
            columns,
            images,
            picks=parsed.pick,
            names=parsed.images,
            classes=parsed.classes,
            most=parsed.rows,
            scale=parsed.scale,
        )
        return lambda: draw_gallery(rows, [column.label for column in columns], width, parsed.scale)
    results = summarise(columns, datasets=datasets)
    if parsed.kind == "speed":
        return lambda: draw_speed(results, metric=parsed.metric, width=width)
    options: dict[str, Any] = {"classes": parsed.classes, "width": width}
    panels = parsed.panels or ["roc", "pr", *(["pro"] if _have_maps(columns, images, parsed.classes) else [])]
    return lambda: draw_curves(results, images, panels=panels, **options)


def _have_maps(columns: Iterable[ColumnCells], images: Images, classes: list[str]) -> bool:
    cells = [cell for column in columns for cell in column.cells if not classes or cell["class"] in classes]
    with_masks = [cell for cell in cells if cell["not_applicable"]["pixel"] is None]
    return bool(with_masks) and all(map(images.keeps_maps, with_masks))
