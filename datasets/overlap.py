"""Images that two datasets have in common, byte for byte: their rows are not independent evidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from datasets.samples import Folder


@dataclass(frozen=True)
class Overlap:
    """How many distinct images of one dataset are in another."""

    one: str
    other: str
    shared: int
    distinct: tuple[int, int]
    """Distinct images of each."""

    def __str__(self) -> str:
        """Return the finding for people."""
        return (
            f"{self.one} and {self.other} share {self.shared} images byte for byte "
            f"(of {self.distinct[0]} and {self.distinct[1]} distinct ones): not independent evidence"
        )


def overlaps(folders: Sequence[Folder], digest: Callable[[Path], str]) -> list[Overlap]:
    """Return every pair of datasets that have images in common."""
    images = [
        (
            f"{folder.key}:{folder.protocol}" if folder.protocol else folder.key,
            {digest(sample.image) for data in folder.classes for sample in data.samples},
        )
        for folder in folders
    ]
    return [
        Overlap(one, other, len(shared), (len(of_one), len(of_other)))
        for (one, of_one), (other, of_other) in combinations(images, 2)
        if (shared := of_one & of_other)
    ]
