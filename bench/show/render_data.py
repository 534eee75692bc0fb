"""A table as data: tidy CSV, one line for each number, and JSON."""

import csv
import io
import json
from typing import Any

from bench.show.model import Table, Value

FIELDS = (
    *("paper", "table", "method", "source", "domain", "dataset", "class", "level", "metric", "value"),
    *("std", "seeds", "mark", "flags", "exact"),
)
_MARKS = {1: "best", 2: "second"}


def render_csv(table: Table) -> str:
    """Return one line for each number that there is, then the warnings and the footer as comments.

    The columns are those of the published tables and more: `source` where the table tells sources apart,
    `value` and `std` (over the `seeds`, whose number it is) in percent as shown, `mark` (`best`, `second`),
    `flags`, and `exact`, the fraction at full precision.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    for value in table.values():
        if value.number is not None:
            writer.writerow(_row(table, value))
    comments = (*table.headlines, *table.notes, table.footer)
    return buffer.getvalue() + "".join(f"# {line}\n" for line in comments)


def _row(table: Table, value: Value) -> dict[str, Any]:
    level, _, metric = value.metric.partition("_")
    subject = value.subject
    average = subject.dataset.startswith("Average")
    return {
        "paper": subject.origin,
        "table": table.layout,
        "method": subject.method,
        "source": subject.source,
        "domain": subject.domain.lower(),
        "dataset": f"{subject.dataset} ({subject.domain.lower()})" if average else subject.dataset,
        "class": subject.class_key,
        "level": level,
        "metric": metric,
        "value": str(value.shown),
        "std": "" if value.spread is None else str(value.spread),
        "seeds": len(value.by_seed) or "",
        "mark": _MARKS.get(value.rank or 0, ""),
        "flags": " ".join(sorted(value.marks)),
        "exact": _exact(value),
    }


def _exact(value: Value) -> float | None:
    return None if value.number is None else float(value.number)


def render_json(table: Table) -> str:
    """Return the whole table: columns, sections, rows, entries; the footer comes last."""
    content = {
        "layout": table.layout,
        "title": table.title,
        "headlines": table.headlines,
        "stubs": table.stubs,
        "columns": [{"title": column.title, "span": column.span} for column in table.columns],
        "sections": [
            {
                "title": section.title,
                "rows": [
                    {
                        "labels": row.labels,
                        "average": row.is_average,
                        "entries": [[_value(value) for value in entry] for entry in row.entries],
                    }
                    for row in section.rows
                ],
            }
            for section in table.sections
        ],
        "legend": dict(table.legend()),
        "notes": table.notes,
        "footer": table.footer,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _value(value: Value) -> dict[str, Any]:
    return {
        "metric": value.metric,
        "number": _exact(value),
        "std": value.std,
        "seeds": {seed: float(number) for seed, number in value.by_seed},
        "shown": value.text,
        "rank": value.rank,
        "marks": sorted(value.marks),
    }
