"""What stands on the page: grids of tables and charts as values, each number with the cells behind it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import BenchError
from bench.results import seed_of
from bench.show import CROSS, Selection, published
from bench.show.choose import settings
from bench.show.cost import averages, cost
from bench.show.curves import telling
from bench.show.images import Images
from bench.show.means import ColumnCells, Results
from bench.show.model import LEVELS, TRIPLES, Entry, with_aupro
from bench.show.page.curves import curves, pixel_curves
from bench.show.page.grids import Grid, level_of, metrics_of, said
from bench.show.summary import ORIGIN
from bench.store.cells import Cell, identify
from bench.store.marks import legend

_FIRST = {
    "command": "command",
    "commit": "commit",
    "dirty": "uncommitted changes",
    "started": "started",
    "device": "device",
    "device_type": "kind of device",
    "python": "Python",
    "suite_version": "version of the suite",
}
"""What of a cell's provenance stands first."""


@dataclass(frozen=True)
class Content:
    """The page without its form."""

    tables: dict[str, Any]
    """For the template: grids, notes, menus."""
    cells: list[dict[str, Any]]
    """For the script, one for each cell: what it was measured with, curves, telling images."""
    charts: dict[str, Any]
    """For the script: speed, memory and averages of each method."""


def content(chosen: Selection, kept: Images | None = None) -> Content:
    """Return the page's content; pixel curves come from `kept` maps, where there are some.

    Raises:
        BenchError: Cells of one column were measured differently.
    """
    results, by_source = chosen.results, chosen.by_source
    paper, per_class = (chosen.table(layout, aupro="both") for layout in ("paper", "per-class"))
    labels = list(dict.fromkeys(column.label for column in (*results.columns, *by_source)))
    where = _finder(results, labels)
    tables = {
        "paper": [_level(Grid(paper, section, where)) for section in paper.sections],
        "classes": [Grid(per_class, section, where) for section in per_class.sections],
        "cross": _cross(chosen, where),
        "published": _published(chosen, where),
        "headlines": paper.headlines,
        "notes": paper.notes,
        "footer": paper.footer,
        "legend": legend(
            {mark for each in (paper, per_class) for value in each.values() for mark in value.marks}
        ),
        "methods": [column.label for column in results.columns],
        "domains": [group.title for group in results.groups],
        "datasets": [row.title for row in results.rows],
        "metrics": {each["key"]: each for section in paper.sections for each in metrics_of(section)},
    }
    return Content(tables, _cells(results, by_source, labels, kept), _speed(results))


def _level(grid: Grid) -> dict[str, Any]:
    level = level_of(grid.section)
    return {"level": level, "title": LEVELS[level], "metrics": metrics_of(grid.section), "grid": grid}


def _finder(results: Results, labels: Sequence[str]) -> Callable[[Entry], str | None]:
    """Return an entry's address: `method|domain|dataset|class` by place in the lists of the page."""
    rows = {(row.group, row.title): number for number, row in enumerate(results.rows)}
    groups = {group.title: number for number, group in enumerate(results.groups)}
    titles = {title: number for (_, title), number in rows.items()}
    places = {label: number for number, label in enumerate(labels)}

    def where(entry: Entry) -> str | None:
        for subject in (value.subject for value in entry if value.number is not None):
            if subject.origin == ORIGIN and subject.method in places:
                row = rows.get((subject.domain, subject.dataset), titles.get(subject.dataset, ""))
                return f"{places[subject.method]}|{groups.get(subject.domain, '')}|{row}|{subject.class_key}"
        return None

    return where


def _cross(chosen: Selection, where: Any) -> dict[str, Any]:
    learned = {column.method for column in chosen.by_source if column.source}
    if not learned:
        return {"why": "No cell has learned weights, so there is nothing to cross."}
    try:
        cells = [cell for cell in chosen.cells if cell["method"] in learned]
        table = replace(chosen, cells=cells).table(CROSS, aupro="both")
    except BenchError as error:
        return {"why": str(error)}
    sections = []
    for section in table.sections:
        ((metric, title),) = ((each["key"], each["title"]) for each in metrics_of(section))
        sections.append(
            {
                "grid": Grid(table, section, where, heat=True),
                "method": section.title.rsplit(": ", 1)[0],
                "metric": metric,
                "key_title": (metric, f"{level_of(section)} {title}"),
            }
        )
    return {"sections": sections, "notes": table.notes, "legend": table.legend(), "title": table.title}


