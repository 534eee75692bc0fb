"""Images that two datasets have in common, byte for byte: their rows are not independent evidence."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

from datasets.samples import Folder


def overlaps(folders: Sequence[Folder], digest: Callable[[Path], str]) -> list[str]:
    """Return a line for every pair of datasets that have images in common; `digest` as of `check`."""
    images = [
        (
            f"{folder.key}:{folder.protocol}" if folder.protocol else folder.key,
            {digest(sample.image) for sample in folder.samples},
        )
        for folder in folders
    ]
    return [
        f"{one} and {other} share {len(shared)} images byte for byte "
        f"(of {len(of_one)} and {len(of_other)} distinct ones): not independent evidence"
        for (one, of_one), (other, of_other) in combinations(images, 2)
        if (shared := of_one & of_other)
    ]
