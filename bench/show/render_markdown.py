"""A table as Markdown: for GitHub, and aligned so that it also reads well on a terminal."""

import re
import unicodedata
from collections.abc import Sequence

from bench.show.model import Column, Entry, Row, Table, Value, common_symbols, only_gap

_SPECIAL = re.compile(r"[\\`*\[<|]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would read as more than itself; an underscore within a word is none of that."""


def render(table: Table) -> str:
    """Return the table as Markdown: a pipe table for each section, warnings above, notes and footer below."""
    parts = [f"### {_escape(table.title)}"]
    parts += [f"> **{_escape(line)}**" for line in table.headlines]
    for section in table.sections:
        if section.title:
            parts.append(f"**{_escape(section.title)}**")
        parts.append(_grid(table, section.rows))
    notes = [f"- `{symbol}` {_escape(meaning)}" for symbol, meaning in table.legend()]
    notes += [f"- {_escape(note)}" for note in table.notes]
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join((*parts, _escape(table.footer))) + "\n"


def _grid(table: Table, rows: Sequence[Row]) -> str:
    stubs = len(table.stubs)
    grid = [[*map(_escape, table.stubs), *(_heading(column) for column in table.columns)]]
    above: tuple[str, ...] = ()
    for row in rows:
        labels = list(row.labels)
        if stubs > 1 and above[:1] == row.labels[:1]:
            labels[0] = ""
        grid.append([*map(_escape, labels), *(_entry(entry) for entry in row.entries)])
        above = row.labels
    widths = [max(3, *(_width(line[place]) for line in grid)) for place in range(len(grid[0]))]
    rule = [
        ":" + "-" * (width - 1) if place < stubs else ":" + "-" * (width - 2) + ":"
        for place, width in enumerate(widths)
    ]
    return "\n".join(_line(line, widths) for line in (grid[0], rule, *grid[1:]))


def _heading(column: Column) -> str:
    return _escape(f"{column.span} {column.title}" if column.span else column.title)


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    padded = (text + " " * (width - _width(text)) for text, width in zip(texts, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _width(text: str) -> int:
    """Return how many places the text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _entry(entry: Entry) -> str:
    if len(entry) == 1:
        return _value(entry[0], entry[0].symbols)
    if gap := only_gap(entry):
        return gap
    shared = common_symbols(entry)
    return f"({', '.join(_value(value, '' if shared else value.symbols) for value in entry)}){shared}"


def _value(value: Value, symbols: str) -> str:
    text = value.text
    if value.rank == 1:
        text = f"**{text}**"
    elif value.rank == 2:
        text = f"<u>{text}</u>"
    spread = "" if value.spread is None else f"±{value.spread}"
    return text + spread + symbols


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)
