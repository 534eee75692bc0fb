"""Images beside the page: small copies of the best, the median and the worst of each class."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from bench.show.page.content import Content
from bench.store.atomic import write_atomically

FOLDER = "images"
SIDE = 256
"""Longest side of a copy, in pixels."""
Found = Callable[[Mapping[str, Any]], Image.Image | None]
"""A cell of the page and one of its images by name -> the RGB image; None: it is not here."""


def add_images(
    page: Content, site: Path, read: Callable[[int, str], Image.Image | None]
) -> tuple[Content, int, int]:
    """Write small copies into `site/images` and return the page that shows them, with two counts.

    Args:
        page: The page; each of its cells names its telling images.
        site: The folder of the page.
        read: (place of the cell, name of the image) -> the RGB image, or None where it is not here.

    Returns:
        The page, how many images are beside it, and how many are not here.
    """
    files: dict[tuple[int, str], str | None] = {}
    cells = []
    for number, cell in enumerate(page.cells):
        shown = {}
        for which, row in cell["telling"].items():
            place = cell["dataset"], row["image"]
            if place not in files:
                files[place] = _copy(read(number, row["image"]), site, f"{place[0]}/{row['image']}")
            shown[which] = row | {"file": files[place]}
        cells.append(cell | {"telling": shown})
    here = sum(file is not None for file in files.values())
    return replace(page, cells=cells), here, len(files) - here


def _copy(image: Image.Image | None, site: Path, name: str) -> str | None:
    """Write the small copy and return its address; its name is a digest, so no data can lead elsewhere."""
    if image is None:
        return None
    address = f"{FOLDER}/{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:20]}.jpg"
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    write_atomically(site / address, lambda place: small.save(place, "JPEG", quality=85), "--site", durable=False)
    return address
