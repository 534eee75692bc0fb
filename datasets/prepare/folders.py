"""Datasets whose folders say what their images are: the entry's table of parts, once or in each class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.catalog import Dataset
from datasets.entry import Part
from datasets.files import child, images_in, pair_masks, subfolders
from datasets.prepare.item import Item, raw_item, refuse_bare


def shape(entry: Dataset) -> str:
    """Say what `fits` looks for."""
    first = {part.label: part.images[0] for part in reversed(entry.raw.parts) if part.split == "test"}
    above = "<class>/" if entry.raw.by_class else ""
    return f"{above}{first[1]}/ and {above}{first[0]}/"


def fits(folder: Path, entry: Dataset) -> bool:
    """Say whether there are test images of both labels."""
    return {part.label for _, part, _, _ in _found(folder, entry) if part.split == "test"} == {0, 1}


def read(folder: Path, entry: Dataset, protocol: str | None) -> Iterator[Item]:
    """Yield all images; raises `ValueError` for an anomalous one without a mask where its part has masks."""
    for cls, part, place, truth in _found(folder, entry):
        files = images_in(place)
        images = [path for path in files if truth != place or path.suffix.lower() != ".png"]
        masks: dict[Path, Path] = {}
        if part.label and part.masks:
            beside = [path for path in files if path not in images]
            masks = pair_masks(images, beside if truth == place else images_in(truth) if truth else ())
            refuse_bare(images, masks, truth or f"{folder}, in {' or '.join(part.masks)}")
        for image in images:
            yield raw_item(folder, part.split, cls, part.species, part.label, image, masks.get(image))


def _found(folder: Path, entry: Dataset) -> Iterator[tuple[str, Part, Path, Path | None]]:
    """Yield class key, part, folder of images and folder of masks of all that is there."""
    homes = [(entry.classes[0].key, folder)]
    if entry.raw.by_class:
        homes = [(known.key, it) for it in subfolders(folder) if (known := entry.class_of(it.name))]
    for cls, home in homes:
        for part in entry.raw.parts:
            if place := _first(home, part.images):
                yield cls, part, place, _first(home, part.masks)


def _first(home: Path, names: Sequence[str]) -> Path | None:
    """Return the first of the folders that is there and holds images."""
    places = (child(home, name) for name in names)
    return next((place for place in places if place and images_in(place)), None)
