"""How verbs print tables: aligned text on a terminal, Markdown in a pipe, whatever `--format` says."""

import argparse
import os
import shutil
import sys

from bench.show import FORMATS, Table, render
from bench.show.render_text import BOLD, COLOUR, PLAIN, WIDTH, Style
from bench.show.render_text import render as render_text


def add_format(parser: argparse.ArgumentParser, *others: str) -> None:
    """Add `--format`, with `others` beside those that can be printed."""
    parser.add_argument(
        "--format",
        choices=(*FORMATS, *others),
        help="default: text on a terminal, md in a pipe; NO_COLOR=1 leaves out the colours of text",
    )


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
