"""How verbs print or write tables: text on a terminal, Markdown in a pipe, else by `--format` or suffix."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.show import FILES, FORMATS, Table, render, write_table
from bench.show.render_text import BOLD, COLOUR, PLAIN, WIDTH, Style
from bench.show.render_text import render as render_text

_SUFFIXES = {".tex": "latex", ".txt": "text", ".csv": "csv", ".json": "json", ".parquet": "parquet"}
"""What a file is written as without `--format`; else as Markdown."""


def add_format(parser: argparse.ArgumentParser, *, out: bool = False) -> None:
    """Add `--format`; with `out` also `--out` and the formats that are for files only."""
    if out:
        parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")
    parser.add_argument(
        "--format",
        choices=(*FORMATS, *(FILES if out else ())),
        help="default: text on a terminal, md in a pipe; NO_COLOR=1 leaves out the colours of text",
    )


def print_or_write(table: Table, form: str | None, out: Path | None) -> None:
    """Write the table to the file `out`, in the format asked for or that of its suffix, or print it.

    Raises `BenchError` if a format that is for files only is to be printed.
    """
    if out is not None:
        form = form or _SUFFIXES.get(out.suffix, "md")
        print(f"wrote {write_table(table, form, out, '--out')}")
    elif form in FILES:
        raise BenchError(f"--format {form} is not for printing: name a file with --out")
    else:
        print_table(table, form)


def print_table(table: Table, form: str | None) -> None:
    """Print the table in the format asked for; text is made for the terminal that it is printed on."""
    on_terminal = sys.stdout.isatty()
    if form == "text" or (form is None and on_terminal):
        width = shutil.get_terminal_size((WIDTH, 0)).columns
        print(render_text(table, width, _style(on_terminal)))
    else:
        print(render(table, form or "md"))


def _style(on_terminal: bool) -> Style:
    if not on_terminal or os.environ.get("TERM") == "dumb":
        return PLAIN
    return BOLD if os.environ.get("NO_COLOR") else COLOUR
