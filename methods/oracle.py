"""The oracle: answers with the truth it is shown. For tests of the pipeline only; never ranked."""

from collections.abc import Sequence

from torch import Tensor

from methods.base import Prediction, ZeroShotDetector


class Oracle(ZeroShotDetector):
    """Score = label, map = mask: every defined metric of its results must be 1."""

    title = "Oracle"
    notes = "reads the ground truth; proves the pipeline, says nothing about any method"
    defaults = {"image_size": 224}
    privileged = True

    _truth: tuple[Tensor, Tensor] | None = None

    def reveal(self, labels: Tensor, masks: Tensor) -> None:
        """Take the truth of the next batch: labels (B,) and masks (B, S, S), 0 or 1."""
        self._truth = labels, masks

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Prediction:
        """Answer with the truth revealed for this batch; raises `RuntimeError` without one that fits."""
        truth, self._truth = self._truth, None
        if truth is None or len(truth[0]) != len(images):
            raise RuntimeError("the oracle must be shown the truth of exactly this batch before it answers")
        labels, masks = truth
        return Prediction(labels.float().to(images.device), masks.float().to(images.device))
