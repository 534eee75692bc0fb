"""The small CLIP in training: the class token, patches by two paths, and windows of patches."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from methods.anomalyclip import AnomalyCLIP
from methods.backbones import blocks, clip, mini
from methods.winclip import windows
from tools.mini.family import Family
from tools.mini.losses import caption_loss, patch_targets, state_loss
from tools.mini.pictures import GRID, Batch
from tools.mini.sentences import vocabulary
from tools.mini.start import mimetic_attention, position_waves

_WINDOWS = (2, 3)  # sides of the windows, in patches
_OF_EACH = 2  # windows of each side to a picture
_ONE_PATH = clip.MINI["vision_cfg"]["layers"] - AnomalyCLIP.preset("mini").options["dpam_layer"] + 1


class ClipFamily(Family):
    """CLIP, taught along all the ways on which the methods lead its tokens to the sentences.

    Only rows of the token embedding that the sentences use are trained; all others are one row, which
    stands for unknown words and is trained on them.
    """

    weights = {
        **{"image": 0.6, "image_without_norm": 0.4, "patches": 0.5, "local": 0.5},
        **{"windows": 0.5, "captions": 0.2},
    }
    steps = 3000

    def __init__(self) -> None:
        self.model = open_clip.CLIP(**clip.architecture("mini"), quick_gelu=True)
        ids = clip.tokenize(vocabulary()).unique()
        self.rows = torch.zeros(self.model.vocab_size, dtype=torch.int64)
        self.rows[ids] = torch.arange(1, len(ids) + 1)
        width = self.model.token_embedding.embedding_dim
        self.model.token_embedding = nn.Embedding(len(ids) + 1, width)  # row 0 stands for unknown words
        nn.init.normal_(self.model.token_embedding.weight, std=0.1)
        self.ids = ids
        visual = self.model.visual
        for block in visual.transformer.resblocks:
            own = block.attn
            qkv, projection = (own.in_proj_weight, own.in_proj_bias), own.out_proj
            mimetic_attention(*qkv, projection.weight, projection.bias, heads=own.num_heads)
        with torch.no_grad():
            visual.positional_embedding[1:] = position_waves(GRID, len(visual.positional_embedding[0]))
        self.model.logit_scale.requires_grad_(False).fill_(np.log(100))
        self.modules = nn.ModuleList([self.model])
        self.mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
        self.deviation = torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Return embeddings (n, E), not of unit length."""
        tokens = clip.trimmed(clip.tokenize(sentences))
        embeddings = self.model.token_embedding(self.rows[tokens].to(self.device))
        return clip.text_pass(self.model, tokens.to(self.device), embeddings=embeddings)

    def sentence_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the sentence encoder."""
        return [each for name, each in self.model.named_parameters() if not name.startswith("visual.")]

    def _embedded(self, images: Tensor) -> Tensor:
        normalised = (images - self.mean.to(images)) / self.deviation.to(images)
        return clip.embed_image(self.model, normalised, self.model.visual.positional_embedding)

    def _both_paths(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last block's tokens, and those of AnomalyCLIP's local path, each (B, 1 + N, W)."""
        local = hidden
        for number, block in enumerate(self.model.visual.transformer.resblocks, start=1):
            query, key, value = blocks.heads(block, hidden)
            hidden = blocks.residual(block, hidden, blocks.attend(block, query, key, value))
            local = hidden if number <= _ONE_PATH else local + blocks.attend(block, value, value, value)
        return hidden, local

    def losses(
        self, batch: Batch, pairs: Tensor, captions: Tensor, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Return the terms: states of the class token, patches and windows; pictures against captions."""
        embedded = self._embedded(batch.images)
        hidden, local = self._both_paths(embedded)
        image, raw = (
            clip.project(self.model, hidden[:, 0]),
            clip.project(self.model, hidden[:, 0], norm=False),
        )
        patches, near = (clip.project(self.model, tokens[:, 1:]).flatten(0, 1) for tokens in (hidden, local))
        wanted, weights = patch_targets(batch.cover.flatten())
        meanings = list(zip(batch.kinds, batch.labels.tolist(), strict=True))
        labels = batch.labels.float()
        return {
            "image": state_loss(image, pairs, labels),
            "image_without_norm": state_loss(raw, pairs, labels),
            "patches": state_loss(patches, pairs, wanted, weights),
            "local": state_loss(near, pairs, wanted, weights),
            "windows": self._window_loss(embedded, batch.cover, pairs, rng),
            "captions": caption_loss(image, captions, meanings),
        }

    def _window_loss(
        self, embedded: Tensor, cover: Tensor, pairs: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """States of windows, each encoded alone behind the class token; those with defects are drawn more."""
        found, wanted = [], []
        rows = torch.arange(len(embedded), device=embedded.device)[:, None, None]
        for side in _WINDOWS:
            members = windows((GRID, GRID), side).to(embedded.device)
            faulty = patch_targets(cover.flatten(1)[:, members].amax(dim=-1))[0]
            chances = (0.03 + faulty).cpu().numpy()
            drawn = np.stack(
                [rng.choice(len(members), _OF_EACH, replace=False, p=each / each.sum()) for each in chances]
            )
            chosen = torch.from_numpy(drawn).to(embedded.device)
            tokens = torch.cat([torch.zeros_like(members[:, :1]), members + 1], dim=1)[chosen]
            hidden = embedded[rows, tokens].flatten(0, 1)
            hidden, _ = blocks.run_blocks(self.model.visual.transformer.resblocks, hidden)
            found.append(clip.project(self.model, hidden[:, 0]))
            wanted.append(faulty.gather(1, chosen).flatten())
        return state_loss(torch.cat(found), pairs, torch.cat(wanted))

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class embeddings (B, E) and those of the local path's patches (B, N, E)."""
        hidden, local = self._both_paths(self._embedded(images))
        return clip.project(self.model, hidden[:, 0]), clip.project(self.model, local[:, 1:])

    def save(self, folder: Path, metadata: Mapping[str, str]) -> list[Path]:
        """Write the weights in half precision; the token embedding as rows in use and one for all others."""
        state = {
            name: tensor.detach().half().cpu().contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        rows = state.pop("token_embedding.weight")
        state |= mini.packed_rows(self.ids, rows[1:].contiguous(), rows[0].clone())
        save_file(state, folder / mini.CLIP, metadata=dict(metadata))
        return [folder / mini.CLIP]
