"""Which weight files requests need for their targets, and getting those that are missing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.run.protocol import MethodRequest, setup
from bench.store.digests import DigestCache
from methods import weights
from methods.backbones import mini
from methods.source import Source
from methods.weights import WeightFile


@dataclass(frozen=True)
class Need:
    """Who needs a file: the first request with the source of its weights, and all with their targets."""

    request: MethodRequest
    source: Source | None
    users: dict[str, list[str]] = field(default_factory=dict)


def needed(
    requests: Iterable[MethodRequest], targets: Iterable[str], source: Source | None
) -> dict[WeightFile, Need]:
    """Return each file that the requests need for the targets, and who needs it."""
    needs: dict[WeightFile, Need] = {}
    for request in requests:
        for target in targets:
            _, trained_on, files = setup(request, target, source)
            for file in files.values():
                need = needs.setdefault(file, Need(request, trained_on))
                need.users.setdefault(request.word, []).append(target)
    return needs


def fetch_missing(
    files: Iterable[WeightFile], root: Path, digest: DigestCache, *, progress: bool
) -> dict[WeightFile, str]:
    """Get what is not below `root`, verify the rest; returns the message of each failure.

    What comes with the suite is installed, published files are downloaded, and what has to be trained is
    left missing.
    """
    failures = {}
    for file in files:
        try:
            path = weights.locate(file, root)
            if path is None and file.name in mini.names() and not weights.untrained(root / file.name, root):
                mini.install(root)
                path = weights.locate(file, root)
            if path is not None:
                weights.verify(path, file, root, digest)
            elif not file.trained_here:
                weights.fetch(file, root, progress=progress, digest=digest)
        except OSError as error:
            failures[file] = str(error)
    return failures
