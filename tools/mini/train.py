"""The training of a small backbone: one loop for both families."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from metrics.image import image_metrics
from tools.mini.family import Family
from tools.mini.losses import patch_targets
from tools.mini.pictures import Pool
from tools.mini.sentences import named_pairs, state_pairs

PAIRS = 16  # twins in a batch
RATE, DECAY, WARM = 5e-4, 0.05, 0.05
SLOWER = 0.25
"""Share of the rate at which sentences are learned: at this temperature, pictures chase what they move."""
SORTING = 60
"""Steps at the beginning in which sentences are sorted by state, without pictures: until they differ,
pictures have nothing to go by, and training stands still for hundreds of steps."""
HELD_OUT = 160
"""Pairs at the pool's end that are never trained on."""


def train(
    family: Family, pool: Pool, *, steps: int, seed: int, say: Callable[[str], None]
) -> dict[str, float]:
    """Train `family` for `steps` batches of the pool and return its AUROCs on the pairs held out."""
    rng = np.random.default_rng(seed)
    parameters = [each for each in family.modules.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(_groups(family), lr=RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    sort_sentences(family, rng)
    usable, started = len(pool) - HELD_OUT, time.perf_counter()
    means: dict[str, float] = {}
    family.modules.train()
    for step in range(1, steps + 1):
        batch = pool.batch(rng, rng.choice(usable, PAIRS, replace=False).tolist(), augment=True)
        terms = family.loss(batch.to(family.device), rng)
        loss = torch.stack([family.weights[name] * term for name, term in terms.items()]).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        for name, term in terms.items():
            means[name] = 0.95 * means.get(name, term.item()) + 0.05 * term.item()
        if step % 100 == 0:
            told = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
            say(f"step {step} of {steps}, {time.perf_counter() - started:.0f} s: {told}")
        if step % 500 == 0 or step == steps:
            found = held_out(family, pool)
            say(", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return found


def _groups(family: Family) -> list[dict[str, Any]]:
    """Return the parameters with their rates and decays: sentences slower, no decay of gains and biases."""
    slower = {id(each) for each in family.sentence_parameters()}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for each in family.modules.parameters():
        if each.requires_grad:
            groups.setdefault((id(each) in slower, each.dim() > 1), []).append(each)
    return [
        {"params": group, "lr": RATE * (SLOWER if slow else 1), "weight_decay": DECAY if matrices else 0.0}
        for (slow, matrices), group in groups.items()
    ]


def sort_sentences(family: Family, rng: np.random.Generator) -> None:
    """Train the sentence encoder alone until sentences of one state lie together."""
    optimiser = torch.optim.Adam(family.sentence_parameters(), lr=RATE)
    for _ in range(SORTING):
        loss = family.loss_of_states(rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _rate(step: int, steps: int) -> float:
    warm = max(1, round(WARM * steps))
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


@torch.no_grad()
def held_out(family: Family, pool: Pool) -> dict[str, float]:
    """Return AUROCs of pictures and of patches on the pairs held out, by sentences drawn from a seed.

    Pictures are judged by sentences about states, patches also by sentences that name a defect.
    """
    family.modules.eval()
    rng = np.random.default_rng(0)
    kinds, defects = pool.kinds[-HELD_OUT:], pool.defects[-HELD_OUT:]
    by_state, by_name = (
        _direction(family, sentences)
        for sentences in (state_pairs(rng, 64), named_pairs(rng, kinds, defects))
    )
    scores, labels, maps, named, covers = [], [], [], [], []
    for start in range(len(pool) - HELD_OUT, len(pool), PAIRS):
        batch = pool.batch(rng, range(start, min(start + PAIRS, len(pool))), augment=False).to(family.device)
        image, patches = family.encode_images(batch.images)
        scores.append(F.normalize(image, dim=-1) @ by_state)
        maps.append((F.normalize(patches, dim=-1) @ by_state).flatten())
        named.append((F.normalize(patches, dim=-1) @ by_name).flatten())
        labels.append(batch.labels)
        covers.append(patch_targets(batch.cover.flatten())[0] > 0.5)
    family.modules.train()
    return {
        "image AUROC": _auroc(scores, labels),
        "patch AUROC": _auroc(maps, covers),
        "patch AUROC by name": _auroc(named, covers),
    }


def _direction(family: Family, sentences: Sequence[str]) -> torch.Tensor:
    """Return which way (D,) features go from the first half of the sentences to the second."""
    means = F.normalize(family.encode_text(sentences), dim=-1).unflatten(0, (2, -1)).mean(dim=1)
    return F.normalize(means, dim=-1).diff(dim=0)[0]


def _auroc(scores: list[torch.Tensor], labels: list[torch.Tensor]) -> float:
    truth, answers = torch.cat(labels).long().cpu(), torch.cat(scores).cpu()
    value = image_metrics(truth.numpy(), answers.numpy()).values["image_auroc"]
    assert value is not None
    return value
