"""What the two families of small backbones have in common while they are trained."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tools.mini.losses import caption_loss
from tools.mini.pictures import Batch
from tools.mini.sentences import caption, state_pairs

STATE_PAIRS = 12  # normal sentences, and as many abnormal ones, in every step


class Family(ABC):
    """A picture encoder and a sentence encoder in training."""

    weights: Mapping[str, float]
    """Weight of each term of `losses` in the sum that is minimised."""
    modules: nn.ModuleList
    steps: int
    """How long it is trained by default."""

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return next(self.modules.parameters()).device

    @abstractmethod
    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Return features (n, D), not of unit length."""

    @abstractmethod
    def sentence_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the sentence encoder."""

    @abstractmethod
    def losses(
        self, batch: Batch, pairs: Tensor, captions: Tensor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Return the terms of the loss, for features of sentences `pairs` (2, P, D) and `captions` (B, D)."""

    @abstractmethod
    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features of pictures (B, D) and of their patches (B, N, D), as a method would use them."""

    @abstractmethod
    def save(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write what was trained, in half precision, into `folder`."""

    def loss_of_states(self, rng: np.random.Generator, count: int = 32) -> Tensor:
        """Return how badly freshly drawn sentences are sorted by the state they speak of, a scalar."""
        sentences = [*state_pairs(rng, count), *state_pairs(rng, count)]
        one, other = self.encode_text(sentences).chunk(2)
        states = [("a thing", state) for state in (0, 1) for _ in range(count)]
        return caption_loss(one, other, states)

    def loss(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the terms of the loss of a batch, with freshly drawn sentences."""
        meanings = zip(batch.kinds, batch.labels.tolist(), strict=True)
        sentences = [
            *state_pairs(rng, STATE_PAIRS),
            *(caption(rng, kind, bool(label)) for kind, label in meanings),
        ]
        encoded = self.encode_text(sentences)
        pairs = encoded[: 2 * STATE_PAIRS].unflatten(0, (2, STATE_PAIRS))
        return self.losses(batch, pairs, encoded[2 * STATE_PAIRS :], rng)
