"""Prompts whose words are learned vectors, with further learned tokens deep in the text tower.

What AnomalyCLIP introduced and others took over: two prompts of n placeholders and a fixed ending, and
compound prompts that overwrite positions ahead of blocks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
from torch import Tensor

from methods.backbones import clip
from methods.backbones.blocks import Hook
from methods.learned_tensors import Shapes

Sentences = Mapping[str, tuple[Tensor, int]]
"""`pos` and `neg` -> token ids (n, 77) of the prompts, and how many of their words are learned."""
MOST_WORDS = 72
"""Positions a prompt has for learned vectors: 77 less start, "damaged object." and end."""


def tokens(count: int, endings: Sequence[str] = ("object.", "damaged object.")) -> Tensor:
    """Return the token ids (endings, 77) of prompts with `count` placeholders in front of their endings."""
    return clip.tokenize([f"{'X ' * count}{ending}" for ending in endings])


def two(count: int) -> Sentences:
    """Return AnomalyCLIP's two prompts with `count` learned words."""
    ids = tokens(count)
    return {"pos": (ids[:1], count), "neg": (ids[1:], count)}


def check_sizes(options: Mapping[str, Any], least: Mapping[str, int], most: int = MOST_WORDS) -> None:
    """Raise `ValueError` where a count of words (`n_ctx...`, `t_n_ctx`) or what has a `least` cannot be."""
    counts = [name for name in options if name.startswith("n_ctx")] + ["t_n_ctx"]
    for name, bound in {**dict.fromkeys(counts, 1), **least}.items():
        if options[name] < bound:
            raise ValueError(f"{name} must be at least {bound}, not {options[name]}")
    for name in counts:
        if options[name] > most:
            raise ValueError(f"{name} must be at most {most}, not {options[name]}")


def deep_shapes(count: int, length: int, width: int) -> Shapes:
    """Return names and shapes of the compound prompts of blocks 1 to `count` (counted from 0)."""
    return {f"compound_prompts_text.{index}": (length, width) for index in range(count)}


def overwrite(prompts: Sequence[Tensor]) -> Hook:
    """Return a hook that puts prompt b - 1 (length, W) at positions 1, 2, ... ahead of block b, for b >= 1.

    Through float16 as in the official codes, for each row apart: so do the gradients.
    """

    def hook(index: int, hidden: Tensor) -> Tensor:
        if not 1 <= index <= len(prompts):
            return hidden
        prompt = prompts[index - 1].expand(len(hidden), -1, -1).half().to(hidden.dtype)
        return torch.cat([hidden[:, :1], prompt, hidden[:, 1 + prompt.shape[1] :]], dim=1)

    return hook


def encode(model: open_clip.CLIP, ids: Tensor, context: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
    """Return the un-normalised embeddings (n, E) of prompts with ids (n, T) and learned words (n, k, W).

    The words take the positions behind the start token; `deep` are the compound prompts.
    """
    words = model.token_embedding(ids)
    words = torch.cat([words[:, :1], context, words[:, 1 + context.shape[1] :]], dim=1)
    return clip.text_pass(model, ids, embeddings=words, before=overwrite(deep) if deep else None)


# --- published files ---------------------------------------------------------------------------------


def copies(sentences: Sentences, embedding: Tensor) -> dict[str, Tensor]:
    """Return what published files copy from CLIP: token ids, and the embeddings of the fixed tokens.

    `embedding` is CLIP's token embedding.
    """
    found = {}
    for state, (ids, count) in sentences.items():
        embedded = embedding[ids][None]
        found[f"token_prefix_{state}"] = embedded[:, :, :1].clone()
        found[f"token_suffix_{state}"] = embedded[:, :, 1 + count :].clone()
        found[f"tokenized_prompts_{state}"] = ids.int()[None]
    return found


def unused_projections(count: int, width: int) -> Shapes:
    """Return names and shapes of projections that some published files hold and nothing ever uses."""
    shapes: Shapes = {}
    for index in range(count):
        shapes[f"compound_prompt_projections.{index}.weight"] = (896, width)
        shapes[f"compound_prompt_projections.{index}.bias"] = (896,)
    return shapes
