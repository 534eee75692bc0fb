"""Datasets that are anomalous images and their masks, in two folders or numbered in one."""

from collections.abc import Iterator
from pathlib import Path

from datasets.catalog import Dataset
from datasets.files import child, images_in, pair_masks, subfolders
from datasets.prepare.item import Item, refuse_bare
from datasets.schema import Record


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    shapes = [f"{images}/ and {masks}/" for images, masks in entry.raw.pairs]
    if entry.raw.mask_prefix:
        shapes.append(f"N.tiff beside {entry.raw.mask_prefix}N.tiff")
    return " or ".join(shapes)


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether images and masks are there, in folders of their own or in one."""
    return _folders(folder, entry) is not None or bool(_flat(folder, entry)[1])


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all images; raises `ValueError` for an image without a mask, or a mask without an image."""
    cls = entry.classes[0].key
    if found := _folders(folder, entry):
        images = images_in(found[0])
        masks = pair_masks(images, images_in(found[1]))
        refuse_bare(images, masks, found[1])
        for image, mask in masks.items():
            paths = (f"{found[0].name}/{image.name}", f"{found[1].name}/{mask.name}")
            yield Item("test", Record(*paths, cls, "", 1), image, mask)
    else:
        images, masks = _flat(folder, entry)
        refuse_bare(images, masks, folder)
        for image, mask in masks.items():
            paths = (f"images/{image.name}", f"masks/{image.stem}{mask.suffix}")
            yield Item("test", Record(*paths, cls, "", 1), image, mask)


def _flat(folder: Path, entry: Dataset) -> tuple[list[Path], dict[Path, Path]]:
    """Return the numbered images right in `folder`, and image -> mask; other files are left alone."""
    if entry.raw.mask_prefix is None:
        return [], {}
    files = images_in(folder)
    images = [path for path in files if path.stem.isdecimal()]
    masks = {path.stem: path for path in files}
    pairs = {image: masks.get(f"{entry.raw.mask_prefix}{image.stem}") for image in images}
    return images, {image: mask for image, mask in pairs.items() if mask}


def _folders(folder: Path, entry: Dataset) -> tuple[Path, Path] | None:
    for images, masks in entry.raw.pairs:
        # Without images it is the mask half of two downloads, or an empty shell: look on.
        right = child(folder, masks)
        others = [it for it in subfolders(folder) if it != right] if right and images == "*" else []
        left = others[0] if len(others) == 1 else child(folder, images)
        if left and right and images_in(left):
            return left, right
    return None
