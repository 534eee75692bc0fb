"""What all figures share: widths, letters and colours, and how they are written."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.errors import BenchError
from bench.store.atomic import write_atomically

WIDTHS = {"column": 3.25, "text": 6.875}
"""Inches of a column and of the text in the field's two-column templates (CVPR's; others are wider)."""
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, told apart by colour-blind readers; the results page has the same."""
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
_MARKERS = "osD^vP"
_DPI = 300
_PNG_LEVEL = 4
"""Of zlib: a third of the time of its usual 6, for a file five hundredths larger."""


def paper_style() -> AbstractContextManager[None]:
    """Return the context in which a figure is made and saved."""
    return rc_context(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.edgecolor": "none",
            "pdf.fonttype": 42,  # letters stay text, in fonts that publishers accept
            "image.composite_image": False,  # tiles stay apart in a PDF, which is also faster
            "text.parse_math": False,  # a name with two dollars is a name
        }
    )


def width_of(text: str) -> float:
    """Return the inches of `column`, `text` or a number; raises `BenchError`."""
    try:
        width = WIDTHS.get(text) or float(text)
    except ValueError:
        width = 0.0
    if not 1 <= width <= 40:
        raise BenchError(f"--width {text}: {', '.join(WIDTHS)}, or inches from 1 to 40")
    return width


def line_of(place: int) -> dict[str, Any]:
    """Return colour and dashes of the method at `place`: 21 that differ."""
    return {"color": HUES[place % len(HUES)], "linestyle": _DASHES[place // len(HUES) % len(_DASHES)]}


def point_of(place: int) -> dict[str, Any]:
    """Return colour and marker of the method at `place`: 42 that differ."""
    return {"color": HUES[place % len(HUES)], "marker": _MARKERS[place // len(HUES) % len(_MARKERS)]}


def save(draw: Callable[[], Figure], stem: Path, flag: str = "--out") -> list[Path]:
    """Write what `draw` makes to `stem.pdf` and `stem.png`, each whole or not at all; return both.

    The same figure gives the same bytes: no date is written. A `stem` that ends in `.pdf` or `.png` stands
    for both. Raises `BenchError`, naming the command line's `flag`, where they cannot be written.
    """
    if stem.suffix in (".pdf", ".png"):
        stem = stem.with_suffix("")
    paths = []
    with paper_style():
        figure = draw()
        for kind, how in (
            ("pdf", {"metadata": {"CreationDate": None}}),
            ("png", {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": _PNG_LEVEL}}),
        ):
            path = stem.with_name(f"{stem.name}.{kind}")

            def write(place: Path, kind: str = kind, how: Any = how) -> None:
                figure.savefig(place, format=kind, dpi=_DPI, **how)

            write_atomically(path, write, flag)
            paths.append(path)
    return paths
