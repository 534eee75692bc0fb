"""What a comparison finds: each method's metrics on every dataset, and the same in every resample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.results import Trace, marks_of, trace
from bench.show.means import DatasetRow
from bench.show.model import metric_title
from bench.store.cells import Cell
from bench.store.marks import Mark
from bench.study.bootstrap import METRICS, Measure, resampled, weighted_metrics
from bench.study.sides import Sides, images, labels, scores
from metrics import Counts
from metrics.counts import METRICS as PIXEL_METRICS

MEAN = "Mean"
ReadCounts = Callable[[Cell], Counts | None]
"""A cell -> its images' pixels by score, in the order of its scores; raises `BenchError` if not kept."""
_FEW_MASKS = "too few images with anomalous pixels to draw from"


class Found(NamedTuple):
    """Of a class, a dataset or the mean of several."""

    points: np.ndarray
    """(methods, metrics): as the cells have them."""
    resampled: np.ndarray
    """(methods, metrics, resamples)"""

    @classmethod
    def mean(cls, parts: Sequence["Found"]) -> "Found":
        """Return the mean, resample by resample."""
        points, resampled = zip(*parts, strict=True)
        return cls(np.mean(points, axis=0), np.mean(resampled, axis=0))


class Line(NamedTuple):
    """A dataset, or the mean of several."""

    title: str
    found: Found
    marks: tuple[frozenset[Mark], ...]
    """Of every method's cells."""
    traces: tuple[frozenset[Trace], ...]
    """Where every method's numbers come from."""
    domain: str = ""


@dataclass
class Resampling:
    """Resamples the images of all classes that the sides share."""

    sides: Sides
    metrics: Sequence[str]
    """Of one level: among `METRICS` or `PIXEL_METRICS`."""
    resamples: int
    seed: int
    read_counts: ReadCounts
    notes: list[str] = field(default_factory=list)
    """What is left out, and why."""
    worst: tuple[float, str] = (0.0, "")
    """At pixel level: by how much a metric of the rounded scores is off, at most, and where."""

    @property
    def level(self) -> str:
        """`image` or `pixel`."""
        return self.metrics[0].partition("_")[0]

    def lines(self) -> list[Line]:
        """Return what was found on every dataset, in the mean of each domain, and in that of all.

        Raises `BenchError` if it is nothing.
        """
        lines: list[Line] = []
        for target in self.sides.targets:
            if classes := self._classes(target):
                marks = _marks(self.sides, target.key, len(classes))
                traces = tuple(frozenset(map(trace, side.on(target.key))) for side in self.sides.columns)
                lines.append(Line(target.title, Found.mean(classes), marks, traces, target.group))
        if not lines:
            raise BenchError(f"nothing to compare at {self.level} level: {'; '.join(self.notes)}")
        domains = list(dict.fromkeys(line.domain for line in lines))
        if len(domains) == 1:
            return [*lines, *_mean(lines, MEAN)]
        apart = []
        for domain in domains:
            of_domain = [line for line in lines if line.domain == domain]
            apart += [*of_domain, *_mean(of_domain, f"{MEAN}, {domain or 'other'}")]
        return [*apart, *_mean(lines, MEAN)]

    def _classes(self, target: DatasetRow) -> list[Found]:
        """Return what was found for each class of a dataset that has the level."""
        found: list[Found] = []
        left_out: dict[str, list[str]] = {}
        for name in self.sides.classes(target.key):
            cells = self.sides.cells(target.key, name)
            reasons = [reason for of in cells for cell in of for reason in self._undefined(cell)]
            of_class = None if reasons else self._of_class(f"{target.key}/{name}", cells)
            if of_class is None:
                left_out.setdefault((reasons or [_FEW_MASKS])[0], []).append(name)
            else:
                found.append(of_class)
        self.notes += [
            f"{target.title}: {', '.join(names) if found else 'all'} left out, {reason}"
            for reason, names in left_out.items()
        ]
        return found

    def _undefined(self, cell: Cell) -> list[str]:
        return [cell["reasons"][metric] for metric in self.metrics if cell["metrics"][metric] is None]

    def _of_class(self, name: str, cells: Sequence[Sequence[Cell]]) -> Found | None:
        """Return what was found for a class; None where some resample has no number."""
        of_images = labels(cells[0][0])
        points, drawn = [], []
        for of_side in cells:
            stored = np.array([[cell["metrics"][metric] for metric in self.metrics] for cell in of_side])
            points.append(stored.mean(axis=0))
            if self.level == "image":
                measures = [partial(weighted_metrics, of_images, of_seed) for of_seed in scores(of_side)]
                drawn.append(self._resampled(of_images, measures, METRICS, name))
            else:
                drawn.append(self._pixels(of_images, of_side, stored, name))
        found = Found(np.array(points), np.stack(drawn))
        return found if np.isfinite(found.resampled).all() else None

    def _pixels(
        self, of_images: np.ndarray, cells: Sequence[Cell], stored: np.ndarray, name: str
    ) -> np.ndarray:
        """Return a method's pixel metrics in every resample, around the stored ones (seeds, metrics)."""
        places = [PIXEL_METRICS.index(metric) for metric in self.metrics]
        measures = [self._counts(cell).metrics for cell in cells]
        ones = np.ones((1, of_images.size), np.int64)
        off = np.array([measure(ones)[places, 0] for measure in measures]) - stored
        place = np.unravel_index(np.abs(off).argmax(), off.shape)
        where = f"{metric_title(self.metrics[place[1]])} of {cells[place[0]]['title']} on {name}"
        self.worst = max(self.worst, (float(abs(off[place])), where))
        drawn = self._resampled(of_images, measures, PIXEL_METRICS, name)
        return drawn - off.mean(axis=0)[:, None]

    def _resampled(
        self, of_images: np.ndarray, measures: Sequence[Measure], known: Sequence[str], name: str
    ) -> np.ndarray:
        """Return the wanted of the metrics `known` to the measures, in every resample."""
        drawn = resampled(of_images, measures, resamples=self.resamples, seed=self.seed, name=name)
        return drawn[[known.index(metric) for metric in self.metrics]]

    def _counts(self, cell: Cell) -> Counts:
        """Return a cell's counts, its images in the order of `sides.images`."""
        counts = self.read_counts(cell)
        if counts is None:
            raise BenchError(f"{cell['dataset']}/{cell['class']}: its kept maps have no counts of pixels")
        place = {row["image"]: number for number, row in enumerate(cell["scores"])}
        order = [place[row["image"]] for row in images(cell)]
        return Counts(*(part[order] for part in counts))


def _mean(lines: Sequence[Line], title: str) -> list[Line]:
    """Return the mean of datasets that no method was trained on, if there are several."""
    counted = [line for line in lines if not any(Mark.SEEN in marks for marks in line.marks)]
    if len(lines) < 2 or not counted:
        return []
    marks = [frozenset[Mark]().union(*of) for of in zip(*(line.marks for line in counted), strict=True)]
    traces = [frozenset[Trace]().union(*of) for of in zip(*(line.traces for line in counted), strict=True)]
    return [Line(title, Found.mean([line.found for line in counted]), tuple(marks), tuple(traces))]


def _marks(sides: Sides, key: str, n_classes: int) -> tuple[frozenset[Mark], ...]:
    expected = max(cell["n_classes"] for column in sides.columns for cell in column.on(key))
    lacking = {Mark.PARTIAL} if n_classes < expected else set()
    return tuple(frozenset[Mark](lacking).union(*map(marks_of, column.on(key))) for column in sides.columns)
