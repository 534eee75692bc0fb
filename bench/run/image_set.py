"""All images of one class for a transductive method: their features in memory, and on disk past a budget."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from torch import Tensor

from bench.errors import BenchError
from bench.run.features import Encoder, FeatureCache, batch_of, rows_of
from bench.run.machine import Machine, ahead, batches, in_parts
from datasets.images import read_image
from datasets.samples import Sample
from methods.base import Features, ZeroShotDetector
from methods.image_set import ImageSet

_KEY = "class"


class ClassImages(ImageSet):
    """The images of a class, encoded once. Half of the machine's memory is for features, half for `judge`."""

    def __init__(
        self,
        model: ZeroShotDetector,
        samples: Sequence[Sample],
        machine: Machine,
        encoder: Encoder,
    ) -> None:
        """Encode all samples in batches."""
        self.budget = machine.memory // 2
        self._model, self._machine, self._encoder = model, machine, encoder
        self._folder = tempfile.TemporaryDirectory(prefix="zsad-class-")
        self._spilled = FeatureCache(Path(self._folder.name), limit=1 << 62)
        self._rows: dict[str, Features] = {}
        self._used = 0
        self.digests = [machine.digest(sample.image) for sample in samples]
        try:
            self._encode(samples)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> Self:
        """Return the set itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget all features."""
        self._rows.clear()
        self._folder.cleanup()

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

    def _encode(self, samples: Sequence[Sample]) -> None:
        encoder, machine = self._encoder, self._machine

        def read(index: int) -> tuple[int, str | None, Tensor | None]:
            digest = encoder.digest(samples[index].image)
            known = digest is not None and encoder.has(digest)
            return index, digest, None if known else self._input(samples[index])

        def encode(part: Sequence[tuple[int, str | None, Tensor | None]]) -> None:
            features = encoder.features(
                [(digest, tensor) for _, digest, tensor in part],
                lambda place: self._input(samples[part[place][0]]),
            )
            self.note(f"encoding, {part[0][0]} of {len(samples)} images")
            for (index, _, _), row in zip(part, rows_of(features), strict=True):
                self._keep(self.digests[index], row)

        everything = ahead(range(len(samples)), read, machine.workers, machine.batch_size)
        for batch in batches(everything, machine.batch_size):
            in_parts(batch, encode, machine.device)

    def _input(self, sample: Sample) -> Tensor:
        return self._model.preprocess(read_image(sample.image))

    def _keep(self, digest: str, row: Features) -> None:
        size = sum(tensor.numel() * tensor.element_size() for tensor in row.values())
        if self._used + size <= self.budget:
            self._rows[digest] = {name: tensor.cpu() for name, tensor in row.items()}
            self._used += size
        elif not self._spilled.write(_KEY, digest, row):
            raise BenchError(f"the features of the class do not fit into {self._folder.name}; raise --memory")
