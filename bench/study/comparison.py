"""What a comparison of two methods found, and how it looks."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from tabulate import tabulate

from bench.show.model import metric_title
from bench.show.ranking import percent
from bench.store.marks import Mark, legend, symbols
from bench.study.bootstrap import METRICS

Marks = tuple[frozenset[Mark], frozenset[Mark]]
"""The marks of either method's cells."""
_ALIGNED = ("left", "center", "center", "center", "center")


@dataclass(frozen=True)
class Difference:
    """One metric of two methods; fractions of one."""

    first: float
    second: float
    low: float
    high: float
    """Bounds of the 95% interval of `first - second`."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ComparisonRow:
    """A dataset, or the mean over them."""

    title: str
    differences: Mapping[str, Difference]
    """Metric -> difference."""
    marks: Marks


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    first: str
    second: str
    rows: tuple[ComparisonRow, ...]
    """Datasets; if there are several, their mean comes last."""
    headlines: tuple[str, ...]
    notes: tuple[str, ...]
    footer: str


def render(comparison: Comparison) -> str:
    """Return the comparison as Markdown: for each metric both methods, their difference and its interval."""
    first, second = comparison.first, comparison.second
    parts = [f"### {first} against {second}: image level, in percent"]
    parts += [f"> **{line}**" for line in comparison.headlines]
    for metric in METRICS:
        lines = [_line(row, row.differences[metric]) for row in comparison.rows]
        heads = ("Dataset", first, second, "Difference", "95% interval")
        parts.append(f"**{metric_title(metric)}**")
        parts.append(tabulate(lines, heads, tablefmt="pipe", disable_numparse=True, colalign=_ALIGNED))
    used = frozenset[Mark]().union(*(marks for row in comparison.rows for marks in row.marks))
    notes = ["bold: the interval leaves out 0; differences are those of the unrounded numbers"]
    notes += [f"`{symbol}` {meaning}" for symbol, meaning in legend(used)]
    parts.append("\n".join(f"- {note}" for note in (*notes, *comparison.notes)))
    return "\n\n".join((*parts, comparison.footer)) + "\n"


def _line(row: ComparisonRow, difference: Difference) -> tuple[str, ...]:
    first, second = (
        f"{percent(Fraction(number))}{symbols(marks)}"
        for number, marks in zip((difference.first, difference.second), row.marks, strict=True)
    )
    by = _signed(difference.first - difference.second)
    interval = f"[{_signed(difference.low)}, {_signed(difference.high)}]"
    return row.title, first, second, f"**{by}**" if difference.is_clear else by, interval


def _signed(number: float) -> str:
    shown = percent(Fraction(number))
    return f"{shown:+}" if shown else f"{shown}"
