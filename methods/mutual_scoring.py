"""How far every patch of an image is from every other image, all to all, in bounded memory.

The distance of a patch to an image is the Euclidean distance to the nearest of its patches. One matrix
product of two images gives both directions, so each pair is compared once where the distances of all pairs
fit the budget; where not, blocks of rows are finished one after the other, for twice the arithmetic.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Patches = Callable[[range], Tensor]
"""Gives the patch features (n, P, C), float32, of consecutive images; may be asked again and again."""
_MOST_COLUMNS = 32  # more at once are no faster


class Layout(NamedTuple):
    """How much is held at once. It changes the distances in the last bits at most."""

    once: bool
    """Hold the distances of all pairs, and compare each pair once."""
    held: bool
    """Hold the patches of all images; else they are asked for again."""
    rows: int
    """Images that are finished together."""
    columns: int
    """Images that one of them is compared with at once."""


def layout(count: int, patches: int, width: int, budget: int) -> Layout:
    """Return the fastest layout for `count` images of (`patches`, `width`) that holds `budget` bytes.

    Less than one image compared with one other cannot be had; that much is taken whatever the budget.
    """
    image, product, line = 4 * patches * (width + 2), 4 * patches**2, 4 * count * patches
    free = budget - 4 * line  # the answers, and what sorting a line takes
    columns = max(1, min(_MOST_COLUMNS, count, free // 4 // (product + image)))
    free -= columns * (product + image)
    if count * line + min(count, 8) * image <= free:
        rows = min(count, (free - count * line) // image)
        return Layout(True, rows == count, rows, columns)
    if count * image + line <= free:
        return Layout(False, True, min(count, (free - count * image) // line), columns)
    return Layout(False, False, max(1, min(count, free // (line + image))), columns)


def mean_distances(patches: Patches, count: int, nearest: int, budget: int) -> Tensor:
    """Return each patch's mean distance to the `nearest` of the other images: (count, P), float32.

    Where the device's memory is too small for the budget, half of it is tried, and so on.
    """
    _, each, width = patches(range(1)).shape
    while True:
        chosen = layout(count, each, width, budget)
        try:
            return _mean_distances(patches, count, nearest, chosen)
        except torch.cuda.OutOfMemoryError:
            if chosen == Layout(False, False, 1, 1):
                raise
        torch.cuda.empty_cache()
        budget //= 2


def _mean_distances(patches: Patches, count: int, nearest: int, chosen: Layout) -> Tensor:
    held = _hold(patches, count, chosen.columns) if chosen.held else None

    def take(part: range) -> Tensor:
        return _widened(patches(part)) if held is None else held[part.start : part.stop]

    near, answers = None, []
    for rows in _blocks(0, count, chosen.rows):
        lefts = take(rows)
        if near is None:
            lines = count if chosen.once else chosen.rows
            near = lefts.new_empty(lines, count, lefts.shape[1])
        first = 0 if chosen.once else rows.start  # the image of the first line of `near`
        for columns in _blocks(rows.start if chosen.once else 0, count, chosen.columns):
            rights = take(columns)
            for row in rows:
                start = max(columns.start, row + 1) if chosen.once else columns.start
                if start >= columns.stop:
                    continue
                squares = _squares(lefts[row - rows.start], rights[start - columns.start :])
                near[row - first, start : columns.stop] = squares.amin(dim=2).mT
                if chosen.once:
                    near[start : columns.stop, row] = squares.amin(dim=0)
        for row in rows:
            near[row - first, row] = torch.inf  # an image is no reference of its own
            lowest = near[row - first].topk(nearest, dim=0, largest=False).values
            answers.append(lowest.clamp_min(0).sqrt().mean(dim=0))
    return torch.stack(answers)


def _blocks(start: int, stop: int, size: int) -> Iterator[range]:
    for first in range(start, stop, size):
        yield range(first, min(first + size, stop))


def _hold(patches: Patches, count: int, block: int) -> Tensor:
    first = _widened(patches(range(min(block, count))))
    held = first.new_empty(count, *first.shape[1:])
    held[: len(first)] = first
    for part in _blocks(len(first), count, block):
        held[part.start : part.stop] = _widened(patches(part))
    return held


def _widened(patches: Tensor) -> Tensor:
    """Append to features (n, P, C) the columns 1 and their squared length."""
    squared = patches.square().sum(dim=-1, keepdim=True)
    return torch.cat([patches, torch.ones_like(squared), squared], dim=-1)


def _squares(left: Tensor, rights: Tensor) -> Tensor:
    """Return squared distances (P, n, P), up to rounding, of widened patches (P, C + 2) and (n, P, C + 2).

    |a|^2 + |b|^2 - 2 a b as one product, as the official code has it: for unit vectors, 2 - 2 a b is
    farther from the exact distance, as their lengths are rounded.
    """
    wide = torch.cat([-2 * left[:, :-2], left[:, -1:], left[:, -2:-1]], dim=-1)
    return (wide @ rights.flatten(0, 1).mT).unflatten(1, rights.shape[:2])
