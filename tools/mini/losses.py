"""What pulls pictures, patches and sentences together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.01
"""Temperature of the states, as the methods have it."""
_OF_CAPTIONS = 0.05
_SMOOTHING = 0.02


def state_loss(features: Tensor, pairs: Tensor, abnormal: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of features (N, D) between each pair's normal and abnormal sentence, a scalar.

    `pairs` (2, P, D), of any length; `abnormal` (N,) the wanted probability; `weights` (N,) of the features.
    """
    each = _cross_entropy(F.normalize(features, dim=-1) @ _apart(pairs).mT, abnormal[:, None])
    return _mean(each.mean(dim=1), weights)


def own_loss(features: Tensor, pairs: Tensor, abnormal: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of features (B, N, D) between the two sentences of their own picture, a scalar.

    `pairs` (2, B, D), of any length; `abnormal` and `weights` (B, N) as in `state_loss`.
    """
    cosines = (F.normalize(features, dim=-1) * _apart(pairs)[:, None]).sum(dim=-1)
    return _mean(_cross_entropy(cosines, abnormal), weights)


def _apart(pairs: Tensor) -> Tensor:
    normal, faulty = F.normalize(pairs, dim=-1)
    return faulty - normal


def _cross_entropy(cosines: Tensor, abnormal: Tensor) -> Tensor:
    wanted = (abnormal * (1 - 2 * _SMOOTHING) + _SMOOTHING).expand_as(cosines)
    return F.binary_cross_entropy_with_logits(cosines / TEMPERATURE, wanted, reduction="none")


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


def caption_loss(features: Tensor, captions: Tensor, meanings: Sequence[tuple[str, int]]) -> Tensor:
    """Contrast pictures (N, D) with captions (N, D), both ways; captions of one meaning are all right."""
    logits = F.normalize(features, dim=-1) @ F.normalize(captions, dim=-1).mT / _OF_CAPTIONS
    known = {meaning: number for number, meaning in enumerate(dict.fromkeys(meanings))}
    numbers = torch.tensor([known[meaning] for meaning in meanings], device=features.device)
    same = (numbers[:, None] == numbers).float()
    wanted = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.mT, wanted)) / 2


def patch_targets(cover: Tensor) -> tuple[Tensor, Tensor]:
    """Return wanted probabilities and weights of patches whose shares of defect are `cover`, any shape."""
    wanted = (4 * cover).clamp(0, 1)
    return wanted, 1 + 3 * wanted
