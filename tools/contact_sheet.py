"""Contact sheets of the stand-ins, defects outlined: `python -m tools.contact_sheet sheet.png`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from datasets.standin.generate import KEYS
from datasets.standin.raster import Pixels
from datasets.standin.shots import SCALES, Shot, Studio

_GAP, _LABEL = 4, 14


def contact_sheet(
    path: Path, *, seed: int = 0, keys: Sequence[str] | None = None, scale: str = "full", side: int = 112
) -> None:
    """Write a PNG with one row per dataset and class: three normal pictures, then five anomalous ones.

    Each anomalous picture is followed by itself with its mask outlined. Pictures are fitted into
    `side` x `side` pixels.
    """
    rows: list[tuple[str, list[Pixels]]] = []
    for key in KEYS if keys is None else keys:
        studio = Studio(key, seed, SCALES[scale])
        for cls in studio.classes:
            tiles = [studio.take(cls, "test", False, k).image for k in range(min(3, studio.normal))]
            for k in range(min(5, studio.anomalous)):
                shot = studio.take(cls, "test", True, k)
                tiles += [shot.image, outlined(shot)]
            rows.append((f"{key}: {cls.name} ({cls.kind})", tiles))
    width = max(len(tiles) for _, tiles in rows) * (side + _GAP)
    page = Image.new("RGB", (width, len(rows) * (side + _LABEL + _GAP)), "white")
    draw = ImageDraw.Draw(page)
    for r, (title, tiles) in enumerate(rows):
        top = r * (side + _LABEL + _GAP)
        draw.text((2, top), title, fill="black")
        for c, tile in enumerate(tiles):
            picture = Image.fromarray(tile).convert("RGB")
            picture.thumbnail((side, side))
            page.paste(picture, (c * (side + _GAP), top + _LABEL))
    page.save(path, "PNG")


def outlined(shot: Shot) -> Pixels:
    """Return the picture as RGB (H, W, 3) with the inner edge of its mask in magenta."""
    mask = np.pad(shot.mask, 1)
    inner = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    image = shot.image if shot.image.ndim == 3 else np.repeat(shot.image[..., None], 3, axis=2)
    return np.where((shot.mask & ~inner)[..., None], np.array([255, 0, 255], np.uint8), image)


if __name__ == "__main__":
    contact_sheet(Path(sys.argv[1]))
