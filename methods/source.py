"""What learned weights were trained on, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """The datasets of one training, and its seed; `mvtec+cvc_colondb~111` as text.

    Weights that somebody published have no seed.
    """

    datasets: tuple[str, ...]
    seed: int | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read the text form; raises `ValueError` for an empty dataset or a seed that is no number."""
        datasets, tilde, seed = text.partition("~")
        keys = tuple(datasets.split("+"))
        if not all(keys) or (tilde and not seed.isdigit()):
            raise ValueError(f"{text!r} names no source; write DATASET, DATASET+DATASET or DATASET~SEED")
        return cls(keys, int(seed) if tilde else None)

    @property
    def key(self) -> str:
        """The datasets joined by `+`, without the seed: what recipes and published files go by."""
        return "+".join(self.datasets)

    def __str__(self) -> str:
        """Return the text form."""
        return self.key if self.seed is None else f"{self.key}~{self.seed}"
