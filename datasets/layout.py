"""Folders without `meta.json`: classes, kinds of defect and masks told by the names of folders and files.

Read are, for each class folder (or the folder itself, if it is one class):

- MVTec: `<class>/test/<species>/`, with masks in `<class>/ground_truth/<species>/`;
- one level less: `<class>/<species>/`, where one species is called as the normal ones are;
- masks in a folder for each image (MVTec LOCO), in one folder for all species, or beside the images.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.files import (
    NORMAL_SPECIES,
    bare_stem,
    child,
    has_images,
    images_in,
    is_image,
    is_normal,
    pair_masks,
    subfolders,
    visible_files,
)
from datasets.schema import Record, Splits

_TRUTH = frozenset(
    ("ground_truth", "ground truth", "groundtruth", "gt", "masks", "mask", "labels", "label", "anomaly_mask")
)
_NO_SPECIES = re.compile(r"(train|test|val|valid|validation)([_-].*)?|pred", re.IGNORECASE)
"""Folders that are never a kind of defect or a class: splits, and Br35H's unlabelled images."""
_NO_PICTURE = re.compile(
    r"\.(txt|csv|tsv|jsonl?|xml|ya?ml|md|html|pdf|docx?|xlsx?|db|ini|log|py|sh|zip|tar|gz|xz|rar|7z)",
    re.IGNORECASE,
)
_SHOWN = 5

_FOREIGN = (
    (
        ("images?/", "(masks?|ground.?truth)/"),
        "images/ beside masks/, as Kvasir (prepare kvasir, endo, cvc300, cvc_colondb or cvc_clinicdb); of "
        "your own, move images to test/bad and masks to ground_truth/bad, normal ones (if any) to test/good",
    ),
    (
        (r"test/[^/]*_gt\.[a-z]+",),
        "NNN.png beside NNN_GT.png right in test, as KolektorSDD2 (prepare ksdd2); of your own, move images "
        "whose mask is black to test/good, the others to test/bad, and their masks to ground_truth/bad",
    ),
    (
        ("defect_images/", "nodefect_images/"),
        "as AITEX: rename Defect_images to test/bad and Mask_images to ground_truth/bad, and move the "
        "pictures below NODefect_images to test/good",
    ),
    (
        ("(.*/)?test_public/",),
        "as MVTec AD 2 (prepare mvtec_ad2); of your own, in each class rename test_public to test, and move "
        "test_public/ground_truth up, beside it",
    ),
    (
        ("test/[^/]+/img/",),
        "as BMAD (prepare bmad_brain, bmad_liver or bmad_retina); of your own, move test/good/img/* up to "
        "test/good, test/Ungood/img/* to test/bad, and test/Ungood/label to ground_truth/bad",
    ),
    (
        ("[^/]+/imgs/",),
        "as the magnetic tiles (prepare mtd); of your own, move Imgs/*.jpg to test/good and test/<defect>, "
        "and the masks Imgs/*.png of the defects to ground_truth/<defect>",
    ),
    (
        ("realiad_jsons.*/",),
        "as Real-IAD (prepare realiad)",
    ),
    (
        ("covid[^/]*/images/",),
        "as the COVID-19 radiographs (prepare covid)",
    ),
)
"""Layouts that are not read: what their names match (lower case, folders end in /), and what to rename."""


def class_folders(root: Path) -> list[Path]:
    """Return the folders in `root` that hold species; [root] if it is one itself."""
    if _home(root):
        return [root]
    return [it for it in subfolders(root) if not _NO_SPECIES.fullmatch(it.name) and _home(it)]


def read_layout(root: Path) -> tuple[Splits, list[str]]:
    """Read a tree; species called as normal ones are normal, all others anomalous.

    A class without any masks is read without. If `root` is itself one class, that class is called as it.

    Returns:
        The splits, and what lies there and is not used.

    Raises:
        ValueError: A mask has no image, an image no mask beside others that have one, pairing by name is
            ambiguous, or all pictures of a species are there twice.
    """
    splits: Splits = {"train": {}, "test": {}}
    warnings: list[str] = []
    used = set()
    for folder in class_folders(root):
        home = _home(folder) or folder
        found = {"test": _read_split(folder, home, warnings)}
        train = child(folder, "train") if home != folder else None
        found["train"] = [
            (image, species, None) for species in _species(train) for image in images_in(species)
        ]
        for split, samples in found.items():
            splits[split][folder.name] = [
                Record(
                    img_path=image.relative_to(root).as_posix(),
                    mask_path=mask.relative_to(root).as_posix() if mask else "",
                    cls_name=folder.name,
                    specie_name=species.name,
                    anomaly=int(not is_normal(species)),
                )
                for image, species, mask in samples
            ]
            used |= {path for image, _, mask in samples for path in (image, mask) if path}
    return splits, [*warnings, *_unused(root, used)]


