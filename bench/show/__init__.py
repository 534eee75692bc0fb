"""Tables: pure functions of stored cells and of the numbers that papers print."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.show import layouts, published, render_data, render_latex, render_markdown, render_text
from bench.show.against import against as held_against
from bench.show.against import comparable
from bench.show.choose import choose, fill_columns, unmatched
from bench.show.cross import cross
from bench.show.means import Cell, Results
from bench.show.model import AUPRO, Table
from bench.show.summary import summarise
from bench.store.atomic import write_atomically

FORMATS: Mapping[str, Callable[[Table], str]] = {
    "text": render_text.render,
    "md": render_markdown.render,
    "latex": render_latex.render,
    "csv": render_data.render_csv,
    "json": render_data.render_json,
}
FILES: Mapping[str, Callable[[Table], bytes]] = {"parquet": render_data.render_parquet}
"""Formats that are no text: for files only."""

CROSS = "cross"
LAYOUTS = (*layouts.LAYOUTS, CROSS)

__all__ = [
    "AUPRO",
    "FILES",
    "FORMATS",
    "LAYOUTS",
    "Table",
    "build",
    "build_published",
    "render",
    "write_table",
    "write_tables",
]


def build(
    cells: Iterable[Cell],
    layout: str = "paper",
    *,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
    against: str | None = None,
    metrics: Sequence[str] = (),
    aupro: str | None = None,
    headline: str | None = None,
) -> Table:
    """Return the table of the cells.

    Args:
        cells: As `bench.results.read` gives them.
        layout: One of `LAYOUTS`.
        methods: `key`, `key:variant` or as columns are called, in the order of the columns; empty: all.
        datasets: Keys of the rows; empty: the whole catalog and what else there is.
        where: Settings that cells must have, for example `{"precision": "float32", "options.sigma": "4"}`.
        latest: Where cells differ only in data, prompt, weights or versions, take the newest.
        against: Name of a published table, or path of a CSV: ours, theirs and the difference.
        metrics: Keys of the metrics of the layout `cross`; empty: its usual ones.
        aupro: `protocol` (200 thresholds, as published codes do), `exact` or `both`; None: what is usual in
            the layout.
        headline: A sentence to stand above the numbers.

    Raises:
        BenchError: A name is unknown, nothing matches, or cells of one column were measured differently.
    """
    if against is not None and layout != "paper":
        raise BenchError(f"--against goes with --layout paper, not {layout}")
    if metrics and layout != CROSS:
        raise BenchError(f"--metrics goes with --layout {CROSS}, not {layout}")
    cells = list(cells)
    chosen = choose(cells, methods=methods, datasets=datasets, where=where, latest=latest)
    if layout == CROSS and not datasets:
        datasets = list(dict.fromkeys(cell["dataset"] for cell in chosen))
    columns = shown = fill_columns(chosen, by_source=layout == CROSS)
    paper = None if against is None else published.read(published.find(against))
    if paper is not None:
        shown = comparable(columns, paper)
    remarks = [*_gone(cells, chosen), *(f"no cells of {word}" for word in unmatched(chosen, methods))]
    results = summarise(shown, datasets=datasets, headline=headline, remarks=remarks)
    if paper is not None:
        left_out = [column.label for column in columns if column not in shown]
        return held_against(results, paper, aupro, left_out)
    return cross(results, metrics, aupro) if layout == CROSS else _layout(layout, results, aupro)


def _gone(cells: Sequence[Cell], chosen: Sequence[Cell]) -> list[str]:
    """Say which classes are left out because a later run did not find them any more."""
    shown = {cell["dataset"] for cell in chosen}
    gone = {f"{cell['dataset']}/{cell['class']}" for cell in cells if cell.get("gone")}
    names = sorted(name for name in gone if name.partition("/")[0] in shown)
    return [f"left out, gone from the dataset since it was measured: {', '.join(names)}"] if names else []


def build_published(name: str, layout: str = "paper", aupro: str | None = None) -> Table:
    """Return a published table (its name, or the path of a CSV) as our layouts would have it."""
    return _layout(layout, published.read(published.find(name)), aupro)


def _layout(layout: str, results: Results, aupro: str | None) -> Table:
    if layout == CROSS:
        raise BenchError(f"--layout {CROSS} needs cells: published tables have one source for each target")
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    return layouts.LAYOUTS[layout](results, aupro)


def render(table: Table, form: str = "md") -> str:
    """Return the table as text; `form` is a key of `FORMATS`."""
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    return FORMATS[form](table)


def write_tables(table: Table, folder: Path, stem: str) -> list[Path]:
    """Write `stem.md` and `stem.tex` into the folder and return their paths."""
    return [
        write_table(table, form, folder / f"{stem}{suffix}", "folder")
        for form, suffix in (("md", ".md"), ("latex", ".tex"))
    ]


def write_table(table: Table, form: str, path: Path, flag: str) -> Path:
    """Write the table whole or not at all; the error names the command line's `flag` for another place."""
    content = FILES[form](table) if form in FILES else render(table, form).encode()
    write_atomically(path, lambda place: place.write_bytes(content), flag)
    return path
