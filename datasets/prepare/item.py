"""What a reader of a raw layout hands over: one sample with the files, or pixels, to be placed."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets.schema import Record

Content = Path | Image.Image
"""A raw file to be taken as it is, or pixels to be written in the format of the record's extension."""


@dataclass(frozen=True)
class Item:
    """One sample: its record, and what the record's paths shall hold."""

    split: str
    record: Record
    image: Content
    mask: Content | None = None


def raw_item(
    folder: Path, split: str, cls: str, species: str, label: int, image: Path, mask: Path | None = None
) -> Item:
    """Return an item of files that are taken as they are, called as they are below `folder`."""
    names = [path.relative_to(folder).as_posix() if path else "" for path in (image, mask)]
    return Item(split, Record(names[0], names[1], cls, species, label), image, mask)


def refuse_bare(images: Iterable[Path], masks: Collection[Path], where: object) -> None:
    """Raise `ValueError` if one of the images is not among those that have a mask."""
    if bare := [image for image in images if image not in masks]:
        raise ValueError(f"{bare[0]}: no mask in {where} ({len(bare)} such); restore the masks")
