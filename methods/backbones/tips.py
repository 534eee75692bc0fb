"""TIPS image and text encoders in plain torch, with the parameter names of the released checkpoints.

TIPS: Maninis et al., ICLR 2025, arXiv 2410.16512. Both encoders end in the same space; no projection.
"""

from collections.abc import Sequence
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.maps import resize_positions

PATCH = 14
MAX_TOKENS = 64


def swiglu_hidden(width: int, ratio: float = 4.0) -> int:
    """Return the hidden width of a SwiGLU block that has the cost of an MLP of `ratio` times the width."""
    return (int(int(width * ratio) * 2 / 3) + 7) // 8 * 8


def attention(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head self-attention of rows (B, N, 3 D), ordered q, k, v; returns (B, N, D).

    `mask` (B, 1, 1, N) is True for the positions that may be looked at.
    """
    batch, length, rows = qkv.shape
    query, key, value = qkv.reshape(batch, length, 3, heads, rows // (3 * heads)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(batch, length, rows // 3)


class _VisionAttention(nn.Module):
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


class _VisionBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, swiglu: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _VisionAttention(width, heads)
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _SwiGlu(width, hidden) if swiglu else _Mlp(width, hidden)
        self.ls2 = _LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class TipsVision(nn.Module):
    """The image encoder: DINOv2's ViT, whose one register is TIPS's second class token.

    `hidden` is the width inside the MLP (or SwiGLU) blocks; the position embedding was trained on
    `grid` x `grid` patches of 14 x 14 pixels.
    """

    def __init__(
        self, width: int, depth: int, heads: int, hidden: int, *, swiglu: bool = False, grid: int = 32
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # in the files; used in pretraining only
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)})
        self.blocks = nn.ModuleList(_VisionBlock(width, heads, hidden, swiglu) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def position_embedding(self, grid: tuple[int, int]) -> Tensor:
        """Return the embedding (1 + rows * columns, D) for a grid of patches, the class token's row first."""
        return resize_positions(self.pos_embed[0], grid, mode="bilinear", antialias=True)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (B, 3, H, W) in [0, 1], H and W multiples of 14.

        Returns both class tokens (B, 2, D) and the patches (B, H/14 * W/14, D), row-major, after the final
        norm. Raises `ValueError` for another size.
        """
        height, width = images.shape[-2:]
        if height % PATCH or width % PATCH:
            raise ValueError(f"TIPS needs image sides that are multiples of {PATCH}, not {height} x {width}")
        patches = self.patch_embed["proj"](images).flatten(2).mT
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1)
        tokens = tokens + self.position_embedding((height // PATCH, width // PATCH))
        second = self.register_tokens.expand(len(images), -1, -1)  # has no position
        tokens = torch.cat([tokens[:, :1], second, tokens[:, 1:]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return tokens[:, :2], tokens[:, 2:]


class _TextAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        return self.out_proj(attention(qkv, self.heads, mask))


class _TextBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _TextAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)})

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp["c_proj"](F.relu(self.mlp["c_fc"](self.ln_2(x))))


def sinusoids(length: int, width: int) -> Tensor:
    """Return the fixed position embedding (length, width): all sines, then all cosines."""
    count = width // 2
    rates = torch.exp(-torch.arange(count) * (torch.log(torch.tensor(10000.0)) / max(count - 1, 1)))
    angles = torch.arange(length)[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2))


class TipsText(nn.Module):
    """The text encoder: a bidirectional transformer whose output is the mean over the tokens.

    `temperature` divides the similarities of its features with those of the image encoder.
    """

    temperature: Tensor

    def __init__(self, width: int, layers: int, heads: int, hidden: int, vocabulary: int = 32000) -> None:
        super().__init__()
        # Zeros, since drawing numbers for a model of which only the shapes are wanted costs two seconds.
        self.token_embedding = nn.Embedding(vocabulary, width, _weight=torch.zeros(vocabulary, width))
        blocks = nn.ModuleList(_TextBlock(width, heads, hidden) for _ in range(layers))
        self.transformer = nn.ModuleDict({"resblocks": blocks})
        self.ln_final = nn.LayerNorm(width)
        self.register_buffer("temperature", torch.ones(()))

    @property
    def width(self) -> int:
        """Length of a feature."""
        return self.token_embedding.embedding_dim

    def embed(self, ids: Tensor) -> Tensor:
        """Return the scaled token embeddings (B, T, D) of ids (B, T), before positions are added."""
        return self.token_embedding(ids) * self.width**0.5

    def encode(self, embeddings: Tensor, paddings: Tensor) -> Tensor:
        """Encode embedded tokens (B, T, D), T <= 64, to features (B, D), not of unit length.

        `paddings` (B, T) is 1 where a position is padding; every row needs a token.
        """
        tokens = embeddings + sinusoids(*embeddings.shape[1:]).to(embeddings)
        present = paddings == 0
        mask = present[:, None, None, :]
        for block in self.transformer["resblocks"].children():
            tokens = block(tokens, mask)
        weights = present[..., None].to(tokens.dtype)
        return (self.ln_final(tokens) * weights).sum(dim=1) / (weights.sum(dim=1) + 1e-8)

    def forward(self, ids: Tensor, paddings: Tensor) -> Tensor:
        """Encode ids and paddings (B, T) to features (B, D), not of unit length."""
        return self.encode(self.embed(ids), paddings)


class TipsTokenizer:
    """The SentencePiece tokenizer: lower case, no begin or end marks, padded with 0 to 64.

    Raises `FileNotFoundError` without the file and `ValueError` if it is not a SentencePiece model.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such tokenizer; `run_bench.py weights` fetches it")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except RuntimeError as error:
            raise ValueError(f"{path} is not a SentencePiece model; fetch it again") from error
        self.size: int = self._processor.get_piece_size()

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids and paddings (1 where padding), both (B, 64) int64; longer texts are cut."""
        ids = torch.zeros(len(texts), MAX_TOKENS, dtype=torch.int64)
        paddings = torch.ones_like(ids)
        for row, text in enumerate(texts):
            pieces = self._processor.encode(text.lower())[:MAX_TOKENS]
            ids[row, : len(pieces)] = torch.tensor(pieces, dtype=torch.int64)
            paddings[row, : len(pieces)] = 0
        return ids, paddings
