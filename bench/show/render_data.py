"""A table as data: tidy CSV, one line for each number, and JSON."""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from bench.show.model import UNDEFINED, Table, Value

FIELDS = (
    *("paper", "table", "method", "source", "domain", "dataset", "class", "setting", "level", "metric"),
    *("value", "std", "seeds", "mark", "flags", "exact", "low", "high"),
)
_MARKS = {1: "best", 2: "second"}


def render_csv(table: Table) -> str:
    """Return a line for each number that is there or undefined, then warnings, notes, footer as comments.

    The columns are those of the published tables and more: `source` where the table tells sources apart,
    `setting` (how much of the test set a score has seen), `value` and `std` (over the `seeds`, whose number
    it is) in percent as shown, `mark` (`best`, `second`), `flags`, `exact`, the fraction at full
    precision, and `low` and `high`, the bounds of a difference's 95% interval.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    for value in table.values():
        if value.number is not None or value.gap == UNDEFINED:
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
        "setting": value.setting,
        "level": level,
        "metric": metric,
        "value": "" if value.shown is None else str(value.shown),
        "std": "" if value.spread is None else str(value.spread),
        "seeds": len(value.by_seed) or "",
        "mark": _MARKS.get(value.rank or 0, ""),
        "flags": "undefined" if value.number is None else " ".join(sorted(value.marks)),
        "exact": _exact(value),
    } | dict(zip(("low", "high"), value.interval or ("", ""), strict=True))


def _exact(value: Value) -> float | None:
    return None if value.number is None else float(value.number)


def render_json(table: Table) -> str:
    """Return the whole table: columns, sections, rows, entries; the footer comes last."""
    content = {
        "layout": table.layout,
        "title": table.title,
        "headlines": table.headlines,
        "stubs": table.stubs,
        "columns": [asdict(column) for column in table.columns],
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
        "setting": value.setting,
        "number": _exact(value),
        "std": value.std,
        "seeds": {seed: float(number) for seed, number in value.by_seed},
        "shown": value.text,
        "rank": value.rank,
        "marks": sorted(value.marks),
    } | ({"interval": value.interval} if value.interval else {})
