"""Image-level metrics anew from stored per-image scores, without model or images."""

from collections.abc import Iterable

from bench.cells import CellId, CellStore
from bench.record import image_report


def remetric(cells: Iterable[CellId], store: CellStore) -> int:
    """Recompute the image-level metrics of finished cells in place; returns how many were rewritten."""
    count = 0
    for identity in cells:
        cell = store.read(identity)
        if cell is None:
            continue
        report = image_report(cell["scores"], cell["not_applicable"]["image"])
        kept = {name: reason for name, reason in cell["reasons"].items() if not name.startswith("image_")}
        cell["metrics"] |= report.values
        cell["reasons"] = kept | report.reasons
        cell["details"] |= report.details
        store.write(identity, {name: value for name, value in cell.items() if name not in ("schema", "key")})
        count += 1
    return count
