"""The MVTec layout: `<class>/test/<species>/` with masks in `<class>/ground_truth/<species>/`."""

from pathlib import Path

from datasets.files import NORMAL_SPECIES, child, images_in, pair_masks, subfolders
from datasets.schema import Record, Splits


def class_folders(root: Path) -> list[Path]:
    """Return the folders in `root` that hold a `test` folder with species; [root] if it is one itself."""
    if _is_class(root):
        return [root]
    return [folder for folder in subfolders(root) if _is_class(folder)]


def read_layout(root: Path) -> Splits:
    """Read a tree in MVTec layout: species good, ok, no and normal are normal, all others anomalous.

    Without a `ground_truth` folder, or a folder of the species in it, samples have no mask. If `root` is
    itself one class, that class is called as the folder.

    Raises:
        ValueError: A mask has no image, an image no mask beside others that have one, or pairing by name
            is ambiguous.
    """
    splits: Splits = {"train": {}, "test": {}}
    for folder in class_folders(root):
        for split, classes in splits.items():
            classes[folder.name] = _read_split(root, folder, split)
    return splits


def _is_class(folder: Path) -> bool:
    test = child(folder, "test")
    # Images right in `test` are another layout: DAGM keeps its labels in a folder beside them.
    return test is not None and not images_in(test) and any(map(images_in, subfolders(test)))


def _read_split(root: Path, folder: Path, split: str) -> list[Record]:
    images_of_split = child(folder, split)
    truth = child(folder, "ground_truth")
    records = []
    for species in subfolders(images_of_split) if images_of_split else []:
        images = images_in(species)
        anomalous = species.name.casefold() not in NORMAL_SPECIES
        masks: dict[Path, Path] = {}
        if anomalous and split == "test" and truth and (of_species := child(truth, species.name)):
            masks = pair_masks(images, images_in(of_species))
            bare = [image for image in images if image not in masks]
            if masks and bare:
                raise ValueError(
                    f"{bare[0]}: no mask in {of_species} ({len(bare)} of {len(images)} images); add the masks"
                )
        records += [
            Record(
                img_path=image.relative_to(root).as_posix(),
                mask_path=masks[image].relative_to(root).as_posix() if image in masks else "",
                cls_name=folder.name,
                specie_name=species.name,
                anomaly=int(anomalous),
            )
            for image in images
        ]
    return records
