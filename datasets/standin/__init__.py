"""Small stand-in datasets, drawn from a seed, in the raw layouts of the real ones.

`generate` writes them; `draw_pair` draws single pairs of a normal and a damaged picture for training small
models on kinds (`TRAINING_KINDS`) that no stand-in dataset shows (`STANDIN_KINDS`).
"""

from datasets.standin.generate import KEYS, generate
from datasets.standin.kinds import FAMILIES, STANDIN_KINDS, TRAINING_KINDS, Kinds, Pair, draw_pair
from datasets.standin.sheet import contact_sheet

__all__ = [
    "FAMILIES",
    "KEYS",
    "STANDIN_KINDS",
    "TRAINING_KINDS",
    "Kinds",
    "Pair",
    "contact_sheet",
    "draw_pair",
    "generate",
]
