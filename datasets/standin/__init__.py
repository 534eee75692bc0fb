"""Small stand-in datasets, drawn from a seed, in the raw layouts of the real ones."""

from datasets.standin.generate import KEYS, generate
from datasets.standin.shots import SCALES

__all__ = ["KEYS", "SCALES", "generate"]
