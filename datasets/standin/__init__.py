"""Small stand-in datasets, drawn from a seed, in the raw layouts of the real ones."""

from datasets.standin.generate import KEYS, generate

__all__ = ["KEYS", "generate"]
