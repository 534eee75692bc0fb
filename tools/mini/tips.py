"""The small TIPS in training: class tokens and patches against sentences in one space."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from methods.backbones import mini
from methods.backbones.tips import TipsTokenizer
from methods.backbones.tips_weights import VARIANTS, write_tokenizer
from tools.mini.family import Family
from tools.mini.losses import caption_loss, own_loss, patch_targets, state_loss
from tools.mini.pictures import Batch
from tools.mini.sentences import corpus, named_pairs
from tools.mini.start import mimetic_attention, position_waves


class TipsFamily(Family):
    """TIPS: both class tokens, and every patch after the last norm, lie where the sentences lie.

    A patch is told by name what is seen there, a class token also whether the thing is whole. So what the
    fixed prompts say of a thing's state fits its patches only as far as the sentences are akin.
    """

    weights = {"tokens": 0.5, "named": 0.5, "patches": 1.0, "captions": 0.04}
    steps = 4000

    def __init__(self, folder: Path, seed: int) -> None:
        variant = VARIANTS["mini"]
        self.vocabulary = folder / mini.TOKENIZER
        write_tokenizer(self.vocabulary, corpus(np.random.default_rng(seed), 4000), variant.vocabulary)
        self.tokenizer = TipsTokenizer(self.vocabulary)
        self.vision, self.text = variant.vision(), variant.text()
        self.text.temperature.fill_(variant.temperature)
        self.modules = nn.ModuleList([self.vision, self.text])
        for tensor in (self.vision.cls_token, self.vision.pos_embed, self.vision.register_tokens):
            nn.init.normal_(tensor, std=0.02)
        for number in range(variant.depth):
            own = self.vision.get_submodule(f"blocks.{number}.attn").get_parameter
            qkv, projection = (own("qkv.weight"), own("qkv.bias")), (own("proj.weight"), own("proj.bias"))
            mimetic_attention(*qkv, *projection, heads=variant.heads)
        with torch.no_grad():
            self.vision.pos_embed[0, 1:] = position_waves(variant.grid, variant.width)
            # Pixels come in 0 to 1: begin as if they had mean 0 and deviation 1.
            weight, bias = self.vision.patch_embed["proj"].parameters()
            weight.mul_(4)
            bias.copy_(-0.5 * weight.sum(dim=(1, 2, 3)))
        # Small, so that at first all sentences mean much the same: else their noise hides the states.
        nn.init.normal_(self.text.token_embedding.weight, std=0.2 / math.sqrt(variant.width))
        for name, tensor in self.text.named_parameters():
            if name.endswith("in_proj_weight"):
                nn.init.xavier_uniform_(tensor)

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Return features (n, D), not of unit length."""
        ids, paddings = self.tokenizer(sentences)
        longest = int((1 - paddings).sum(dim=1).max())
        encoded: Tensor = self.text(*(each[:, :longest].to(self.device) for each in (ids, paddings)))
        return encoded

    def sentence_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the sentence encoder."""
        return list(self.text.parameters())

    def losses(
        self, batch: Batch, pairs: Tensor, captions: Tensor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Return the terms: states of both class tokens; tokens and patches by name; against captions."""
        tokens, patches = self.vision(batch.images)
        wanted, weights = patch_targets(batch.cover.flatten(1))
        meanings = list(zip(batch.kinds, batch.labels.tolist(), strict=True))
        named = named_pairs(rng, batch.kinds[::2], batch.defects[::2])  # the same for both twins
        own = self.encode_text(named).unflatten(0, (2, -1)).repeat_interleave(2, dim=1)
        labels = batch.labels.float()[:, None].expand(-1, 2)
        return {
            "tokens": state_loss(tokens.flatten(0, 1), pairs, labels.flatten()),
            "named": own_loss(tokens, own, labels),
            "patches": own_loss(patches, own, wanted, weights),
            "captions": caption_loss(tokens[:, 0], captions, meanings)
            + caption_loss(tokens[:, 1], captions, meanings),
        }

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the second class tokens (B, D) and the patches (B, N, D)."""
        tokens, patches = self.vision(images)
        return tokens[:, 1], patches

    def save(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write both encoders in half precision; the vocabulary is there already."""
        state = {
            f"{role}.{name}": tensor.detach().half().cpu().contiguous()
            for role, encoder in (("vision", self.vision), ("text", self.text))
            for name, tensor in encoder.state_dict().items()
        }
        save_file(state, folder / mini.TIPS, metadata=dict(metadata))
        return [folder / mini.TIPS, self.vocabulary]
