"""From a request to a plan: which cells are wanted, with which weights, what is here, what is refused."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.run import precision
from bench.run.library import Digest, Library
from bench.run.plan import ModelSpec, Permissions, Plan, Refusal, Settings, Task
from bench.run.protocol import MethodRequest, chosen_source, protocol_source
from bench.store.cells import CellId, CellStore, identify
from bench.store.digests import warm
from bench.store.maps import are_kept
from bench.store.marks import Mark
from bench.store.trained import Trained
from datasets.catalog import relations
from datasets.samples import ClassData, Folder
from methods import registry
from methods.base import ZeroShotDetector
from methods.source import Source
from methods.weights import WeightsError

KeepsMaps = Callable[[Folder, ClassData], bool]
_MOSTLY = 0.5
"""A target of whose images this share was trained on is the source under another name."""


def make_plan(
    requests: Sequence[MethodRequest],
    folders: Sequence[Folder],
    store: CellStore,
    *,
    weights_root: Path,
    digest: Digest,
    settings: Settings | None = None,
    source: Source | None = None,
    allow: Permissions | None = None,
    force: bool = False,
    keeps_maps: KeepsMaps = lambda folder, data: False,
    device: str = "cpu",
) -> Plan:
    """Return the plan for all requests on all folders.

    `source` overrides the protocol's choice of weights. `device` is the type, `cpu` or `cuda`, of what will
    compute: the encoders' precision may depend on it. `digest` gives a file's SHA-256 (see
    `bench.store.digests`); it is asked for every image, so pass one that remembers. Where `keeps_maps`
    is true of a class, a finished cell without kept maps is computed again: maps come from nowhere else.
    """
    warm(digest, (path for folder in folders for data in folder.classes for path in data.files))
    library = Library(weights_root, digest)
    chosen, allowed = settings or Settings(), allow or Permissions()
    planner = _Planner(store, library, digest, chosen, allowed, source, force, keeps_maps, device)
    for request in requests:
        for folder in folders:
            try:
                planner.add(request, folder)
            except (BenchError, WeightsError, OSError) as error:
                planner.refused.append(Refusal(request.key, folder.key, str(error)))
    warnings = [f"{folder.key}: {warning}" for folder in folders for warning in folder.warnings]
    return planner.plan((*warnings, *dict.fromkeys(planner.related)))


@dataclass
class _Planner:
    store: CellStore
    library: Library
    digest: Digest
    settings: Settings
    allow: Permissions
    source: Source | None
    force: bool
    keeps_maps: KeepsMaps
    device: str
    done: list[CellId] = field(default_factory=list)
    lacking: list[tuple[CellId, Mapping[str, Any]]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    related: list[str] = field(default_factory=list)
    _tasks: dict[str, list[Task]] = field(default_factory=dict)
    _fingerprints: dict[tuple[Path, str, str], str] = field(default_factory=dict)

    def plan(self, warnings: tuple[str, ...]) -> Plan:
        return Plan(
            tuple(task for of_model in self._tasks.values() for task in of_model),
            tuple(self.done),
            tuple(self.refused),
            warnings,
            tuple(self.lacking),
        )

    def add(self, request: MethodRequest, folder: Folder) -> None:
        """Plan one method on one dataset; raises what makes it impossible."""
        target = folder.target
        own, source = protocol_source(request, target), chosen_source(request, target, self.source)
        options = request.options(target, source)
        settings = self._settings(request)
        marks = _folder_marks(folder, target, settings, self.allow)
        seen = source is not None and target in source.datasets
        if seen and not self.allow.seen:
            raise _seen(f"its weights were trained on {source}, which includes {target}")
        for why in relations(source.datasets if source else (), target):
            self.related.append(f"{folder.key}: {request.word} is trained on {why}")
        found = self.library.find(request, options, source)
        overlap = self._overlap(found.trained, folder)
        share = sum(overlap.values()) / sum(len(data.samples) for data in folder.classes)
        if share >= _MOSTLY and not seen:
            seen = True
            if not self.allow.seen:
                raise _seen(f"its weights were trained on {share:.0%} of these very images (as {source})")
        holds = {
            Mark.PRIVILEGED: request.detector.privileged,
            Mark.SELECTED: target in (request.rules.selected_on or {}).get(str(source), ()),
            Mark.SEEN: seen,
            Mark.UNTRAINED: found.untrained,
        }
        marks += [mark for mark, does in holds.items() if does]
        own_file = registry.file_digest(request.key)
        spec = ModelSpec(request, source, options, found.files, settings.precision)
        of_model = self._tasks.setdefault(repr((spec, sorted(found.digests.items()))), [])
        facts = {
            "target": target,
            "protocol_source": source is None or (own is not None and source.datasets == own.datasets),
            "setting": _setting(request.detector),
        }
        trained_on = str(source) if source else None
        self._note_gone(request.key, trained_on, folder)
        for data in folder.classes:
            try:
                fingerprint = self._fingerprint(folder, data)
            except OSError as error:
                refusal = Refusal(request.key, f"{folder.key}/{data.key}", f"{error}; restore the file")
                self.refused.append(refusal)
                continue
            config = _plain(
                {
                    "method_version": request.detector.version,
                    "options": options,
                    **precision.as_config(settings.precision),
                    "prompt": data.prompt,
                    "weights": found.digests,
                    "data": fingerprint,
                    "protocol": settings.as_config(),
                    # A method from outside the suite is its file; the suite's own have a version.
                    **({"method_file": own_file} if own_file else {}),
                }
            )
            cell = CellId(request.key, trained_on, folder.key, data.key, config)
            finished = None if self.force else self.store.read(cell)
            kept = not self.keeps_maps(folder, data) or are_kept(self.store.maps_path(cell), finished)
            if finished is not None and kept:
                told = facts | ({"gone": False} if finished.get("gone") else {})
                if not told.items() <= finished.items():
                    self.lacking.append((cell, told))
                self.done.append(cell)
                continue
            of_class = (*marks, Mark.OVERLAP) if overlap[data.key] and not seen else tuple(marks)
            self._note_other_precision(request, cell, settings.precision)
            task = Task(
                cell, spec, folder, data, of_class, settings, facts, overlap[data.key],
                save_maps=self.keeps_maps(folder, data), here=finished is not None,
            )  # fmt: skip
            of_model.append(task)

    def _settings(self, request: MethodRequest) -> Settings:
        asked = self.settings.precision
        chosen = precision.resolve(asked, request.key, request.detector, self.device)
        return replace(self.settings, precision=chosen)

    def _note_other_precision(self, request: MethodRequest, cell: CellId, chosen: str) -> None:
        """Say that cells made where `auto` meant another precision are here, and how to go on with them."""
        if self.settings.precision != "auto":
            return
        other = "float32" if chosen != "float32" else "bfloat16"
        config = {name: value for name, value in cell.config.items() if not name.startswith("precision")}
        if self.store.read(replace(cell, config={**config, **precision.as_config(other)})) is not None:
            self.related.append(
                f"{request.word} has cells in {other} here; those in {chosen} get a column of their own. "
                f"To go on with the others use --precision {other}"
            )

    def _note_gone(self, method: str, source: str | None, folder: Folder) -> None:
        """Have the cells of classes that the folder no longer has leave the tables."""
        here = {data.key for data in folder.classes}
        for cell in self.store.of(method, source, folder.key):
            if cell["class"] not in here and not cell.get("gone"):
                self.lacking.append((identify(cell), {"gone": True}))

    def _fingerprint(self, folder: Folder, data: ClassData) -> str:
        """Return the class's fingerprint; of this folder, for two may hold one dataset by two protocols."""
        known = (folder.root, folder.key, data.key)  # two parts of one test set may lie in one folder
        if known not in self._fingerprints:
            self._fingerprints[known] = data.fingerprint(self.digest)
        return self._fingerprints[known]

    def _overlap(self, trained: Trained | None, folder: Folder) -> dict[str, int]:
        """Return how many images of each class were trained on, by their digests."""
        known = frozenset(trained.images) if trained else frozenset()
        return {
            data.key: sum(self.digest(sample.image)[:16] in known for sample in data.samples) if known else 0
            for data in folder.classes
        }


def _setting(detector: type[ZeroShotDetector]) -> str:
    """Return how much of the test set an image's score has seen."""
    if detector.transductive:
        return "transductive"
    return "class-normalised" if detector.class_normalised else "inductive"


def _seen(why: str) -> BenchError:
    return BenchError(
        f"{why}: that is not zero-shot. Choose another --source, or run it, marked and unranked, "
        "with --allow-seen"
    )


def _folder_marks(folder: Folder, target: str, settings: Settings, allow: Permissions) -> list[Mark]:
    if folder.partial and not allow.partial:
        raise BenchError(
            f"{folder.root} does not hold the expected test images ({_brief(folder.differences)}). "
            f"Run `run_bench.py check --datasets {target}`; to go on with what is there, "
            "marked partial, add --allow-partial"
        )
    marks = [Mark.PARTIAL] if folder.partial or settings.limit is not None else []
    return [*marks, Mark.STANDIN] if folder.standin else marks


def _brief(differences: Sequence[str], most: int = 3) -> str:
    rest = len(differences) - most
    return "; ".join(differences[:most]) + (f"; and {rest} more" if rest > 0 else "")


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    # A cell is JSON: tuples become lists before hashing, so that the key of a cell as read is the same.
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain
