"""Small stand-in datasets, drawn from a seed, in the raw layouts of the real ones."""

from datasets.standin.generate import KEYS, generate
from datasets.standin.sheet import contact_sheet

__all__ = ["KEYS", "contact_sheet", "generate"]
