"""TIPS image and text encoders in plain torch, with the parameter names of the released checkpoints.

TIPS: Maninis et al., ICLR 2025, arXiv 2410.16512. Both encoders end in the same space; no projection.
"""

from collections.abc import Sequence
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones.vit import Resize, VisionTransformer, attention

PATCH = 14
MAX_TOKENS = 64


def swiglu_hidden(width: int, ratio: float = 4.0) -> int:
    """Return the hidden width of a SwiGLU block that has the cost of an MLP of `ratio` times the width."""
    return (int(int(width * ratio) * 2 / 3) + 7) // 8 * 8


class TipsVision(VisionTransformer):
    """The image encoder: DINOv2's ViT, whose one register is TIPS's second class token.

    Images are in [0, 1]. `forward` gives both class tokens and the patches.
    """

    def __init__(
        self, width: int, depth: int, heads: int, hidden: int, *, swiglu: bool = False, grid: int = 32
    ) -> None:
        resize = Resize("bilinear", antialias=True)
        super().__init__(
            width, depth, heads, hidden, grid=grid, patch=PATCH, registers=1, swiglu=swiglu, resize=resize
        )


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