def _published(chosen: Selection, where: Any) -> list[dict[str, Any]]:
    """Return ours beside each published table, or why they cannot be compared."""
    compared: list[dict[str, Any]] = []
    for name in published.available():
        try:
            table = chosen.table(against=name)
        except BenchError as error:
            compared.append({"name": name, "why": str(error)})
            continue
        sections = [Grid(table, section, where) for section in table.sections]
        compared.append({"name": name, "title": table.title, "notes": table.notes, "sections": sections})
    return sorted(compared, key=lambda each: "why" in each)


def _speed(results: Results) -> dict[str, Any]:
    """Return for each method what it costs, and its averages: a point for each group and metric."""
    methods: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    metrics = results.known(tuple(with_aupro((*TRIPLES["image"], *TRIPLES["pixel"]), "both")))
    for number, column in enumerate(results.columns):
        taken = cost(column)._asdict()
        methods.append({"method": number, "label": column.label, **taken})
        points += [
            {
                "method": number,
                **taken,
                "place": place,
                "metric": metric,
                "value": float(value.shown or 0),
                "text": value.text + value.symbols,
                "ranked": value.competes,
                "said": said(value),
            }
            for group in results.groups
            for metric in metrics
            for place, value in averages(results, column.label, group, metric)
        ]
    return {"methods": methods, "points": points}


def _cells(
    results: Results, by_source: Sequence[ColumnCells], labels: Sequence[str], kept: Images | None
) -> list[dict[str, Any]]:
    places: dict[str, dict[int, None]] = {}
    for column in (*results.columns, *by_source):
        for cell in column.cells:
            places.setdefault(cell["key"], {})[labels.index(column.label)] = None
    domains = {row.key: number for number, group in enumerate(results.groups) for row in group.datasets}
    rows = {row.key: number for number, row in enumerate(results.rows)}
    return [
        {
            "key": cell["key"],
            "methods": [*places[cell["key"]]],
            "domain": domains[cell["dataset"]],
            "dataset": rows[cell["dataset"]],
            "class": cell["class"],
            "seed": seed_of(cell),
            "facts": facts(cell),
            "curves": curves(cell),
            "pixel": _pixel(cell, kept),
            "telling": {
                which: {"image": row["image"], "label": row["label"], "score": float(f"{row['score']:.5g}")}
                for which, row in telling(cell).items()
            },
        }
        for column in results.columns
        for cell in column.cells
    ]


def _pixel(cell: Cell, kept: Images | None) -> dict[str, Any] | None:
    curve = kept.maps(cell).curve if kept is not None and kept.keeps_maps(cell) else None
    return None if curve is None else pixel_curves(curve)


def facts(cell: Cell) -> list[tuple[str, str]]:
    """Return what a cell was made with, as (name, text): command and commit first, then every setting."""
    provenance, files = cell["provenance"], cell["provenance"].get("weights") or {}
    named = [(text, provenance.get(name)) for name, text in _FIRST.items()]
    versions = sorted((provenance.get("packages") or {}).items())
    timing = cell["timing"]
    pairs = [
        ("cell", f"{identify(cell).name}.json"),
        *named,
        ("source of the weights", cell["source"] or "nothing learned"),
        *((name, value) for name, value in sorted(settings(cell).items()) if not name.startswith("weights.")),
        *(
            (f"weights, {role} (SHA-256)", f"{digest}  {files.get(role, '')}".strip())
            for role, digest in sorted(cell["config"]["weights"].items())
        ),
        ("images", f"{cell['counts']['normal']} normal, {cell['counts']['anomalous']} anomalous"),
        ("images per second", timing.get("images_per_s")),
        ("peak GPU memory, bytes", timing.get("peak_gpu_bytes")),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions)),
    ]
    return [("data (SHA-256)" if name == "data" else name, str(value))
            for name, value in pairs if value not in (None, "")]  # fmt: skip
