"""Real-IAD as published: `realiad_<size>/<class>/...`, and JSON files that say what is test.

Protocol `views` is the official split with all five views of an object, each view an image of its own
(`realiad_jsons`); protocol `single` is the official one with a single view (`realiad_jsons_sv`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.catalog import Dataset
from datasets.files import EscapeError, Tree, child, subfolders
from datasets.prepare.item import Item, raw_item

_SPLITS = {"views": "realiad_jsons", "single": "realiad_jsons_sv"}
_NORMAL = "OK"


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return "realiad_<size>/<class>/ beside realiad_jsons/"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether a folder of images lies beside one of splits."""
    return bool(_sizes(folder, entry)) and any(_listings(folder, name) for name in _SPLITS.values())


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield the images that the protocol's JSON files name, of the classes that are there.

    Raises:
        ValueError: The protocol's files are absent or not as published, an image or a mask is absent, or
            images of several sizes lie there.
    """
    sizes, name = _sizes(folder, entry), _SPLITS[protocol or "views"]
    if len(sizes) > 1:
        raise ValueError(f"{folder}: {sizes[0].name} and {sizes[1].name} are both there; leave one")
    listings = _listings(folder, name)
    if listings is None:
        raise ValueError(f"{folder}: no {name}/<class>.json, which says what is test; download it too")
    for path in sorted(listings.glob("*.json")):
        known, home = entry.class_of(path.stem), child(sizes[0], path.stem)
        if known is None:
            raise ValueError(f"{path}: not a class of {entry.key}; restore the published files")
        if home is None:
            continue
        tree = Tree(home)
        for split, index, row in _rows(path):
            where = f"{path}: {split}[{index}]"
            try:
                image, mask = tree.find(str(row["image_path"])), tree.find(str(row.get("mask_path") or ""))
                species = str(row["anomaly_class"])
            except (EscapeError, KeyError) as error:
                raise ValueError(f"{where}: not as published ({error}); restore the file") from None
            if image is None:
                raise ValueError(f"{where}: {row['image_path']!r} is absent in {home}; restore it")
            if species == _NORMAL:
                mask = None
            elif mask is None:
                raise ValueError(f"{home / image}: its mask {row.get('mask_path')!r} is absent; restore it")
            truth = home / mask if mask else None
            yield raw_item(folder, split, known.key, species, int(species != _NORMAL), home / image, truth)


def _rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        rows = [(split, *each) for split in ("train", "test") for each in enumerate(content[split])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: not as published ({error}); restore the file") from None
    for split, index, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{path}: {split}[{index}]: not as published; restore the file")
        yield split, index, row


def _sizes(folder: Path, entry: Dataset) -> list[Path]:
    """Return the folders of images: `realiad_1024` and the like."""
    return [it for it in subfolders(folder) if any(entry.class_of(each.name) for each in subfolders(it))]


def _listings(folder: Path, name: str) -> Path | None:
    """Return the folder of the JSON files; the download nests it in one of the same name."""
    places = (child(folder, f"{name}/{name}"), child(folder, f"realiad_jsons/{name}"), child(folder, name))
    return next((place for place in places if place and any(place.glob("*.json"))), None)
