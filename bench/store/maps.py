"""The anomaly maps of a cell, kept small beside it for figures; no number of a table is computed from them.

`class.key.maps.zip` holds `about.json` and one 16-bit grey PNG for each image, in the order of the cell's
scores. A map is averaged down to at most `SIDE` pixels a side. Between its own lowest and highest value,
which `about.json` has, the square root of its height is then rounded to one of 4096 levels: that moves a
value by at most 1/4000 of the map's range, and by far less where the map is low. What averaging and
rounding have moved together, at the map's full size, is measured and stands in `about.json`. The class's
pixel curves stand there too, and in `counts` each image's pixels by score (`metrics.Counts`), both from the
maps as the method gave them.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import BenchError
from bench.store.atomic import write_atomically
from metrics import Counts, Curve, PixelCounts, PixelCurves
from metrics.counts import LEVELS

SIDE = 256
"""Most pixels of a kept map's side."""
_SCHEMA, _LEVELS, _ABOUT, _COUNTS = 2, 4095, "about.json", "counts"
_KINDS = ("<u4", "<u4", "<f4", "<u4")
"""Of the fields of `metrics.Counts`, which stand one after the other in `counts`."""
_OF_COUNTS = 4 * (3 * LEVELS + 1)
"""Bytes of an image's counts, before they are compressed."""
_OVERHEAD, _OF_ABOUT, _CURVES = 1024, 200, 30_000
"""Most bytes of a map's file beside its pixels, of `about.json` for each image, and of its curves."""


def largest_size(count: int, size: int) -> int:
    """Return the most bytes that `count` maps of `size` pixels a side take; smooth ones take a third."""
    side = min(size, SIDE)
    return count * (side * (2 * side + 1) + _OVERHEAD + _OF_ABOUT + _OF_COUNTS) + _OVERHEAD + _CURVES


