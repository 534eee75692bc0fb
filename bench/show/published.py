"""Numbers printed in papers, from CSV files, in the same shape as our own results."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

from bench.errors import BenchError, printable, unknown
from bench.show.means import AverageKey, ColumnCells, DatasetRow, Group, Results, ValueKey
from bench.show.model import METRIC_TITLES, NOT_APPLICABLE, Subject, Value, metric_title
from bench.store.marks import INDUCTIVE, SETTINGS, Mark
from datasets import catalog
from datasets.catalog import place_of
from datasets.entry import plain

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
DEFAULT = "tipsomaly_paper"
_AVERAGE = re.compile(r"Average\b.*?\(([^)]+)\)")


Printed = tuple[str, Value]
"""(key of the dataset in the catalog, or the paper's own word; the printed number)."""


def available(folder: Path = FOLDER) -> dict[str, Path]:
    """Return name -> file of the published tables that are carried along."""
    return {path.stem: path for path in sorted(folder.glob("*.csv"))}


def find(name: str) -> Path:
    """Return the file for a name, or the file itself if `name` is a path; raises `BenchError` for neither."""
    if name in available():
        return available()[name]
    if name.endswith(".csv") and Path(name).is_file():
        return Path(name)
    raise unknown("published table", name, available())


@cache
def method_order() -> tuple[str, ...]:
    """Return the titles of the methods of the paper's table in its order."""
    return tuple(dict.fromkeys(value.subject.method for _, value in _parse(find(DEFAULT))))


def read(path: Path) -> Results:
    """Return the numbers of a published CSV. Averages are computed; where the print differs a note says so.

    Columns: `paper, method, dataset, level, metric, value` (percent), optionally `table`, `domain`, `class`
    and `setting`; tables rendered as CSV by this suite are of that form. Lines that begin with `#` are
    passed over. A row without a value says that the paper prints none.

    Raises:
        BenchError: A column is missing, a value is not a percentage, or a number stands there twice.
    """
    rows = list(_parse(path))
    averages = [value for _, value in rows if _AVERAGE.match(value.subject.dataset)]
    printed = [(key, value) for key, value in rows if not _AVERAGE.match(value.subject.dataset)]
    origin = " and ".join(dict.fromkeys(value.subject.origin for _, value in rows))
    values: dict[ValueKey, Value] = {}
    for key, value in printed:
        subject = value.subject._replace(origin=origin)
        place = (subject.method, key, subject.class_key, value.metric)
        if place in values:
            raise BenchError(
                f"{path}: {subject.method} on {subject.dataset}, {value.metric} stands there twice"
            )
        values[place] = replace(value, subject=subject)
    footer = f"as printed in {origin}; {len(printed)} numbers from {path.name}; averages computed here"
    settings = {value.subject.method: value.setting for _, value in rows}
    columns = [ColumnCells(method, method, method, setting=setting) for method, setting in settings.items()]
    columns.sort(key=lambda column: SETTINGS.index(column.setting))
    results = Results(origin, tuple(columns), _groups(printed), values, footer, absent=NOT_APPLICABLE)
    return replace(results, misprints=dict(_misprints(results, averages)))


def _parse(path: Path) -> Iterator[Printed]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"cannot read {path}: {error}") from error
    reader = csv.DictReader(line for line in lines if not line.startswith("#"))
    needed = {"paper", "method", "dataset", "level", "metric", "value"}
    if missing := needed - set(reader.fieldnames or ()):
        raise BenchError(f"{path} has no column {', '.join(sorted(missing))}")
    for number, row in enumerate(reader, start=2):
        try:
            if row["value"]:
                yield _printed(printable(row))
        except (KeyError, ValueError) as error:
            raise BenchError(f"{path}, row {number}: {error}") from error


def _printed(row: Mapping[str, str]) -> Printed:
    if row["metric"] not in METRIC_TITLES:
        raise ValueError(f"no metric {row['metric']!r}")
    key, title, own_domain = _known(row["dataset"])
    average = _AVERAGE.match(row["dataset"])
    domain = row.get("domain") or (average[1] if average else own_domain)
    setting, number = row.get("setting") or INDUCTIVE, Fraction(row["value"]) / 100
    if not 0 <= number <= 1:
        raise ValueError(f"{row['value']} is not a percentage")
    if setting not in SETTINGS:
        raise ValueError(f"no setting {setting!r}")
    subject = Subject(row["paper"], row["method"], domain.capitalize(), title, row.get("class") or "")
    marks = frozenset[Mark]() if setting == INDUCTIVE else frozenset({Mark(setting)})
    value = Value(f"{row['level']}_{row['metric']}", subject, number, marks=marks)
    return key, value


def _known(name: str) -> tuple[str, str, str]:
    """Return key, title and domain of what a paper calls a dataset; its own word if the catalog has none."""
    try:
        entry = catalog.find(name)
    except KeyError:
        key, title, whole = catalog.PARTS.get(plain(name), (name, name, None))
        return key, title, whole.domain if whole else "other"
    return entry.key, entry.title, entry.domain


def _groups(rows: list[Printed]) -> tuple[Group, ...]:
    datasets: dict[str, list[Value]] = {}
    for key, value in rows:
        datasets.setdefault(key, []).append(value)
    groups: dict[str, list[DatasetRow]] = {"Industrial": [], "Medical": []}
    for key in sorted(datasets, key=place_of):
        subjects = [value.subject for value in datasets[key]]
        levels = tuple(dict.fromkeys(value.metric.partition("_")[0] for value in datasets[key]))
        classes = tuple(dict.fromkeys(subject.class_key for subject in subjects if subject.class_key))
        group = subjects[0].domain
        row = DatasetRow(key, key, subjects[0].dataset, levels, group, classes)
        groups.setdefault(group, []).append(row)
    return tuple(Group(title, tuple(members), "Average") for title, members in groups.items() if members)


def _misprints(results: Results, averages: list[Value]) -> Iterator[tuple[AverageKey, str]]:
    groups = {group.title: group for group in results.groups}
    for value in averages:
        _, method, domain, *_ = value.subject
        if domain not in groups:  # over something else than a domain
            continue
        computed = results.value(method, groups[domain], value.metric).shown
        if computed != value.shown:
            level, title = value.metric.partition("_")[0], metric_title(value.metric)
            yield (
                (method, domain, value.metric),
                f"{method}, {domain.lower()} average, {level} {title}: printed as {value.shown}, "
                f"the mean of its rows is {computed}",
            )
