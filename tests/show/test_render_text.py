"""Tables as aligned text: whole, no wider than asked for, with the ranks and marks of the other formats."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bench.show import Table, build, build_published, render
from bench.show.render_text import BOLD, COLOUR, PLAIN
from bench.show.render_text import render as render_text

Make = Callable[..., Any]
ESCAPE = re.compile(r"\x1b\[[\d;]*m")


def grids(text: str) -> list[list[str]]:
    """Return the lines of each grid: headings, the rule below them, rows."""
    blocks = [part.splitlines() for part in text.split("\n\n")]
    return [lines for lines in blocks if any(re.fullmatch(r"-[- ]+", line) for line in lines)]


def cut(lines: list[str]) -> list[list[str]]:
    """Return the cells of a grid's rows, by the places where the rule is broken."""
    rule = next(line for line in lines if re.fullmatch(r"-[- ]+", line))
    spans = [match.span() for match in re.finditer("-+", rule)]
    return [[line[start:end].strip() for start, end in spans] for line in lines[lines.index(rule) + 1 :]]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(tables: list[Table], width: int) -> None:
    for table in tables:
        for style in (PLAIN, COLOUR):
            lines = ESCAPE.sub("", render_text(table, width, style)).splitlines()
            assert max(map(len, lines)) <= width, table.layout


def test_a_single_column_is_never_broken() -> None:
    text = render_text(build_published("tipsomaly_paper"), 30)
    assert "86.1 93.5  88.9" in text
    assert len(grids(text)) == 2 * 4


def test_every_number_and_row_title_is_there_in_each_block(tables: list[Table]) -> None:
    for table in tables:
        blocks = iter(grids(render_text(table, 80)))
        for section in table.sections:
            found: list[list[str]] = [[] for _ in section.rows]
            while sum(len(row) for row in found) < sum(len(row.entries) for row in section.rows):
                rows = cut(next(blocks))
                rows = [row for row in rows if any(row[len(table.stubs) :])]  # not the rest of a long title
                assert len(rows) == len(section.rows)
                for row, into in zip(rows, found, strict=True):
                    into += [text for text in row[len(table.stubs) :] if text != "│"]
            for row, texts in zip(section.rows, found, strict=True):
                for entry, text in zip(row.entries, texts, strict=True):
                    shown = re.findall(r"[^\s¹²*†‡¶◇△§≈□±]+", text.split("±")[0] if "±" in text else text)
                    wanted = [part for value in entry for part in value.text.split()]
                    assert shown == wanted or set(shown) == set(wanted) == {entry[0].text}, (shown, wanted)
        assert next(blocks, None) is None


def test_ranks_and_marks_are_those_of_markdown(tables: list[Table]) -> None:
    signs = "*†‡¶◇△§≈□"
    for table in tables:
        values = list(table.values())
        text, grey = render_text(table, 80), render_text(table, 80, BOLD)
        best, second = (sum(value.rank == rank for value in values) for rank in (1, 2))
        body = "\n".join("\n".join(lines) for lines in grids(text))
        assert (body.count("¹"), body.count("²")) == (best, second)
        titles = 1 + sum(bool(section.title) for section in table.sections)
        assert grey.count("\x1b[1m") == titles + best
        assert grey.count("\x1b[4m") == second
        assert render_text(table, 80, COLOUR).count("\x1b[1;32m") == best
        markdown = "".join(part for part in render(table).split("\n\n") if part.startswith("|"))
        markdown = markdown.replace("**", "").replace(r"d\*e", "").replace(r"$^\~", "")
        plain = body.replace("d*e", "")
        assert {sign: plain.count(sign) for sign in signs} == {sign: markdown.count(sign) for sign in signs}
        for symbol, meaning in table.legend():
            assert f"{symbol}  {meaning[:60]}" in text
        assert ("¹ best, ² second" in text) == any(value.rank for value in values)


def test_numbers_stand_below_numbers_and_the_first_title_is_said_once(make_dataset: Make) -> None:
    cells = [*make_dataset("m", "visa", 1.0), *make_dataset("m", "btad", 0.8, marks=["selected"])]
    text = render_text(build(cells, datasets=["visa", "btad"]), 60)
    assert grids(text)[0] == [
        "Domain      Dataset                   M",
        "----------  ----------------  ------------------",
        "Industrial  VisA              100.0 100.0 100.0",
        "            BTAD               80.0  80.0  80.0†",
        "            Average of these   90.0  90.0  90.0†",
    ]


def test_levels_are_parted_before_columns_are(make_dataset: Make) -> None:
    cells = [cell for m in "ab" for d in ("visa", "btad", "tn3k") for cell in make_dataset(m, d, 0.9)]
    table = build(cells, "methods")
    assert len(grids(render_text(table, 120))) == 1
    image, pixel = ("\n".join(lines) for lines in grids(render_text(table, 70)))
    assert (image.count("Image"), image.count("Pixel")) == (2, 0)
    assert (pixel.count("Image"), pixel.count("Pixel")) == (0, 2)


def test_settings_are_parted_by_a_rule(make_dataset: Make) -> None:
    cells = [*make_dataset("m", "visa", 0.9), *make_dataset("n", "visa", 0.8, setting="transductive")]
    table = build(cells, datasets=["visa"])
    assert [line.count("│") for line in grids(render_text(table, 80))[0]] == [0, 0, 1, 1]
    assert "│" not in render_text(table, 50)
    assert render_text(table, 80, BOLD).count("\x1b[4m") == 0


def test_difference_that_is_told_from_0_is_bold(make_cell: Make) -> None:
    table = build([make_cell("m", "visa", "candle", 0.9)], "per-class")
    (section,) = table.sections
    row = section.rows[0]
    value = replace(row.entries[0][0], signed=True, interval=(0.1, 0.2), p=0.01, clear=True)
    changed = replace(row, entries=((value,), *row.entries[1:]))
    table = replace(table, sections=(replace(section, rows=(changed,)),))
    assert "**+90.0 [+10.0, +20.0], p = 0.010**" in render_text(table, 200)
    assert "\x1b[1;32m+90.0 [+10.0, +20.0], p = 0.010\x1b[0m" in render_text(table, 200, COLOUR)
