"""Tiny imitations of the raw datasets: true paths, formats, modes and mask values; made-up pixels."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

LAYOUTS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "raw_layouts.json").read_text(encoding="utf-8")
)["layouts"]

WIDTH, HEIGHT = 16, 31  # not square, and the height not divisible by three


def build(layout: str, parent: Path) -> Path:
    """Write the imitation of `layout` below `parent`; return its folder, named as the download names it."""
    root = parent / LAYOUTS[layout]["folder"]
    for file in LAYOUTS[layout]["files"]:
        path = root / file["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if "content" in file:
            path.write_text(file["content"], encoding="utf-8")
        elif "values" in file:
            write_mask(path, file)
        else:
            write_image(path, file["format"], file["mode"])
    return root


def pixels(path: Path, channels: int = 3) -> np.ndarray:
    """Return the colours of the imitated image at `path`: uint8 (H, W, channels), another for each name."""
    seed = zlib.crc32("/".join(path.parts[-3:]).encode())
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)


def write_image(path: Path, format: str, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = pixels(path)
    if format == "TIFF":
        # Three samples tagged as grey: what Pillow refuses and OpenCV turns grey.
        tifffile.imwrite(path, colours, photometric="minisblack", planarconfig="contig")
        return
    image = Image.fromarray(colours)
    if mode == "RGBA":
        image = Image.fromarray(pixels(path, 4))
    elif mode != "RGB":
        image = image.convert(mode)
    image.save(path, format=format)


def write_mask(path: Path, file: dict[str, Any]) -> None:
    """Write a mask whose middle third holds one block of each non-zero value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    foreground = [value for value in file["values"] if value]
    for index, value in enumerate(foreground):
        values[12:18, 2 + 4 * index : 5 + 4 * index] = value
    image = Image.fromarray(values)
    if file["mode"] == "P":
        image = Image.fromarray(values, mode="P")
        colours = [channel for colour in file["palette"] for channel in colour]
        image.putpalette(colours + [0] * (768 - len(colours)))  # the published bitmaps list 256 colours
    image.save(path, format=file["format"])


def cleaned(root: Path) -> Path:
    """Write MVTec's grid (glue 1, 2 and 9 are left out) and bottle (all left out), glue 0..3 and good 0."""
    mask = {"values": [0, 255], "mode": "L", "format": "PNG"}
    for name in ("bottle/test/good/000", "bottle/test/crack/000", "grid/test/good/000"):
        write_image(root / f"{name}.png", "PNG", "RGB")
    for number in range(4):
        write_image(root / f"grid/test/glue/{number:03}.png", "PNG", "RGB")
        write_mask(root / f"grid/ground_truth/glue/{number:03}_mask.png", mask)
    write_mask(root / "bottle/ground_truth/crack/000_mask.png", mask)
    return root
