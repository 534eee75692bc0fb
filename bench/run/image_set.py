"""All images of one class for a transductive method: their features in memory, and on disk past a budget."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bench.errors import BenchError
from bench.run.features import FeatureCache, batch_of, rows_of
from bench.run.machine import Machine
from methods.base import Features
from methods.image_set import ImageSet

_KEY = "class"


class ClassImages(ImageSet):
    """The images of a class, each encoded once."""

    def __init__(self, machine: Machine, count: int, share: int = 1) -> None:
        """Expect `count` images. `share` sets of this class are filled at once.

        Half of the machine's memory is for the features of all sets, half for `judge`.
        """
        self.budget = machine.memory // 2
        self._room = self.budget // share
        self._machine, self._count = machine, count
        self._folder = tempfile.TemporaryDirectory(prefix="zsad-class-")
        self._spilled = FeatureCache(Path(self._folder.name), limit=1 << 62)
        self._rows: dict[str, Features] = {}
        self._used = 0
        self.digests: list[str] = []

    def __enter__(self) -> Self:
        """Return the set itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget all features."""
        self._rows.clear()
        self._folder.cleanup()

    def add(self, digests: Sequence[str], features: Features) -> None:
        """Take the features of further images, by the SHA-256 of their files."""
        self.note(f"encoding, {len(self.digests)} of {self._count} images")
        for digest, row in zip(digests, rows_of(features), strict=True):
            self.digests.append(digest)
            self._keep(digest, row)

    def note(self, text: str) -> None:
        """Tell whoever watches the run."""
        self._machine.note(text)

    def features(self, indices: Sequence[int], names: Sequence[str] | None = None) -> Features:
        """Return the features of these images, of all names or some, on the machine's device."""
        rows = [self._row(self.digests[index], names) for index in indices]
        return {name: tensor.to(self._machine.device) for name, tensor in batch_of(rows).items()}

    def _row(self, digest: str, names: Sequence[str] | None) -> Features:
        if digest in self._rows:
            row = self._rows[digest]
            return {name: row[name] for name in names or row}
        found = self._spilled.read(_KEY, digest, names)
        if found is None:
            raise BenchError(f"features in {self._folder.name} are gone; run again")
        return found

    def _keep(self, digest: str, row: Features) -> None:
        size = sum(tensor.numel() * tensor.element_size() for tensor in row.values())
        if self._used + size <= self._room:
            self._rows[digest] = {name: tensor.cpu() for name, tensor in row.items()}
            self._used += size
        elif not self._spilled.write(_KEY, digest, row):
            raise BenchError(f"the features of the class do not fit into {self._folder.name}; raise --memory")
