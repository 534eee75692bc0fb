"""Small pictures of the best, the median and the worst image of each class, beside the page or in it."""

import base64
import hashlib
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from bench.errors import BenchError
from bench.show.images import Images
from bench.show.page.content import Content
from bench.show.pictures import outlined, tinted
from bench.store.atomic import write_atomically
from bench.store.cells import Cell

FOLDER = "images"
SIDE, SIDE_INSIDE = 256, 112
"""Longest side of a picture beside the page and in it, in pixels."""
ROOM_INSIDE = 5 * 2**20
"""Bytes that pictures in the page may take together."""


class _Pictures:
    """Puts small pictures beside the page, below `site`, or into it as far as there is room."""

    def __init__(self, site: Path | None) -> None:
        self._site, self._room = site, ROOM_INSIDE
        self.side, self._quality = (SIDE_INSIDE, 75) if site is None else (SIDE, 85)
        self.made = self.crowded = 0

    def add(self, picture: Image.Image) -> str | None:
        """Return the picture's address on the page; None: there is no room left."""
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=self._quality)
        content = buffer.getvalue()
        if self._site is not None:
            # No name of the data leads elsewhere.
            address = f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:20]}.jpg"
            path = self._site / address
            write_atomically(path, lambda place: place.write_bytes(content), "--site", durable=False)
        else:
            address = "data:image/jpeg;base64," + base64.b64encode(content).decode()
            if len(address) > self._room:
                self.crowded += 1
                return None
            self._room -= len(address)
        self.made += 1
        return address


def add_images(
    page: Content, cells: Iterable[Cell], images: Images, site: Path | None
) -> tuple[Content, str]:
    """Return the page with small pictures of the images that tell most, and what is to be said of them.

    An image has the outline of its ground truth; beside it stands each method's heat map over the image,
    where maps are kept. They are written to `site/images`, or put into the page as far as `ROOM_INSIDE`
    goes. What cannot be read is left out and counted.
    """
    known = {cell["key"]: cell for cell in cells}
    pictures = _Pictures(site)
    shown: dict[tuple[int, str], tuple[Image.Image | None, str | None]] = {}
    without_maps, shown_cells = 0, []
    for on_page in page.cells:
        cell, rows = known[on_page["key"]], {}
        has_maps = images.keeps_maps(cell)
        without_maps += not has_maps
        for which, row in on_page["telling"].items():
            place = on_page["dataset"], row["image"]
            if place not in shown:
                shown[place] = _image(cell, row["image"], images, pictures)
            small, address = shown[place]
            heat = _overlay(cell, row["image"], images, small) if has_maps and small is not None else None
            rows[which] = row | {"file": address, "heat": None if heat is None else pictures.add(heat)}
        shown_cells.append(on_page | {"telling": rows})
    missing = sum(small is None for small, _ in shown.values())
    said = [
        f"{pictures.made} small pictures stand {'in' if site is None else 'beside'} the page",
        f"{pictures.crowded} had no room in it (report --site has)" if pictures.crowded else "",
        f"{missing} images are not under the data root, or have changed" if missing else "",
        f"{without_maps} of {len(page.cells)} cells have no kept maps to lay over" if without_maps else "",
    ]
    return replace(page, cells=shown_cells), "; ".join(filter(None, said)) + "."


def _image(
    cell: Cell, name: str, images: Images, pictures: _Pictures
) -> tuple[Image.Image | None, str | None]:
    """Return a small copy, and the address of one with the outline of the ground truth."""
    try:
        small = images.image(cell, name)
        mask = images.mask(cell, name)
    except BenchError:
        return None, None
    small.thumbnail((pictures.side, pictures.side))
    if mask is None or not mask.any():
        return small, pictures.add(small)
    region = Image.fromarray(mask * np.uint8(255)).resize(small.size, Image.Resampling.BILINEAR)
    return small, pictures.add(outlined(small, np.asarray(region) > 127))


def _overlay(cell: Cell, name: str, images: Images, small: Image.Image) -> Image.Image | None:
    """Return the heat map over the image, coloured from the lowest to the highest value of the class."""
    try:
        kept = images.maps(cell)
        return tinted(small, images.heat(cell, name), float(kept.low.min()), float(kept.high.max()))
    except BenchError:
        return None
