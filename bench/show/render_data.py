"""A table as data: tidy rows, one for each number, as CSV or Parquet, and the whole of it as JSON."""

import csv
import hashlib
import importlib.util
import io
import json
from collections.abc import Iterable
from typing import Any

from bench.errors import BenchError
from bench.results import Trace
from bench.show.model import UNDEFINED, Column, Row, Section, Table, Value

FIELDS = (
    *("paper", "table", "method", "source", "domain", "dataset", "class", "setting", "level", "metric"),
    *("value", "std", "seeds", "mark", "flags", "exact", "low", "high", "p"),
    *("dataset_key", "data", "weights", "commit", "cells"),
)
_MARKS = {1: "best", 2: "second"}


def render_csv(table: Table) -> str:
    """Return a line for each number that is there or undefined, then warnings, notes, footer as comments.

    The columns are those of the published tables and more: `source` where the table tells sources apart,
    `setting` (how much of the test set a score has seen), `value` and `std` (over the `seeds`, whose number
    it is) in percent as shown, `mark` (`best`, `second`), `flags`, `exact`, the fraction at full
    precision, and of a difference `low` and `high`, the bounds of its 95% interval, and its `p`. Where the
    number comes from
    (see `bench.results.Trace`) follows: `dataset_key`, the digests `data` and `weights`, `commit`, and the
    keys of its `cells`, several joined by blanks; `weights` of several by ` | `. Of several classes `data` is
    the SHA-256 of their sorted digests, one a line.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(table))
    return buffer.getvalue() + "".join(f"# {line}\n" for line in _comments(table))


def render_parquet(table: Table) -> bytes:
    """Return the rows of `render_csv` as Parquet; comments are in the file's `PANDAS_ATTRS`.

    Raises:
        BenchError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise BenchError("--format parquet needs pyarrow: pip install '.[parquet]'")
    import pandas as pd  # noqa: PLC0415 (a second that the other formats need not wait for)

    frame = pd.DataFrame(rows(table), columns=FIELDS)
    numbers = ["value", "std", "exact", "low", "high", "p"]
    frame = frame.astype(dict.fromkeys(numbers, "float64") | {"seeds": "Int64"})
    frame.attrs = {"comments": _comments(table)}
    return frame.to_parquet(None, index=False, engine="pyarrow")


def _comments(table: Table) -> list[str]:
    return [*table.headlines, *table.notes, table.footer]


def rows(table: Table) -> list[dict[str, Any]]:
    """Return a row with the `FIELDS` for each number that is there or undefined; None where one is empty."""
    return [
        _row(table, value) for value in table.values() if value.number is not None or value.gap == UNDEFINED
    ]


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
        "value": value.shown,
        "std": value.spread,
        "seeds": len(value.by_seed) or None,
        "mark": _MARKS.get(value.rank or 0),
        "flags": "undefined" if value.number is None else " ".join(sorted(value.marks)),
        "exact": _exact(value),
        **dict(zip(("low", "high"), value.interval or (None, None), strict=True)),
        "p": value.p,
        **origin(value.traces),
    }


def origin(traces: Iterable[Trace]) -> dict[str, str]:
    """Return where a number comes from, what is the same in all its cells once; empty without cells."""
    found = [*traces]
    if not found:
        return {}
    datasets, data, weights, commits, keys = map(_sorted, zip(*found, strict=True))
    return {
        "dataset_key": " ".join(datasets),
        "data": data[0] if len(data) == 1 else hashlib.sha256("\n".join(data).encode()).hexdigest(),
        "weights": " | ".join(weights),
        "commit": " ".join(commits),
        "cells": " ".join(keys),
    }


def _sorted(words: Iterable[str | None]) -> list[str]:
    return sorted({word for word in words if word})


def _exact(value: Value) -> float | None:
    return None if value.number is None else float(value.number)


def render_json(table: Table) -> str:
    """Return the whole table: columns, sections, rows, entries; the footer comes last."""
    content = {
        "layout": table.layout,
        "title": table.title,
        "headlines": table.headlines,
        "stubs": table.stubs,
        "columns": table.columns,
        "sections": table.sections,
        "legend": dict(table.legend()),
        "notes": table.notes,
        "footer": table.footer,
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"


def _plain(part: Column | Section | Row | Value) -> dict[str, Any]:
    if isinstance(part, Value):
        return _value(part)
    if isinstance(part, Row):
        return {"labels": part.labels, "average": part.is_average, "entries": part.entries}
    return vars(part)


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
        **({"interval": value.interval, "p": value.p} if value.interval else {}),
        **origin(value.traces),
    }
