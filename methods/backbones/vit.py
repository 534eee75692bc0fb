"""A plain vision transformer with the parameter names of DINO's, DINOv2's and TIPS's released files.

Dosovitskiy et al., ICLR 2021, with what later papers added: layer scale, registers, SwiGLU.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones.blocks import Hook, run
from methods.maps import resize_positions


class Resize(NamedTuple):
    """How pretrained positions are brought to another grid (`methods.maps.resize_positions`)."""

    mode: str = "bicubic"
    antialias: bool = False
    offset: float = 0.0


DINO = Resize(offset=0.1)
"""As DINO's and DINOv2's code has it, against a rounding of sizes."""


def attention(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head self-attention of rows (B, N, 3 D), ordered q, k, v; returns (B, N, D).

    `mask` (B, 1, 1, N) is True for the positions that may be looked at.
    """
    batch, length, rows = qkv.shape
    query, key, value = qkv.reshape(batch, length, 3, heads, rows // (3 * heads)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(batch, length, rows // 3)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(attention(self.qkv(x), self.heads))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _SwiGlu(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, *, swiglu: bool, scaled: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.ls1 = _LayerScale(width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _SwiGlu(width, hidden) if swiglu else _Mlp(width, hidden)
        self.ls2 = _LayerScale(width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """An image encoder of pre-norm blocks with exact GELU (or SwiGLU); every norm has eps 1e-6.

    `hidden` is the width inside the feed-forwards; the position embedding was trained on `grid` x `grid`
    patches of `patch` x `patch` pixels. `registers` tokens without position stand behind the class token.
    `scaled`: blocks with layer scale, and a token for masks in the file, which only pretraining used.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        *,
        grid: int,
        patch: int = 14,
        registers: int = 0,
        swiglu: bool = False,
        scaled: bool = True,
        resize: Resize = DINO,
    ) -> None:
        super().__init__()
        self.patch, self.resize = patch, resize
        self.leading = 1 + registers
        """Tokens before the patches: the class token and the registers."""
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, width))
        if scaled:
            self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, kernel_size=patch, stride=patch)})
        self.blocks = nn.ModuleList(
            _Block(width, heads, hidden, swiglu=swiglu, scaled=scaled) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of patches; raises `ValueError` for sides that are no multiples of one."""
        if height % self.patch or width % self.patch or not height * width:
            raise ValueError(f"image sides have to be multiples of {self.patch}, not {height} x {width}")
        return height // self.patch, width // self.patch

    def position_embedding(self, grid: tuple[int, int]) -> Tensor:
        """Return the embedding (1 + rows * columns, D) for a grid of patches, the class token's row first."""
        return resize_positions(self.pos_embed[0], grid, **self.resize._asdict())

    def embed(self, images: Tensor) -> Tensor:
        """Return what enters the first block of images (B, 3, H, W): (B, `leading` + N, D), patches by row.

        Raises `ValueError` for sides that are no multiples of a patch.
        """
        positions = self.position_embedding(self.grid_of(*images.shape[-2:]))
        patches = self.patch_embed["proj"](images).flatten(2).mT
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1) + positions
        if self.leading == 1:
            return tokens
        registers = self.register_tokens.expand(len(images), -1, -1)
        return torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)

    def run(
        self,
        hidden: Tensor,
        *,
        taps: Sequence[int] = (),
        before: Hook | None = None,
        after: Hook | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Run all blocks as `methods.backbones.blocks.run` does; no output has gone through `norm`.

        `hidden` may hold further tokens beside those of `embed`, anywhere.
        """
        return run(list(self.blocks), hidden, taps=taps, before=before, after=after)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (B, 3, H, W): leading tokens (B, `leading`, D) and patches (B, N, D), after the norm.

        Raises `ValueError` for sides that are no multiples of a patch.
        """
        tokens = self.norm(self.run(self.embed(images))[0])
        return tokens[:, : self.leading], tokens[:, self.leading :]
