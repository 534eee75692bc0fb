"""The training of a small backbone: one loop for both families."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from bench.mini.family import Family
from bench.mini.losses import patch_targets
from bench.mini.pictures import Pool
from bench.mini.sentences import state_pairs
from metrics.image import image_metrics

PAIRS = 16  # twins in a batch
RATE, DECAY, WARM = 1e-3, 0.05, 0.1
HELD_OUT = 160
"""Pairs at the pool's end that are never trained on."""


def train(
    family: Family, pool: Pool, *, steps: int, seed: int, heard: Callable[[str], None]
) -> dict[str, float]:
    """Train `family` for `steps` batches of the pool and return its AUROCs on the pairs held out."""
    rng = np.random.default_rng(seed)
    parameters = [each for each in family.modules.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [each for each in parameters if each.dim() > 1], "weight_decay": DECAY},
            {"params": [each for each in parameters if each.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(0.9, 0.95),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    usable, started = len(pool) - HELD_OUT, time.perf_counter()
    means: dict[str, float] = {}
    family.modules.train()
    for step in range(1, steps + 1):
        batch = pool.batch(rng, rng.choice(usable, PAIRS, replace=False).tolist(), augment=True)
        terms = family.loss(batch, rng)
        loss = torch.stack([family.weights[name] * term for name, term in terms.items()]).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        for name, term in terms.items():
            means[name] = 0.95 * means.get(name, term.item()) + 0.05 * term.item()
        if step % 25 == 0:
            told = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
            heard(f"step {step} of {steps}, {time.perf_counter() - started:.0f} s: {told}")
        if step % 200 == 0 or step == steps:
            found = held_out(family, pool)
            heard(", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return found


def _rate(step: int, steps: int) -> float:
    warm = max(1, round(WARM * steps))
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


@torch.no_grad()
def held_out(family: Family, pool: Pool) -> dict[str, float]:
    """Return AUROCs of pictures and of patches on the pairs held out, by sentences drawn from a seed."""
    family.modules.eval()
    rng = np.random.default_rng(0)
    pairs = F.normalize(family.encode_text(state_pairs(rng, 32)), dim=-1).unflatten(0, (2, 32)).mean(dim=1)
    direction = F.normalize(pairs, dim=-1).diff(dim=0)[0]
    scores, labels, maps, covers = [], [], [], []
    for start in range(len(pool) - HELD_OUT, len(pool), PAIRS):
        batch = pool.batch(rng, range(start, min(start + PAIRS, len(pool))), augment=False)
        image, patches = family.look(batch.images)
        scores.append(F.normalize(image, dim=-1) @ direction)
        maps.append((F.normalize(patches, dim=-1) @ direction).flatten())
        labels.append(batch.labels)
        covers.append(patch_targets(batch.cover.flatten())[0] > 0.5)
    family.modules.train()
    return {
        "image AUROC": _auroc(scores, labels),
        "patch AUROC": _auroc(maps, covers),
    }


def _auroc(scores: list[torch.Tensor], labels: list[torch.Tensor]) -> float:
    value = image_metrics(torch.cat(labels).long().numpy(), torch.cat(scores).numpy()).values["image_auroc"]
    assert value is not None
    return value
