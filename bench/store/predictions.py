"""A folder of predictions: a CSV that grows picture by picture, and files that never replace others."""

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.store.cells import write_json

MARKER = "zsad-predictions.json"
"""Says what made the answers; a folder that holds it is never searched for pictures."""
TABLE = "scores.csv"
_LONGEST_STEM = 200  # bytes; a file name may have 255


class Predictions:
    """The answers of one call, and of the same call interrupted before."""

    def __init__(self, root: Path, identity: Mapping[str, Any], *, force: bool = False) -> None:
        """Open or make `root` for answers that depend on `identity` (JSON values).

        Answers of the same identity that are there are kept, in `rows`. Raises `BenchError` where `root`
        holds those of another one; `force` begins anew and lets new files replace old ones.
        """
        self.root, self._force = root, force
        self.rows: list[dict[str, str]] = []
        self._table, self._names = root / TABLE, set[str]()
        if self._table.exists() and not force:
            self._check(identity)
            self.rows = self._read()
        elif self._table.exists():
            self._table.unlink()
        write_json(root / MARKER, identity)

    def _check(self, identity: Mapping[str, Any]) -> None:
        try:
            before = json.loads((self.root / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before == identity:
            return
        differing = [name for name in identity if before.get(name) != identity[name]] if before else []
        raise BenchError(
            f"{self.root} holds answers of another call"
            + (f" (other {', '.join(differing)})" if differing else "")
            + ": choose another --out, or replace them with --force"
        )

    def _read(self) -> list[dict[str, str]]:
        content = self._table.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill may have cut the last row
        if len(whole) < len(content):
            os.truncate(self._table, len(whole))
        return list(csv.DictReader(io.StringIO(whole.decode("utf-8"), newline="")))

    def stem(self, picture: Path) -> str:
        """Return a name for a picture's files that no other picture and no file here has."""
        stem = "".join(letter if letter.isprintable() else "_" for letter in picture.stem)
        while len(os.fsencode(stem)) > _LONGEST_STEM:
            stem = stem[:-1]
        name, repeat = stem, 1
        while name.casefold() in self._names or (not self._force and any(self._files(name))):
            repeat += 1
            name = f"{stem}_{repeat}"
        self._names.add(name.casefold())
        return name

    def _files(self, name: str) -> list[Path]:
        return [path for path in (self.map_file(name), self.picture_file(name)) if path.exists()]

    def map_file(self, name: str) -> Path:
        """Return where the map (float32 TIFF) of the answer `name` lies."""
        return self.root / f"{name}_map.tiff"

    def picture_file(self, name: str) -> Path:
        """Return where the picture to look at (PNG) of the answer `name` lies."""
        return self.root / f"{name}_overlay.png"

    def add(self, row: Mapping[str, object]) -> None:
        """Append a row; it is on the disk when this returns."""
        begun = self._table.exists() and self._table.stat().st_size > 0
        with self._table.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if not begun:
                writer.writeheader()
            writer.writerow(row)
        self.rows.append({name: "" if value is None else str(value) for name, value in row.items()})
