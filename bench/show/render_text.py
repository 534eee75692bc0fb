"""A table as aligned text, no wider than the terminal: cut by level, then into blocks of columns."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tabulate import tabulate

from bench.show.model import Column, Entry, Row, Section, Table, Value, common_symbols, only_gap

WIDTH = 100
"""Characters of a line where no terminal says how many it has."""
_RULE = "│"
_GAP = 2
"""Blanks between columns."""
_NARROWEST = 12
"""Titles are not broken into less than this."""


class Style(NamedTuple):
    """What is put around titles, the best number and the second best, or behind the numbers instead."""

    title: str = "{}"
    best: str = "{}"
    second: str = "{}"
    signs: tuple[str, str] = ("", "")
    legend: str = "bold: best; underlined: second"


PLAIN = Style(signs=("¹", "²"), legend="¹ best, ² second")
"""Without escape sequences, for pipes and files."""
BOLD = Style("\x1b[1m{}\x1b[0m", "\x1b[1m{}\x1b[0m", "\x1b[4m{}\x1b[0m")
COLOUR = BOLD._replace(best="\x1b[1;32m{}\x1b[0m", legend="green: best; underlined: second")


def render(table: Table, width: int = WIDTH, style: Style = PLAIN) -> str:
    """Return the table as text: warnings above, a grid for each section, legend, notes and footer below.

    A section that is wider than `width` characters becomes several blocks with the row titles repeated; a
    single column is never broken.
    """
    parts = [style.title.format(_wrap(table.title, width))]
    parts += [_wrap(line, width) for line in table.headlines]
    for section in table.sections:
        parts += [style.title.format(_wrap(section.title, width))] if section.title else []
        parts += _blocks(table, section, width, style)
    notes = [style.legend] if any(value.rank for value in table.values()) else []
    notes += [f"{symbol}  {meaning}" for symbol, meaning in table.legend()]
    notes += [f"-  {note}" for note in table.notes]
    parts += ["\n".join(_wrap(note, width, hang=3) for note in notes)] if notes else []
    return "\n\n".join((*parts, _wrap(table.footer, width))) + "\n"


def _wrap(text: str, width: int, hang: int = 0) -> str:
    return "\n".join(textwrap.wrap(text, max(width, _NARROWEST), subsequent_indent=" " * hang))


def _blocks(table: Table, section: Section, width: int, style: Style) -> Iterator[str]:
    """Yield the section's grid: whole if it fits, else level by level, each in as few blocks as possible."""
    rules = table.rules()
    stubs = _stubs(table, section.rows, width)
    columns = [
        _column(column, [row.entries[place] for row in section.rows], style)
        for place, column in enumerate(table.columns)
    ]

    def grid(places: Sequence[int]) -> str:
        shown = list(stubs)
        for place in places:
            shown += [[""] + [_RULE] * len(section.rows)] if rules[place] and place != places[0] else []
            shown.append(columns[place])
        heads, *lines = zip(*shown, strict=True)
        align = ["left"] * len(stubs) + ["center"] * (len(shown) - len(stubs))
        return tabulate(lines, heads, disable_numparse=True, preserve_whitespace=True, colalign=align)

    whole = grid(range(len(columns)))
    if sum(broad := _widths(whole)) <= width + _GAP:
        yield whole
        return
    block: list[int] = []
    room, spans = 0, [column.span for column in table.columns]
    for place in range(len(columns)):
        at = len(stubs) + place + sum(rules[: place + 1])
        own = broad[at] + (broad[at - 1] if rules[place] and block else 0)
        if block and (own > room or spans[place] != spans[block[0]]):
            yield grid(block)
            block = []
        if not block:
            room = width + _GAP - sum(broad[: len(stubs)])
            own = broad[at]
        block.append(place)
        room -= own
    yield grid(block)


def _widths(grid: str) -> list[int]:
    """Return how much of a line each column takes, from the rule below the headings, with the gap behind."""
    rule = max((line for line in grid.splitlines() if not line.strip("- ")), key=len)
    return [len(part) + _GAP for part in rule.split()]


def _stubs(table: Table, rows: Sequence[Row], width: int) -> list[list[str]]:
    """Return the row titles, column by column; the first of several is said once for its rows."""
    columns = []
    for place, title in enumerate(table.stubs):
        labels = [_wrap(row.labels[place], width // 3) for row in rows]
        if place == 0 and len(table.stubs) > 1:
            above = ["", *labels[:-1]]
            labels = ["" if label == before else label for before, label in zip(above, labels, strict=True)]
        columns.append([title, *labels])
    return columns


def _column(column: Column, entries: Sequence[Entry], style: Style) -> list[str]:
    """Return the column's heading and its entries, each number below the one above."""
    places = [
        [_parts(entry, place, style) for entry in entries if not only_gap(entry)]
        for place in range(len(entries[0]))
    ]
    widths = [tuple(max(map(len, texts)) for texts in zip(*parts, strict=True)) for parts in places if parts]

    def text(entry: Entry) -> str:
        if gap := only_gap(entry):
            return gap + common_symbols(entry)
        shown = []
        for place, (broad, after) in enumerate(widths):
            number, signs = _parts(entry, place, style)
            styled = _styled(entry[place], style).format(number)
            shown.append(" " * (broad - len(number)) + styled + signs.ljust(after))
        return " ".join(shown)

    broadest = sum(map(sum, widths)) + max(len(widths) - 1, 0)
    heading = _wrap(f"{column.span} {column.title}".strip(), max(broadest, _NARROWEST))
    return [heading, *map(text, entries)]


def _parts(entry: Entry, place: int, style: Style) -> tuple[str, str]:
    """Return a number and the signs behind it; what all numbers of an entry share stands behind the last."""
    value = entry[place]
    spread = "" if value.spread is None else f"±{value.spread}"
    rank = style.signs[value.rank - 1] if value.rank in (1, 2) else ""
    shared = common_symbols(entry)
    return value.text + spread, rank + (value.symbols if not shared or place == len(entry) - 1 else "")


def _styled(value: Value, style: Style) -> str:
    if value.bold:
        return style.best if value.rank or not style.signs[0] else "**{}**"
    return style.second if value.rank == 2 else "{}"
