"""Draw a figure for a paper, as PDF and PNG, from finished cells and kept maps: no model is loaded.

examples:
  run_bench.py run --methods winclip vand musc --datasets mvtec visa --save-maps
  run_bench.py figure gallery --methods winclip vand musc --pick median disagreement
  run_bench.py figure gallery --datasets mvtec --images bottle/test/broken_large/000.png --scale common
  run_bench.py figure curves --datasets mvtec --classes bottle --panels roc pro --width column
  run_bench.py figure cross --methods tipsomaly --metrics pixel_aupro
  run_bench.py figure speed --metric pixel_aupro
"""

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from bench.cli.common import add_roots, add_selection, open_selection
from bench.results import marks_of
from bench.show import Selection, select
from bench.show.curves import PICKS
from bench.show.figures.cross import draw_cross
from bench.show.figures.curves import PANELS, draw_curves
from bench.show.figures.gallery import SCALES, draw_gallery, gallery_rows
from bench.show.figures.paper import WIDTHS, save, width_of
from bench.show.figures.speed import draw_speed
from bench.show.images import Images
from bench.show.means import ColumnCells
from bench.store.marks import legend

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
    store, cells, wanted = open_selection(parsed)
    images = Images(store, cells, getattr(parsed, "data_root", Path()))
    draw, said = _drawing(parsed, select(cells, **wanted), images, width)
    for path in save(draw, parsed.out):
        print(f"wrote {path}")
    for symbol, meaning in said:
        print(f"for the caption: {symbol} {meaning}")
    return 0


def _drawing(
    parsed: argparse.Namespace, chosen: Selection, images: Images, width: float
) -> tuple["partial[Figure]", tuple[tuple[str, str], ...]]:
    """Return what draws the figure, and marks for its caption; everything is read and checked before."""
    if parsed.kind == "cross":
        table = chosen.table("cross", metrics=parsed.metrics)
        return partial(draw_cross, table, width), table.legend()
    columns = chosen.columns
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
        return partial(draw_gallery, rows, [column.label for column in columns], width, parsed.scale), ()
    if parsed.kind == "speed":
        return partial(draw_speed, chosen.results, metric=parsed.metric, width=width), ()
    panels = parsed.panels or ["roc", "pr", *(["pro"] if _have_maps(columns, images, parsed.classes) else [])]
    draw = partial(draw_curves, chosen.results, images, panels=panels, classes=parsed.classes, width=width)
    return draw, legend({mark for cell in chosen.cells for mark in marks_of(cell)})


def _have_maps(columns: Iterable[ColumnCells], images: Images, classes: list[str]) -> bool:
    cells = [cell for column in columns for cell in column.cells if not classes or cell["class"] in classes]
    with_masks = [cell for cell in cells if cell["not_applicable"]["pixel"] is None]
    return bool(with_masks) and all(map(images.keeps_maps, with_masks))
