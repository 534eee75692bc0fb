"""The state of a training after its last finished epoch, kept beside its result until that is written."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.store.atomic import write_atomically


class Progress:
    """Saves and restores what a training needs to go on to the same bits."""

    def __init__(self, out: Path, identity: Mapping[str, Any]) -> None:
        """Keep the state of the training whose result is `out`; `identity` is all that determines it."""
        self.path = out.with_name(f"{out.name}.progress")
        canonical = json.dumps(identity, sort_keys=True, default=list)
        self.identity = hashlib.sha256(canonical.encode()).hexdigest()

    def load(self, learned: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the saved state of this very training, what `save` was given; None without one.

        An optimiser numbers what it moves, so the state must name tensors in the order of `learned`.
        Raises `BenchError` for a damaged file.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            same = state["identity"] == self.identity and [*state["learned"]] == [*learned]
            return state if same else None
        except Exception as error:
            raise BenchError(
                f"{self.path} is damaged ({error}); delete it to train from the start"
            ) from error

    def save(
        self,
        learned: Mapping[str, Tensor],
        kept: Mapping[str, Tensor],
        optimiser: torch.optim.Optimizer,
        curve: list[dict[str, float]],
    ) -> None:
        """Save the state after an epoch, whole."""
        state = {
            "identity": self.identity,
            "learned": {name: tensor.detach().cpu().contiguous() for name, tensor in learned.items()},
            "kept": {name: tensor.cpu() for name, tensor in kept.items()},
            "optimiser": optimiser.state_dict(),
            "curve": curve,
        }
        write_atomically(self.path, lambda path: torch.save(state, path), "--weights-root")

    def drop(self) -> None:
        """Forget the state: the training is finished."""
        self.path.unlink(missing_ok=True)
