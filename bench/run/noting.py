"""A task of a pass, and what is kept of its class: scores as they are, maps in the pixel metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.run.models import LoadedModel
from bench.run.plan import Task
from bench.run.reading import NATIVE, Shown
from bench.store.maps import MapsToKeep
from bench.store.provenance import provenance
from datasets.truth import Remark
from methods.base import Prediction, ZeroShotDetector
from metrics import PixelMetrics


@dataclass
class TaskRun:
    """One task of a pass: its model, and what has come of it so far."""

    task: Task
    loaded: LoadedModel
    failure: BaseException | None = None
    """Why it has dropped out."""
    scores: list[dict[str, Any]] = field(default_factory=list)
    """A row for each image."""
    pixels: PixelMetrics | None = None
    """Has taken every map; None without pixel level."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What the task took, in parts; of what several tasks used together, its share.

    `read`: decoding, making inputs and masks, in seconds of the reading threads, divided by the tasks of the
    pass. `inference`: encoding, divided by the tasks that share the encoder, and the task's own scoring.
    `encode`: its share of encoding alone, where the class is judged as a whole. `metrics`, `load`: its own.
    """
    provenance: dict[str, Any] = field(default_factory=dict)
    peak_gpu_bytes: int | None = None
    """Of the whole pass, with the models of all its tasks."""
    together: int = 1
    """Tasks of the pass."""
    remarks: list[Remark] = field(default_factory=list)
    """What is odd about the class's masks."""
    maps: MapsToKeep | None = None
    """The maps, where the task keeps them."""

    @property
    def model(self) -> ZeroShotDetector:
        """The task's model."""
        return self.loaded.model

    @property
    def side(self) -> int:
        """Of its masks, see `Shown.mask`."""
        return NATIVE if self.task.settings.masks == "native" else self.model.image_size

    def begin(self, device: torch.device, together: int) -> None:
        """Get ready for the first image of a pass of so many tasks."""
        settings = self.task.settings
        if self.task.data.has_pixel_level:
            self.pixels = PixelMetrics(mode=settings.metrics_mode, flavour=settings.aupro_flavour)
        if self.task.save_maps:
            self.maps = MapsToKeep()
        self.seconds = {"read": 0.0, "inference": 0.0, "metrics": 0.0, "load": self.loaded.seconds}
        self.provenance, self.together = provenance(device), together

    def note(self, batch: Sequence[Shown], prediction: Prediction) -> None:
        """Take the answers for further images.

        Maps go straight into the pixel metrics, and small into what is kept of them, and are dropped.
        """
        self._note_scores(batch, prediction)
        self._note_maps(batch, prediction.maps)
        self.remarks += [remark for shown in batch for remark in shown.remarks]
        self.seconds["read"] += sum(shown.seconds for shown in batch) / self.together

    def finish(self) -> None:
        """Make final scores of those of the whole class, where the method does."""
        if self.model.class_normalised:
            names = self.scores[0]["also"]
            also = {name: torch.tensor([row["also"][name] for row in self.scores]) for name in names}
            for row, score in zip(self.scores, self.model.finish(also).tolist(), strict=True):
                row["score"] = score

    def _note_scores(self, batch: Sequence[Shown], prediction: Prediction) -> None:
        scores = prediction.scores.tolist()
        also = {name: values.float().tolist() for name, values in prediction.also.items()}
        for index, shown in enumerate(batch):
            row = {"image": shown.sample.name, "label": shown.sample.label, "score": scores[index]}
            if also:
                row["also"] = {name: values[index] for name, values in also.items()}
            self.scores.append(row)

    def _note_maps(self, batch: Sequence[Shown], maps: Tensor) -> None:
        if self.maps is not None:
            self.maps.add(maps.cpu().numpy())
        if self.pixels is None:
            return
        for shown, answer in zip(batch, maps, strict=True):
            scores, mask = answer, shown.mask(self.side)
            if self.side == NATIVE:
                whole = F.interpolate(answer[None, None], mask.shape, mode="bilinear", align_corners=False)
                scores = whole[0, 0]
            self.pixels.add(scores, mask, shown.sample.name)
            if self.maps is not None:
                self.maps.add_pixels(scores.cpu().numpy(), mask)