def explain(root: Path) -> str:
    """Return why `root` is no dataset, and what to rename if its layout is a known other one."""
    names = []
    for path in root.glob("*") if root.is_dir() else ():
        names += [_plain(path, root), *(_plain(it, root) for it in path.glob("*") if path.is_dir())]
        names += [_plain(it, root) for it in path.glob("*/*") if it.is_dir()]
    for patterns, what in _FOREIGN:
        if all(any(re.fullmatch(pattern, name) for name in names) for pattern in patterns):
            return what
    folders = ", ".join(it.name for it in subfolders(root)[:_SHOWN]) or "none"
    return (
        f"no meta.json, no <class>/test/<species> folders and no folder of normal images (called "
        f"{', '.join(sorted(NORMAL_SPECIES))}) beside others; folders here: {folders}"
    )


def _plain(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix().casefold() + ("/" if path.is_dir() else "")


def _species(home: Path | None) -> list[Path]:
    folders = subfolders(home) if home else []
    return [it for it in folders if it.name.casefold() not in _TRUTH and not _NO_SPECIES.fullmatch(it.name)]


def _home(folder: Path) -> Path | None:
    """Return the folder that holds a class's species: its `test`, or itself; None if it is no class."""
    if test := child(folder, "test"):
        # Images right in `test` are another layout: DAGM keeps its labels in a folder beside them.
        return test if not has_images(test) and any(map(has_images, _species(test))) else None
    filled = [it for it in _species(folder) if has_images(it)]
    return folder if len(filled) > 1 and any(map(is_normal, filled)) else None


_Sample = tuple[Path, Path, Path | None]
"""Image, folder of its species, mask."""


def _read_split(folder: Path, home: Path, warnings: list[str]) -> list[_Sample]:
    samples: list[_Sample] = []
    flat = [mask for truth in _truths(folder, home) for mask in images_in(truth)]
    for species in _species(home):
        images, beside = _images_and_masks(species, warnings)
        if is_normal(species):
            samples += [(image, species, None) for image in images]
            continue
        masks = beside or _own_masks(images, species, _truths(folder, home, species)) or _shared(images, flat)
        bare = [image for image in images if image not in masks]
        if masks and bare:
            raise ValueError(
                f"{bare[0]}: no mask, though others have one ({len(bare)} of {len(images)} images here have "
                "none); add the masks"
            )
        samples += [(image, species, masks.get(image)) for image in images]
    claimed = Counter(mask for _, _, mask in samples if mask)
    if claimed and (top := claimed.most_common(1)[0])[1] > 1:
        raise ValueError(
            f"{top[0]}: {top[1]} images of {folder} claim it; put masks into a folder for each species"
        )
    return samples


def _truths(*places: Path) -> Iterator[Path]:
    """Yield the folders of masks right in the given places."""
    for place in dict.fromkeys(places):
        yield from (it for it in subfolders(place) if it.name.casefold() in _TRUTH)


def _images_and_masks(species: Path, warnings: list[str]) -> tuple[list[Path], dict[Path, Path]]:
    """Return the images right in a species' folder, and the masks that lie beside them."""
    files = images_in(species)
    stems = {path.stem for path in files}
    masks = [path for path in files if bare_stem(path) != path.stem and bare_stem(path) in stems]
    images = [path for path in files if path not in set(masks)]
    twice = [stem for stem, count in Counter(path.stem for path in images).items() if count > 1]
    if twice:
        example = " and ".join(path.name for path in images if path.stem == twice[0])
        if 2 * len(twice) >= len(images):
            raise ValueError(
                f"{species}: all pictures are there twice, as {example}; if one of the two is the mask, move "
                f"the masks to ground_truth/{species.name}"
            )
        warnings.append(
            f"{species}: {len(twice)} pairs of pictures share a name, as {example}; is one a mask?"
        )
    return images, pair_masks(images, masks)


def _own_masks(images: Sequence[Path], species: Path, truths: Iterator[Path]) -> dict[Path, Path]:
    """Return the masks of one species: files, or a folder of parts for each image."""
    for truth in truths:
        place = truth if truth.parent == species else child(truth, species.name)
        if place is None:
            continue
        parts = [it for it in subfolders(place) if has_images(it)]
        pairs = pair_masks(images, [*images_in(place), *parts])
        for image, mask in pairs.items():
            if mask in parts and len(files := images_in(mask)) == 1:
                pairs[image] = files[0]
        if pairs:
            return pairs
    return {}


def _shared(images: Sequence[Path], masks: Sequence[Path]) -> dict[Path, Path]:
    """Return the masks of the images among those of all species."""
    stems = {image.stem for image in images}
    return pair_masks(images, [mask for mask in masks if stems & {mask.stem, bare_stem(mask)}])


def _unused(root: Path, used: set[Path]) -> list[str]:
    """Return what lies below `root` and is not used: pictures by folder, other files by extension."""
    pictures: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for path in visible_files(root):
        if path in used or path.parent in used:
            continue
        if is_image(path):
            pictures[path.parent.relative_to(root).as_posix()] += 1
        elif path.suffix and not _NO_PICTURE.fullmatch(path.suffix):
            others[path.suffix.lower()] += 1
    return [
        f"{root}: {found.total()} {what}: "
        + ", ".join(f"{name} ({count})" for name, count in found.most_common(_SHOWN))
        + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        for what, found in (
            ("pictures are not used", pictures),
            ("files are left out for their extension", others),
        )
        if found
    ]