class MapsToKeep:
    """Takes the maps of a class as they come; holds them compressed until the cell is known."""

    def __init__(self) -> None:
        self._curves, self._counts = PixelCurves(), PixelCounts()
        self._pictures: list[bytes] = []
        self._low: list[float] = []
        self._high: list[float] = []
        self._size, self._largest, self._sum = 0, 0.0, 0.0

    def add(self, maps: NDArray[np.float32]) -> None:
        """Take maps (B, S, S) of finite values."""
        for scores in maps:
            self._size = len(scores)
            small = _resized(scores, min(self._size, SIDE), Image.Resampling.BOX)
            low, high = float(small.min()), float(small.max())
            levels = np.rint(_LEVELS * np.sqrt((small - low) / max(high - low, 1e-30))).astype(np.uint16)
            buffer = io.BytesIO()
            Image.fromarray(levels).save(buffer, "PNG", compress_level=1)
            self._pictures.append(buffer.getvalue())
            self._low.append(low)
            self._high.append(high)
            back = _resized(_restored(levels, low, high), self._size, Image.Resampling.BILINEAR)
            moved = np.abs(back - scores)
            self._largest = max(self._largest, float(moved.max()))
            self._sum += float(moved.mean())

    def add_pixels(self, scores: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
        """Take a map and its mask (H, W) at the size of evaluation, where there are masks."""
        self._curves.add(scores, mask)
        self._counts.add(scores, mask)

    def write(self, path: Path, key: str, scores: Sequence[Mapping[str, Any]]) -> None:
        """Write the file whole or not at all, for the cell with this key and these rows of scores."""
        about: dict[str, Any] = {
            "schema": _SCHEMA,
            "key": key,
            "scores": _digest(scores),
            "map_size": self._size,
            "side": min(self._size, SIDE),
            "low": self._low,
            "high": self._high,
            "error": {"largest": self._largest, "mean": self._sum / max(len(self._low), 1)},
            "curves": None,
            "counts": False,
        }
        if (curve := self._curves.result()) is not None:
            about["curves"] = {name: values.round(6).tolist() for name, values in curve._asdict().items()}

        if (counts := self._counts.result()) is not None:
            about["counts"] = True

        def fill(place: Path) -> None:
            with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
                named = ((_picture(number), content) for number, content in enumerate(self._pictures))
                for name, content in ((_ABOUT, json.dumps(about).encode()), *named):
                    archive.writestr(zipfile.ZipInfo(name), content)  # with no date: same maps, same file
                if counts is not None:
                    packed = b"".join(
                        part.astype(kind).tobytes() for part, kind in zip(counts, _KINDS, strict=True)
                    )
                    archive.writestr(zipfile.ZipInfo(_COUNTS), packed, zipfile.ZIP_DEFLATED)

        write_atomically(path, fill, "--results", durable=False)


class KeptMaps:
    """The kept maps of one cell, and its pixel curves (`curve`; None where pixel metrics do not apply).

    `low` and `high` are the ends of each map's values, float32 (N,); `error` is the largest difference that
    keeping made at `map_size`, the maps' full size.
    """

    def __init__(self, path: Path, cell: Mapping[str, Any]) -> None:
        """Open the file of the cell as read.

        Raises `BenchError` if it is not there, is damaged, or belongs to another computation of the cell.
        """
        self.path = path
        self._places = {row["image"]: place for place, row in enumerate(cell["scores"])}
        if not path.is_file():
            raise self._error("there are no kept maps")
        try:
            with zipfile.ZipFile(path) as archive:
                about = self._about(archive)
            ours = about["key"] == cell["key"] and about["scores"] == _digest(cell["scores"])
            self.map_size, self.side = int(about["map_size"]), int(about["side"])
            self.low = np.array(about["low"], np.float32)
            self.high = np.array(about["high"], np.float32)
            self.error = float(about["error"]["largest"])
            self.curve = _curve(about["curves"])
            self._has_counts = bool(about["counts"])
            whole = about["schema"] == _SCHEMA and 0 < self.side == min(self.map_size, SIDE)
            whole = whole and self.low.shape == self.high.shape == (len(self._places),)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise self._error(f"damaged ({type(error).__name__}: {error})") from error
        if not whole or not np.isfinite([*self.low, *self.high, self.error]).all():
            raise self._error("damaged (sizes do not agree)")
        if not ours:
            raise self._error("these maps are of another computation than the cell's scores")

    def _about(self, archive: zipfile.ZipFile) -> dict[str, Any]:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        packed = {entry.filename for entry in archive.infolist() if entry.compress_type}
        names = [_ABOUT, *map(_picture, range(len(self._places)))]
        if sizes.pop(_COUNTS, _OF_COUNTS * len(self._places)) != _OF_COUNTS * len(self._places):
            raise ValueError(f"{_COUNTS} is of another size")
        if list(sizes) != names or packed - {_COUNTS}:
            raise ValueError(f"{len(sizes)} entries for {len(self._places)} images")
        if sizes.pop(_ABOUT) > _OVERHEAD + _CURVES + _OF_ABOUT * len(self._places):
            raise ValueError(f"{_ABOUT} is too large")
        if max(sizes.values(), default=0) > SIDE * (2 * SIDE + 1) + _OVERHEAD:
            raise ValueError("a map is too large")
        about = json.loads(archive.read(_ABOUT))
        if not isinstance(about, dict):
            raise ValueError(f"{_ABOUT} is no object")
        return about

    def read(self, image: str) -> NDArray[np.float32]:
        """Return the map (side, side) of an image by its name in the cell; raises `BenchError` if damaged."""
        place = self._places[image]
        try:
            with zipfile.ZipFile(self.path) as archive:
                content = archive.read(_picture(place))
            with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
                if picture.size != (self.side, self.side) or picture.mode != "I;16":
                    raise ValueError(f"{picture.mode} of {picture.size}")
                levels = np.asarray(picture)
        except Exception as error:  # on broken files the decoders raise whatever they stumble over
            raise self._error(f"damaged ({type(error).__name__}: {error})") from error
        return _restored(levels, float(self.low[place]), float(self.high[place]))

    def counts(self) -> Counts | None:
        """Return the pixels of each image by score, in the order of the cell's scores; None as for `curve`.

        Raises `BenchError` if they are damaged.
        """
        if not self._has_counts:
            return None
        count = len(self._places)
        try:
            with zipfile.ZipFile(self.path) as archive:
                content = archive.read(_COUNTS)
            parts = np.split(np.frombuffer(content, "V4"), count * LEVELS * np.arange(1, 4))
            columns = (part.view(kind).reshape(count, -1) for part, kind in zip(parts, _KINDS, strict=True))
            normal, anomalous, overlap, regions = columns
            found = Counts(normal, anomalous, overlap, regions[:, 0])
            if not all(np.isfinite(part).all() and (part >= 0).all() for part in found):
                raise ValueError("counts are none")
        except Exception as error:  # on broken files the decoders raise whatever they stumble over
            raise self._error(f"damaged ({type(error).__name__}: {error})") from error
        return found

    def _error(self, what: str) -> BenchError:
        return BenchError(f"{self.path}: {what}; repeat the cell's `run` command with --save-maps")


def are_kept(path: Path, cell: Mapping[str, Any] | None) -> bool:
    """Return whether the cell's maps lie at `path`: not damaged ones, nor those of an earlier computation."""
    try:
        return cell is not None and KeptMaps(path, cell).side > 0
    except BenchError:
        return False


def _curve(lists: Mapping[str, Any] | None) -> Curve | None:
    if lists is None:
        return None
    curve = Curve(**{name: np.array(values, np.float64) for name, values in lists.items()})
    points = np.stack(curve)  # raises where they differ in length
    if points.ndim != 2 or not points.size or not ((points >= 0) & (points <= 1)).all():
        raise ValueError("its curves are none")
    return curve


def _restored(levels: NDArray[np.uint16], low: float, high: float) -> NDArray[np.float32]:
    restored: NDArray[np.float32] = (low + (high - low) * (levels / _LEVELS) ** 2).astype(np.float32)
    return restored


def _resized(scores: NDArray[np.float32], side: int, how: Image.Resampling) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(scores).resize((side, side), how))


def _picture(number: int) -> str:
    return f"{number:05}.png"


def _digest(scores: Sequence[Mapping[str, Any]]) -> str:
    """Return what tells two computations of one cell apart."""
    rows = json.dumps([(row["image"], row["score"]) for row in scores])
    return hashlib.sha256(rows.encode()).hexdigest()
