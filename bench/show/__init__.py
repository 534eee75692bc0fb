"""Tables: pure functions of stored cells and of the numbers that papers print."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.errors import BenchError, refuse_unknown
from bench.show import layouts, published, render_data, render_latex, render_markdown, render_text
from bench.show.against import against as held_against
from bench.show.against import comparable
from bench.show.choose import choose, fill_columns, unmatched
from bench.show.cross import cross
from bench.show.means import ColumnCells, Results
from bench.show.model import AUPRO, Table
from bench.show.summary import summarise
from bench.store.atomic import write_atomically
from bench.store.cells import Cell

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
    "Selection",
    "Table",
    "build",
    "build_published",
    "render",
    "select",
    "write_table",
    "write_tables",
]


@dataclass(frozen=True)
class Selection:
    """Chosen cells, from which any number of tables is made: columns and means are made once."""

    cells: Sequence[Cell]
    datasets: Sequence[str] = ()
    headline: str | None = None
    remarks: Sequence[str] = ()

    @cached_property
    def columns(self) -> list[ColumnCells]:
        """The cells by method and variant, as `fill_columns` has them."""
        return fill_columns(self.cells)

    @cached_property
    def by_source(self) -> list[ColumnCells]:
        """The cells by method, variant and source."""
        return fill_columns(self.cells, by_source=True)

    @cached_property
    def results(self) -> Results:
        """The numbers of all columns."""
        return self._summary(self.columns, self.datasets)

    def table(
        self,
        layout: str = "paper",
        *,
        against: str | None = None,
        metrics: Sequence[str] = (),
        aupro: str | None = None,
    ) -> Table:
        """Return a table.

        Args:
            layout: One of `LAYOUTS`.
            against: Name of a published table, or path of a CSV: ours, theirs and the difference.
            metrics: Keys of the metrics of the layout `cross`; empty: its usual ones.
            aupro: `protocol` (200 thresholds, as published codes do), `exact` or `both`; None: what is usual
                in the layout.

        Raises:
            BenchError: A name is unknown, or cells of one column were measured differently.
        """
        if against is not None and layout != "paper":
            raise BenchError(f"--against goes with --layout paper, not {layout}")
        if metrics and layout != CROSS:
            raise BenchError(f"--metrics goes with --layout {CROSS}, not {layout}")
        if against is not None:
            paper = published.read(published.find(against))
            shown = comparable(self.columns, paper)
            left_out = [column.label for column in self.columns if column not in shown]
            return held_against(self._summary(shown, self.datasets), paper, aupro, left_out)
        if layout == CROSS:
            datasets = self.datasets or list(dict.fromkeys(cell["dataset"] for cell in self.cells))
            return cross(self._summary(self.by_source, datasets), metrics, aupro)
        return _layout(layout, self.results, aupro)

    def _summary(self, columns: Sequence[ColumnCells], datasets: Sequence[str]) -> Results:
        return summarise(columns, datasets=datasets, headline=self.headline, remarks=self.remarks)


def select(
    cells: Iterable[Cell],
    *,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    latest: bool = False,
    headline: str | None = None,
) -> Selection:
    """Return the cells that tables are to show.

    Args:
        cells: As `bench.results.read` gives them.
        methods: `key`, `key:variant` or as columns are called, in the order of the columns; empty: all.
        datasets: Keys of the rows; empty: the whole catalog and what else there is.
        where: Settings that cells must have, for example `{"precision": "float32", "options.sigma": "4"}`.
        latest: Where cells differ only in data, prompt, weights or versions, take the newest.
        headline: A sentence to stand above the numbers.

    Raises:
        BenchError: A name is unknown, or nothing matches.
    """
    cells = list(cells)
    chosen = choose(cells, methods=methods, datasets=datasets, where=where, latest=latest)
    remarks = [*_gone(cells, chosen), *(f"no cells of {word}" for word in unmatched(chosen, methods))]
    return Selection(chosen, datasets, headline, remarks)


def build(
    cells: Iterable[Cell],
    layout: str = "paper",
    *,
    against: str | None = None,
    metrics: Sequence[str] = (),
    aupro: str | None = None,
    **choice: Any,
) -> Table:
    """Return one table of the cells: `select` takes the `choice`, `Selection.table` the rest."""
    return select(cells, **choice).table(layout, against=against, metrics=metrics, aupro=aupro)


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
    refuse_unknown("layout", [layout], LAYOUTS)
    return layouts.LAYOUTS[layout](results, aupro)


def render(table: Table, form: str = "md") -> str:
    """Return the table as text; `form` is a key of `FORMATS`."""
    refuse_unknown("format", [form], FORMATS)
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
