"""What a method costs beside what it reaches: speed and memory of its cells, and its averages."""

from collections.abc import Iterator
from typing import NamedTuple

from bench.show.means import ColumnCells, Group, Results
from bench.show.model import Value


class Cost(NamedTuple):
    """Of all cells of a column; what was not measured is None."""

    images_per_s: float | None
    """All images over the seconds that inference took for them."""
    peak_gib: float | None
    """Most GPU memory, GiB."""
    devices: str
    """Where they ran."""


def cost(column: ColumnCells) -> Cost:
    """Return what the column's cells took."""
    timed = [cell for cell in column.cells if cell["timing"].get("images_per_s")]
    images = [sum(cell["counts"].values()) for cell in timed]
    seconds = [count / cell["timing"]["images_per_s"] for count, cell in zip(images, timed, strict=True)]
    peaks = [peak for cell in column.cells if (peak := cell["timing"].get("peak_gpu_bytes"))]
    devices = {str(cell["provenance"].get("device") or "unknown") for cell in column.cells}
    return Cost(
        round(sum(images) / sum(seconds), 3) if seconds else None,
        round(max(peaks) / 2**30, 3) if peaks else None,
        ", ".join(sorted(devices)),
    )


def averages(results: Results, label: str, group: Group, metric: str) -> Iterator[tuple[str, Value]]:
    """Yield the group's average, by the group's title, or each dataset's value where none is made."""
    for place in [group] if group.average else group.datasets:
        value = results.value(label, place, metric)
        if value.number is not None:
            yield place.title, value
