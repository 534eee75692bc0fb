"""A table as Markdown: for GitHub, and aligned so that it also reads well on a terminal."""

import re
from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from bench.show.model import Entry, Row, Table, Value, common_symbols, only_gap

_SPECIAL = re.compile(r"[\\`*\[<|~]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would read as more than itself; an underscore within a word is none of that."""

_RULE = "║"


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
    stubs, rules = len(table.stubs), table.rules()
    lines = []
    for above, row in zip((None, *rows), rows, strict=False):
        labels = list(map(_escape, row.labels))
        if stubs > 1 and above and above.labels[0] == row.labels[0]:
            labels[0] = ""
        lines.append([*labels, *_ruled(rules, map(_entry, row.entries))])
    titles = (_escape(f"{column.span} {column.title}".strip()) for column in table.columns)
    heads = [*map(_escape, table.stubs), *_ruled(rules, titles)]
    align = ["left"] * stubs + ["center"] * (len(heads) - stubs)
    return tabulate(lines, heads, tablefmt="pipe", disable_numparse=True, colalign=align)


def _ruled(rules: Sequence[bool], texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts of a line, with a column of its own for every rule."""
    for rule, text in zip(rules, texts, strict=True):
        yield from (_RULE, text) if rule else (text,)


def _entry(entry: Entry) -> str:
    if len(entry) == 1:
        return _value(entry[0], entry[0].symbols)
    if gap := only_gap(entry):
        return gap
    shared = common_symbols(entry)
    return f"({', '.join(_value(value, '' if shared else value.symbols) for value in entry)}){shared}"


def _value(value: Value, symbols: str) -> str:
    text = value.text
    if value.bold:
        text = f"**{text}**"
    elif value.rank == 2:
        text = f"<u>{text}</u>"
    spread = "" if value.spread is None else f"±{value.spread}"
    return text + spread + symbols


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)
