"""Images beside the page: small copies of the best, the median and the worst of each class."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from bench.show.page.content import Content
from bench.store.atomic import write_atomically

FOLDER = "images"
SIDE = 256
"""Longest side of a copy, in pixels."""
Read = Callable[[str, str], Image.Image | None]
"""(key of a cell, name of one of its images) -> the RGB image; None: it is not here."""


def add_images(page: Content, site: Path, read: Read) -> tuple[Content, str]:
    """Write small copies into `site/images`; return the page that shows them, and how many there are."""
    files: dict[tuple[int, str], str | None] = {}
    cells = []
    for cell in page.cells:
        shown = {}
        for which, row in cell["telling"].items():
            place = cell["dataset"], row["image"]
            if place not in files:
                files[place] = _copy(read(cell["key"], row["image"]), site, cell["key"] + row["image"])
            shown[which] = row | {"file": files[place]}
        cells.append(cell | {"telling": shown})
    here = sum(file is not None for file in files.values())
    said = f"{here} images stand beside the page"
    if missing := len(files) - here:
        said += f"; {missing} are not under the data root"
    return replace(page, cells=cells), f"{said}. No anomaly maps are kept, so none is laid over them."


def _copy(image: Image.Image | None, site: Path, name: str) -> str | None:
    """Write the small copy and return its address: a digest, so that no name in data leads elsewhere."""
    if image is None:
        return None
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:20]
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    path = site / FOLDER / f"{digest}.jpg"
    write_atomically(path, lambda place: small.save(place, "JPEG", quality=85), "--site", durable=False)
    return f"{FOLDER}/{digest}.jpg"
