"""The weights below one root: which files a request needs, whether they are here, how to get them."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.run.protocol import MethodRequest
from bench.store.trained import Trained, read_trained
from methods import weights
from methods.card import as_typed
from methods.source import Source
from methods.weights import WeightFile

Digest = Callable[[Path], str]


@dataclass(frozen=True)
class Weights:
    """Local weight files of one method for one source, by role."""

    files: Mapping[str, Path]
    digests: Mapping[str, str]
    untrained: bool
    trained: Trained | None
    """What the learned weights say of themselves, if they were trained here."""


class Library:
    """The weights below one root; every file is verified once."""

    def __init__(self, root: Path, digest: Digest) -> None:
        """Use `root`; `digest` gives a file's SHA-256."""
        self.root, self.digest = root, digest
        self._known: dict[Path, tuple[str, bool, Trained | None]] = {}

    def find(
        self,
        request: MethodRequest,
        options: Mapping[str, Any],
        source: Source | None,
        *,
        source_free: bool = False,
    ) -> Weights:
        """Return the files that the request needs, verified; `source_free`: without what is learned.

        Raises `BenchError` naming what is missing and how to get it, `WeightsError` for a wrong file.
        """
        wanted = request.detector.files(options, str(source) if source else None)
        if source_free:
            wanted = weights.frozen(wanted)
        found = {role: weights.locate(file, self.root) for role, file in wanted.items()}
        missing = [wanted[role] for role, path in found.items() if path is None]
        if missing:
            names = ", ".join(file.name for file in missing)
            raise BenchError(
                f"weights missing below {self.root}: {names}. {how_to_get(request, missing, source)}"
            )
        files = {role: path for role, path in found.items() if path is not None}
        known = {role: self._verify(path, wanted[role]) for role, path in files.items()}
        return Weights(
            files,
            {role: entry[0] for role, entry in known.items()},
            any(entry[1] for entry in known.values()),
            known["learned"][2] if "learned" in known else None,
        )

    def _verify(self, path: Path, file: WeightFile) -> tuple[str, bool, Trained | None]:
        if path not in self._known:
            digest = weights.verify(path, file, self.root, self.digest)
            trained = read_trained(path) if file.trained_here else None
            self._known[path] = (digest, weights.untrained(path, self.root), trained)
        return self._known[path]


def how_to_get(request: MethodRequest, files: Iterable[WeightFile], source: Source | None) -> str:
    """Return what to do for missing `files` of the request: a sentence with one command."""
    from methods.backbones import mini  # noqa: PLC0415 (with it open_clip, which takes seconds)

    if source and all(file.trained_here and file.name not in mini.names() for file in files):
        options = "".join(
            f" --set {shlex.quote(f'{name}={as_typed(value)}')}"
            for name, value in sorted(request.overrides.items())
        )
        seed = "" if source.seed is None else f" --seed {source.seed}"
        sources = " ".join(source.datasets)
        return (
            "Nobody published them: train them with "
            f"`run_bench.py train --methods {request.word}{options} --source {sources}{seed}`"
        )
    return f"Get them with `run_bench.py weights --methods {request.word} --fetch`"
