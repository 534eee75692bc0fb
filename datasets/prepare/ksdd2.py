"""KolektorSDD2 as published: `test/NNNNN.png` beside `NNNNN_GT.png`; normal where the mask is all zero."""

from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import bare_stem, child, images_in, pair_masks
from datasets.images import read_mask
from datasets.prepare.item import Item, refuse_bare
from datasets.schema import Record


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    return "test/NNNNN.png beside test/NNNNN_GT.png"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether numbered images lie beside masks."""
    test = child(folder, "test")
    return bool(test and any(bare_stem(path) != path.stem for path in _numbered(test)))


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all images; raises `ValueError` for one without a mask, or the reverse."""
    for split in ("train", "test"):
        place = child(folder, split)
        files = _numbered(place) if place else []
        images = [path for path in files if path.stem.isdecimal()]
        masks = pair_masks(images, [path for path in files if path not in images])
        refuse_bare(images, masks, place)
        for image in images:
            mask = masks[image] if read_mask(masks[image]).any() else None
            species = "defect" if mask else "good"
            names = (f"{split}/{image.name}", f"{split}/{mask.name}" if mask else "")
            yield Item(split, Record(*names, entry.classes[0].key, species, int(bool(mask))), image, mask)


def _numbered(folder: Path) -> list[Path]:
    """Return images and masks; the archive also holds stray copies, such as `10301 (copy).png`."""
    return [path for path in images_in(folder) if bare_stem(path).isdecimal()]
