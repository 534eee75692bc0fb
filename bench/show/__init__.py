"""Tables: pure functions of stored cells and of the numbers that papers print."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.show import layouts, published, render_data, render_latex, render_markdown
from bench.show.choose import Cell, HomeSource, choose, fill_columns
from bench.show.cross import cross
from bench.show.footer import footer
from bench.show.model import Table
from bench.show.results import Results
from bench.show.summary import summarise

FORMATS: Mapping[str, Callable[[Table], str]] = {
    "md": render_markdown.render,
    "latex": render_latex.render,
    "csv": render_data.render_csv,
    "json": render_data.render_json,
}

CROSS = "cross"
LAYOUTS = (*layouts.LAYOUTS, CROSS)

__all__ = ["FORMATS", "LAYOUTS", "Table", "build", "build_published", "render", "write_tables"]


def build(
    cells: Iterable[Cell],
    layout: str = "paper",
    *,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
    against: str | None = None,
    home_source: HomeSource | None = None,
    metrics: Sequence[str] = (),
    headline: str | None = None,
) -> Table:
    """Return the table of the cells.

    Args:
        cells: As read from the store (`bench.store.cells`).
        layout: One of `LAYOUTS`.
        methods: `key` or `key:preset`, in the order of the columns; empty: all there are.
        datasets: Keys of the rows; empty: the whole catalogue and what else there is.
        where: Settings that cells must have, for example `{"precision": "float32", "options.sigma": "4"}`.
        latest: Where cells differ only in data, prompt, weights or versions, take the newest.
        against: Name of a published table, or path of a CSV: ours, theirs and the difference.
        home_source: The protocol's source for (method, target); other sources get columns of their own.
        metrics: Keys of the metrics of the layout `cross`; empty: its usual ones.
        headline: A sentence to stand above the numbers.

    Raises:
        BenchError: A name is unknown, nothing matches, or cells of one column were measured differently.
    """
    if against is not None and layout != "paper":
        raise BenchError(f"--against goes with --layout paper, not {layout}")
    if metrics and layout != CROSS:
        raise BenchError(f"--metrics goes with --layout {CROSS}, not {layout}")
    chosen = choose(cells, methods=methods, datasets=datasets, where=where, latest=latest)
    fillings = fill_columns(chosen, home_source, by_source=layout == CROSS)
    if layout == CROSS and not datasets:
        datasets = list(dict.fromkeys(cell["dataset"] for cell in chosen))
    results = summarise(
        fillings,
        datasets=datasets,
        headline=headline,
        footer=footer(fillings),
    )
    if layout == CROSS:
        return cross(results, fillings, home_source, metrics)
    if against is None:
        return _layout(layout, results)
    return layouts.against(results, published.read(published.find(against)))


def build_published(name: str, layout: str = "paper") -> Table:
    """Return a published table (its name, or the path of a CSV) as our layouts would have it."""
    return _layout(layout, published.read(published.find(name)))


def _layout(layout: str, results: Results) -> Table:
    if layout == CROSS:
        raise BenchError(f"--layout {CROSS} needs cells: published tables have one source for each target")
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    return layouts.LAYOUTS[layout](results)


def render(table: Table, form: str = "md") -> str:
    """Return the table as text; `form` is a key of `FORMATS`."""
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    return FORMATS[form](table)


def write_tables(table: Table, folder: Path, stem: str) -> list[Path]:
    """Write `stem.md` and `stem.tex` into the folder and return their paths."""
    written = []
    for form, suffix in (("md", ".md"), ("latex", ".tex")):
        path = folder / f"{stem}{suffix}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(render(table, form), encoding="utf-8")
        except OSError as error:
            raise BenchError(f"cannot write {path}: {error.strerror}; choose another folder") from error
        written.append(path)
    return written
