"""Transformer blocks run one by one; those of open_clip's towers from outside and never changed.

Blocks are batch-first: every hidden state here is (B, tokens, width). Block numbers in `taps` count from
1, as the papers do; the `before` and `after` hooks get the index of their block, from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from open_clip.transformer import ResidualAttentionBlock

Hook = Callable[[int, Tensor], Tensor]
"""Called before or after block `index` (from 0) with the hidden state; returns what takes its place."""
LocalAttention = Callable[["ResidualAttentionBlock", Tensor, Tensor, Tensor], Tensor]
"""(block, query, key, value), as `heads` returns them, to what is added to the local path (B, tokens, W)."""


def run(
    steps: Sequence[Callable[[Tensor], Tensor]],
    hidden: Tensor,
    *,
    taps: Sequence[int] = (),
    before: Hook | None = None,
    after: Hook | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Apply one block after another; return the last output, and those of the blocks `taps`, in order.

    A tapped output is the one that `after` returned. Raises `ValueError` for a tap that is no block.
    """
    check_taps(taps, len(steps))
    kept = {}
    for index, step in enumerate(steps):
        if before is not None:
            hidden = before(index, hidden)
        hidden = step(hidden)
        if after is not None:
            hidden = after(index, hidden)
        if index + 1 in taps:
            kept[index + 1] = hidden
    return hidden, [kept[tap] for tap in taps]


def run_blocks(
    blocks: Iterable[ResidualAttentionBlock],
    hidden: Tensor,
    *,
    taps: Sequence[int] = (),
    before: Hook | None = None,
    after: Hook | None = None,
    mask: Tensor | None = None,
    first: int | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """`run` over open_clip's blocks, with an attention mask.

    Of the last output only the `first` tokens (B, first, W) are computed, all for None: unless it is tapped,
    what follows the class token there is read by nobody.
    """

    # Not `block(hidden)`: torch's fast path for it keeps all attention weights and is slower for it.
    def step(block: ResidualAttentionBlock, hidden: Tensor, first: int | None = None) -> Tensor:
        query, key, value = heads(block, hidden)
        attended = attend(block, query[:, :, :first], key, value, mask=mask)
        return residual(block, hidden[:, :first], attended)

    *others, last = blocks
    steps = [*(partial(step, block) for block in others), partial(step, last, first=first)]
    return run(steps, hidden, taps=taps, before=before, after=after)


def check_taps(taps: Sequence[int], depth: int) -> None:
    """Raise `ValueError` unless all `taps` are numbers of blocks, from 1 to `depth`."""
    outside = [tap for tap in taps if not 1 <= tap <= depth]
    if outside:
        raise ValueError(f"layers {outside} are not among the blocks 1 to {depth}; set the option `layers`")


def heads(block: ResidualAttentionBlock, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a block's query, key and value of ln_1(hidden), each (B, heads, tokens, head width).

    They are computed token by token, so a token's may be gathered into any sequence it belongs to.
    """
    attention = block.attn
    joint = F.linear(block.ln_1(hidden), attention.in_proj_weight, attention.in_proj_bias)
    shaped = joint.unflatten(-1, (3, attention.num_heads, attention.head_dim))
    query, key, value = shaped.movedim(-3, 0).transpose(-3, -2)
    return query, key, value


def attend(
    block: ResidualAttentionBlock, query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None
) -> Tensor:
    """Attention over what `heads` returns, through the block's output projection: (B, query tokens, W).

    Pass `value` three times for value-value attention.
    """
    return join(block, F.scaled_dot_product_attention(query, key, value, attn_mask=mask))


def join(block: ResidualAttentionBlock, mixed: Tensor) -> Tensor:
    """Return (B, tokens, W): heads (B, heads, tokens, head width) through the block's output projection."""
    return block.attn.out_proj(mixed.transpose(-3, -2).flatten(-2))


def residual(block: ResidualAttentionBlock, hidden: Tensor, attended: Tensor) -> Tensor:
    """Finish a block after its attention: the two residual sums and the feed-forward."""
    hidden = hidden + block.ls_1(attended)
    return hidden + block.ls_2(block.mlp(block.ln_2(hidden)))


def value_value(block: ResidualAttentionBlock, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of the values with themselves (AnomalyCLIP, section 3.3)."""
    return attend(block, value, value, value)


def two_paths(
    blocks: Sequence[ResidualAttentionBlock],
    hidden: Tensor,
    *,
    last: int,
    taps: Sequence[int],
    local: LocalAttention = value_value,
    first: int | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Run all blocks, the `last` ones with a local path beside the ordinary one.

    The local path starts as the ordinary state and adds up `local` attention computed from it, without
    feed-forward. Returns the ordinary path's output, its `first` tokens alone where the last block has two
    paths, and the local states after the blocks `taps` (from 1).
    """
    check_taps(taps, len(blocks))
    beside, kept = hidden, {}
    for number, block in enumerate(blocks, start=1):
        query, key, value = heads(block, hidden)
        two = number > len(blocks) - last
        if two:
            beside = beside + local(block, query, key, value)
        read = first if two and number == len(blocks) else None
        hidden = residual(block, hidden[:, :read], attend(block, query[:, :, :read], key, value))
        if not two:
            beside = hidden
        if number in taps:
            kept[number] = beside
    return hidden, [kept[tap] for tap in taps]
