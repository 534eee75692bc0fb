"""The small backbones that come with the suite, and the weights that the methods learned on them.

See README.md beside this file for what they are. They lie here packed; `install` writes them out in the
formats of the published weights, so that they are read as those are.
"""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from methods import states
from methods.backbones import clip, tips_weights
from methods.files import write_atomically

HERE = Path(__file__).parent
TIPS, TOKENIZER, CLIP = "tips.safetensors", "tips_tokenizer.model", "clip.safetensors"
LEARNED = "learned"
"""Folder of what the methods learned, laid out as below a weights root."""
_ROWS = "token_embedding.weight"


def install(root: Path, packed: Path = HERE, *, learned: bool = True) -> list[Path]:
    """Write the small backbones, and (if `learned`) what was learned on them, below the weights root.

    Returns the new files; files that are there stay. The same bytes are written everywhere. Raises
    `FileNotFoundError` or `ValueError` naming a packed file that is missing or damaged.
    """
    files = tips_weights.weight_files("mini")
    places = {role: root / file.name for role, file in files.items()}
    written = []
    for role in ("vision", "text"):
        if not places[role].exists():
            state = states.unwrap(states.read(packed / TIPS), "state_dict", packed / TIPS)
            own = {
                name.removeprefix(f"{role}."): tensor.float().numpy()
                for name, tensor in state.items()
                if name.startswith(f"{role}.")
            }
            tips_weights.write_npz(places[role], own.items())
            written.append(places[role])
    place = root / clip.file("mini").name
    if not place.exists():
        state = states.unwrap(states.read(packed / CLIP), "state_dict", packed / CLIP)
        states.write(unpacked(state), place)
        written.append(place)
    copies = {packed / TOKENIZER: places["tokenizer"]}
    if learned:
        copies |= {path: root / path.relative_to(packed / LEARNED) for path in _learned(packed)}
    for source, target in copies.items():
        if not target.exists():
            write_atomically(target, partial(shutil.copyfile, source))
            written.append(target)
    return written


def names() -> set[str]:
    """Return the names of all weight files that `install` writes, as `WeightFile` has them."""
    learned = {path.relative_to(HERE / LEARNED).as_posix() for path in _learned(HERE)}
    return learned | {
        clip.file("mini").name,
        *(file.name for file in tips_weights.weight_files("mini").values()),
    }


def _learned(packed: Path) -> list[Path]:
    return sorted((packed / LEARNED).rglob("*.safetensors"))


def packed_rows(ids: Tensor, rows: Tensor, other: Tensor) -> dict[str, Tensor]:
    """Return a token embedding as the rows (K, W) of the token `ids` (K,) and the row (W,) of all others."""
    return {f"{_ROWS}.ids": ids.int(), f"{_ROWS}.rows": rows, f"{_ROWS}.other": other}


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a packed CLIP as a state dict in float32 with its whole token embedding."""
    whole = {name: tensor.float() for name, tensor in state.items() if not name.startswith(_ROWS)}
    vocabulary = clip.architecture("mini")["text_cfg"]["vocab_size"]
    whole[_ROWS] = state[f"{_ROWS}.other"].float().repeat(vocabulary, 1)
    whole[_ROWS][state[f"{_ROWS}.ids"].long()] = state[f"{_ROWS}.rows"].float()
    return whole
