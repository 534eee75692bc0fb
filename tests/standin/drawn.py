"""Digests of what the stand-in generator draws, before any codec.

`python tests/standin/drawn.py` from the checkout prints them as tests/standin/digests.json holds them.
They change when a picture changes; `datasets.standin.generate.VERSION` then has to count up.
"""

import hashlib
import json

import numpy as np

from datasets.standin import KEYS
from datasets.standin.generate import VERSION, files


def of_dataset(key: str) -> str:
    """Digest of all paths and contents at tiny scale; what is stored as JPEG counts with its pixels."""
    total = hashlib.sha256()
    for file in files(key, scale="tiny"):
        total.update(file.path.encode())
        if isinstance(file.content, np.ndarray) and file.format == "JPEG":
            total.update(repr(file.content.shape).encode() + file.content.tobytes())
        else:
            total.update(file.encode())
    return total.hexdigest()


def digests() -> dict[str, str | int]:
    """All digests by dataset, with the version."""
    return {"version": VERSION} | {key: of_dataset(key) for key in KEYS}


if __name__ == "__main__":
    print(json.dumps(digests(), indent=1))
