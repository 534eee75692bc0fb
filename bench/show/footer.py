"""The last line of a table: which code, when, how many cells, under which protocol."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.results import plain_source
from bench.show.choose import settings
from bench.show.means import ColumnCells
from bench.store.cells import Cell

_SHOWN = {
    "protocol.masks": "masks {}",
    "protocol.mask_threshold": "anomalous where mask > {}",
    "protocol.metrics_mode": "{} metrics",
    "protocol.metrics_version": "metrics version {}",
    "protocol.aupro_flavour": "AUPRO {}",
    "protocol.limit": "at most {} images a class",
    "names": "prompt names {}",
}


def footer(columns: Sequence[ColumnCells]) -> str:
    """Return commits, days of measuring, number of cells and protocol in one line."""
    cells = [cell for column in columns for cell in column.cells]
    parts = [_commits(cells), _days(cells), f"{len(cells)} cells", *_precisions(columns), *_protocol(cells)]
    parts += _datasets(cells)
    return "; ".join((*parts, *_sources(columns)))


def _commits(cells: Sequence[Cell]) -> str:
    commits = {
        str(provenance.get("commit") or "unknown")[:10] + ("+changes" if provenance.get("dirty") else "")
        for provenance in (cell["provenance"] for cell in cells)
    }
    return f"commit {', '.join(sorted(commits))}"


def _days(cells: Sequence[Cell]) -> str:
    days = sorted({str(cell["provenance"].get("started", "unknown"))[:10] for cell in cells})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _precisions(columns: Sequence[ColumnCells]) -> list[str]:
    """Say what was computed in which precision, and how far lower ones were measured to move a number."""
    lower, labels = dict[tuple[str, bool], list[str]](), [column.label for column in columns]
    drifts: list[float] = []
    unmeasured: list[str] = []
    for column in columns:
        for cell in column.cells:
            config, drift = cell["config"], cell["provenance"].get("drift")
            if config["precision"] != "float32":
                group = lower.setdefault((config["precision"], "precision_of" in config), [])
                group += [column.label] if column.label not in group else []
                drifts += [drift["points"]] if isinstance(drift, dict) else []
                unmeasured += [column.label] if not isinstance(drift, dict) else []
    said = [
        f"{'encoders' if of_encoder else 'all'} of {', '.join(group)} in {precision}"
        for (precision, of_encoder), group in lower.items()
    ]
    if drifts:
        said.append(f"which moved no number of their small models by more than {max(drifts):.2g} points")
    if unmeasured:
        said.append(f"the drift of {', '.join(dict.fromkeys(unmeasured))} not measured")
    whole = {label for group in lower.values() for label in group} >= {*labels}
    return [", ".join([*said, *([] if whole else ["float32" if not said else "all else float32"])])]


def _protocol(cells: Sequence[Cell]) -> list[str]:
    flat = [settings(cell) for cell in cells]
    parts = []
    for name, text in _SHOWN.items():
        values = [value for value in dict.fromkeys(each.get(name) for each in flat) if value is not None]
        if values:
            parts.append(text.format("/".join(map(str, values))))
    return parts


def _datasets(cells: Sequence[Cell]) -> list[str]:
    """Name the protocol and the counts of datasets that have several protocols."""
    parts = []
    for dataset in dict.fromkeys(cell["dataset"] for cell in cells if settings(cell).get("dataset_protocol")):
        alike = [cell for cell in cells if cell["dataset"] == dataset]
        protocols = "/".join(dict.fromkeys(str(settings(cell)["dataset_protocol"]) for cell in alike))
        by_class: Mapping[str, Any] = {cell["class"]: cell["counts"] for cell in alike}
        counts = [sum(each[kind] for each in by_class.values()) for kind in ("normal", "anomalous")]
        parts.append(f"{dataset} {protocols} ({counts[0]} normal, {counts[1]} anomalous)")
    return parts


def _sources(columns: Sequence[ColumnCells]) -> list[str]:
    """Say what was trained on what; methods with the same protocol share one statement.

    Columns of one source say so themselves.
    """
    methods: dict[str, dict[str, None]] = {}
    for column in columns:
        trained_on = {cell["dataset"]: plain_source(cell) for cell in column.cells if not column.source}
        targets = {target: source for target, source in trained_on.items() if source}
        if targets:
            (main, _), *_ = Counter(targets.values()).most_common()
            others = [f"{source} for {target}" for target, source in targets.items() if source != main]
            trained = f"trained on {main}" + (f" ({', '.join(others)})" if others else "")
            methods.setdefault(trained, {})[column.title] = None
    return [f"{', '.join(names)} {trained}" for trained, names in methods.items()]
