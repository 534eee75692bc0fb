"""What a dataset is once opened: samples in classes in a folder."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.catalog import Dataset
from datasets.counts import ClassCount, count_classes, differences
from datasets.files import images_in, sha256_of


@dataclass(frozen=True)
class Sample:
    """One image with what is known of it."""

    name: str
    """Posix path of the image relative to the dataset's folder, as it may be written; unique in it."""
    image: Path
    mask: Path | None
    """None: normal, or without pixel truth (then `ClassData.no_pixel_level` says so). A folder: its images
    are the mask's parts (MVTec LOCO)."""
    label: int
    """0 normal, 1 anomalous."""
    species: str
    """Kind of defect as the dataset calls it."""

    @property
    def mask_files(self) -> tuple[Path, ...]:
        """The files of the mask: none, one, or the parts of it."""
        if self.mask is None:
            return ()
        return tuple(images_in(self.mask)) if self.mask.is_dir() else (self.mask,)


@dataclass(frozen=True)
class ClassData:
    """The samples of one class, in the file's order."""

    key: str
    prompt: str
    """The name that enters a text prompt, raw: what becomes of `_` is the method's rule."""
    samples: tuple[Sample, ...]
    no_image_level: str | None
    """Why image metrics do not apply; None if they do."""
    no_pixel_level: str | None
    """Why pixel metrics do not apply; None if they do."""

    @property
    def has_pixel_level(self) -> bool:
        """Whether pixel metrics apply."""
        return self.no_pixel_level is None

    @property
    def normal(self) -> int:
        """Number of normal images."""
        return sum(sample.label == 0 for sample in self.samples)

    @property
    def anomalous(self) -> int:
        """Number of anomalous images."""
        return sum(sample.label == 1 for sample in self.samples)

    @property
    def files(self) -> tuple[Path, ...]:
        """All image and mask files."""
        return tuple(path for it in self.samples for path in (it.image, *it.mask_files))

    def fingerprint(self, digest: Callable[[Path], str] = sha256_of) -> str:
        """Return a SHA-256 over names, labels and contents of images and masks, sorted by name.

        It does not depend on where the folder lies, on the order of samples or on the prompt. `digest`
        gives a file's SHA-256 in hexadecimal; pass one that remembers to save time.
        """
        total = hashlib.sha256()
        for sample in sorted(self.samples, key=lambda it: it.name):
            masks = [digest(path) for path in sample.mask_files]
            mask = masks if len(masks) > 1 else masks[0] if masks else None
            line = json.dumps([sample.name, sample.label, digest(sample.image), mask])
            total.update(line.encode() + b"\n")
        return total.hexdigest()


@dataclass(frozen=True)
class Folder:
    """One split of a dataset on disk."""

    key: str
    """Key of the catalog (with the protocol behind it, if that has a title), or of an own folder its name and
    place; after `standin_` if generated."""
    title: str
    domain: str
    """`industrial`, `medical`, or `other` for a folder that the catalog does not know."""
    levels: tuple[str, ...]
    """Which metrics apply by the catalog; both for a folder that it does not know."""
    root: Path
    classes: tuple[ClassData, ...]
    entry: Dataset | None
    protocol: str | None
    """Which of the entry's protocols; None where there is no choice, or the folder does not tell."""
    names: str
    """Name set of the prompts; `meta` where they are the folder's own class names."""
    split: str
    standin: bool
    """Generated stand-in data: nothing is expected of its counts."""
    missing: tuple[str, ...]
    """Absent files that the folder's meta.json names; their samples are left out."""
    warnings: tuple[str, ...]

    @property
    def samples(self) -> list[Sample]:
        """Those of all classes."""
        return [sample for data in self.classes for sample in data.samples]

    def counts(self) -> tuple[ClassCount, ...]:
        """Return found and expected numbers of test images per class, absent classes included."""
        found = {data.key: (data.normal, data.anomalous) for data in self.classes}
        return count_classes(found, self._expecting, self.protocol)

    @property
    def target(self) -> str:
        """Key of the dataset in the protocol: the catalog's also for stand-ins, else the own folder's."""
        return self.entry.key if self.entry else self.key

    @property
    def differences(self) -> tuple[str, ...]:
        """How the counts differ from the catalog's, in words; empty where nothing is expected."""
        return differences(self.counts(), self._expecting, self.protocol)

    @property
    def partial(self) -> bool:
        """Whether this is not the test set that the catalog describes."""
        return bool(self.differences)

    @property
    def _expecting(self) -> Dataset | None:
        return self.entry if self.split == "test" and not self.standin else None
