"""Files and folders of a dataset: what counts as an image, pairing by name, paths that stay inside."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm",
))  # fmt: skip
NORMAL_SPECIES = frozenset(("good", "ok", "no", "normal"))
"""Folder names that mean normal, whatever the case: MVTec family, BTAD, brain sets, COVID-19."""
STAND_IN = "STAND-IN.txt"
"""Whatever lies in or below a folder with this file is generated data, not the dataset."""
_MASK_ENDING = re.compile(r"[_-](mask|label|segmentation|ground_?truth|gt)$", re.IGNORECASE)
_LONGEST = 4096  # more than any file system takes


class EscapeError(ValueError):
    """A path from a data file that leads out of the dataset's folder."""


class LinkError(EscapeError):
    """A link that leads out of the dataset's folder."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def escaped_name(text: str) -> str:
    r"""Return a name that can be written anywhere: what is no UTF-8 in a file's name becomes `\udcNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_image(path: Path) -> bool:
    """Say whether a visible regular file has an image's extension, in any case; nothing is opened."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def is_normal(species: Path) -> bool:
    """Say whether a folder is called as the normal images' folder is."""
    return species.name.casefold() in NORMAL_SPECIES


def bare_stem(mask: Path) -> str:
    """Return a file's name without extension and without what marks a mask: `x` for `x_mask.png`."""
    return _MASK_ENDING.sub("", mask.stem)


def has_images(folder: Path) -> bool:
    """Say whether there is an image right in `folder`."""
    return any(map(is_image, folder.iterdir()))


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield all files below `folder` but hidden ones and those in hidden folders; links are not followed."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def images_in(folder: Path) -> list[Path]:
    """Return the images right in `folder`, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_image(path))


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders right in `folder`, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def child(folder: Path, name: str) -> Path | None:
    """Return the folder `name` (it may hold `/`) below `folder`: exactly so spelt, else in any case."""
    found = folder
    for part in name.split("/"):
        exact = found / part
        if not exact.is_dir():
            alike = [path for path in subfolders(found) if path.name.casefold() == part.casefold()]
            if not alike:
                return None
            exact = alike[0]
        found = exact
    return found


def is_stand_in(folder: Path) -> bool:
    """Say whether `folder` is marked as generated stand-in data, itself or by a folder above it."""
    places = {folder.absolute(), folder.resolve()}
    return any((place / STAND_IN).is_file() for path in places for place in (path, *path.parents))


def pair_masks(images: Iterable[Path], masks: Iterable[Path]) -> dict[Path, Path]:
    """Pair images with masks by stem; the mask's may end in `_mask`, `_label`, `_Segmentation`, `_gt`.

    Returns:
        Image -> mask; an image without a mask is left out.

    Raises:
        ValueError: A mask has no image, or two files claim the same partner.
    """
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_stem.setdefault(image.stem, []).append(image)
    pairs: dict[Path, Path] = {}
    lonely = []
    for mask in masks:
        found = by_stem.get(mask.stem) or by_stem.get(bare_stem(mask))
        if found is None:
            lonely.append(mask)
        elif len(found) > 1:  # as Y92.jpg and Y92.png: the mask could be of either
            raise ValueError(f"{mask}: two images share its stem; rename one image and its mask")
        elif found[0] in pairs:
            raise ValueError(f"{mask}: {found[0].name} has a second mask, {pairs[found[0]].name}; remove one")
        else:
            pairs[found[0]] = mask
    if lonely:
        raise ValueError(
            f"{lonely[0]}: mask without an image ({len(lonely)} such here); restore the image or remove the "
            "mask"
        )
    return pairs


class Tree:
    """Names of files below a root, as data files write them, found without ever leaving the root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = root.resolve()
        self._real_folders: dict[Path, Path] = {}

    def find(self, text: str, *, folder: bool = False) -> str | None:
        r"""Return the posix path, relative to the root, of the file that `text` means; None if there is none.

        With `folder`, a folder will do. `\` counts as `/`. A path written for another place (absolute, or
        with the root in front) means the longest tail of it that exists below the root.

        Raises:
            EscapeError: The path holds `..`, is absolute and exists only elsewhere, or is a link out.
        """
        if "\0" in text or len(text) > _LONGEST:
            raise EscapeError("is not a path")
        path = PurePosixPath(text.replace("\\", "/"))
        if ".." in path.parts:
            raise EscapeError("holds '..'")
        parts = path.parts[1:] if path.is_absolute() else path.parts
        for root in (self.root.absolute(), self._real_root) if path.is_absolute() else ():
            if path.is_relative_to(root):
                parts = path.relative_to(root).parts
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            if self._holds(name, folder):
                return name
        if path.is_absolute() and _exists(Path(path)):
            raise EscapeError("lies outside")
        return None

    def _holds(self, name: str, folder: bool) -> bool:
        path = self.root / name
        if not _exists(path) and not (folder and path.is_dir()):
            return False
        if path.parent not in self._real_folders:
            self._real_folders[path.parent] = path.parent.resolve()
        real = self._real_folders[path.parent] / path.name
        if real.is_symlink():
            real = real.resolve()
        if not real.is_relative_to(self._real_root):
            raise LinkError(f"is a link that leads out, to {real}")
        return True


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a part of the name is too long for the file system
        return False
