"""AdaCLIP's two prompted towers: a frozen CLIP, and the tokens written into its hidden states."""

from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.adaclip_weights import learned_shapes
from methods.backbones import clip
from methods.learning import state_of
from methods.prompts import (
    ABNORMAL_STATES,
    NORMAL_STATES,
    SHORT_TEMPLATES,
    PromptEnsemble,
    TextPairs,
    mean_feature,
)

ENSEMBLE = PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, SHORT_TEMPLATES)


class PromptedTowers(nn.Module):
    """A CLIP with static prompts, which are learned, and dynamic ones, made of the image by learned layers.

    `learned` are the tensors by their published names; `options` are AdaCLIP's, all of them.
    """

    positions: Tensor

    def __init__(
        self, model: open_clip.CLIP, learned: Mapping[str, Tensor], options: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.model, self.options = model, options
        where = clip.positions(model, options["image_size"], mode="bicubic", antialias=False)
        self.register_buffer("positions", where, persistent=False)
        names = learned_shapes(options, model.state_dict())
        self.tensors = nn.ParameterDict(
            {name.replace(".", "/"): learned[name].detach().float().clone() for name in names}
        )
        self._texts: tuple[object, TextPairs] | None = None

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, under the published names."""
        return {name.replace("/", "."): tensor for name, tensor in self.tensors.items()}

    def linear(self, name: str, values: Tensor) -> Tensor:
        """Send values (..., inner) through the learned layer `name`."""
        learned = self.learned()
        return F.linear(values, learned[f"clip_model.{name}.weight"], learned[f"clip_model.{name}.bias"])

    # --- prompts ------------------------------------------------------------------------------------

    def dynamic_tokens(self, tower: str, plain: Tensor | None) -> Tensor | None:
        """Return the tokens (B, L, W) made from plain embeddings (B, E) for a tower (`visual`, `text`).

        They are the same for all blocks. None where the options have none.
        """
        if plain is None or {"text": "L", "visual": "V"}[tower] not in self.options["prompting_branch"]:
            return None
        generator = f"dynamic_{tower}_prompt_generator.head"
        tokens = range(self.options["prompting_length"])
        return torch.stack([self.linear(f"{generator}.{token}", plain) for token in tokens], dim=1)

    def _prompt(self, tower: str, block: int, dynamic: Tensor | None, like: Tensor) -> Tensor:
        # For every row of `like`; `dynamic` (n, L, W) is repeated where there are several rows to an image.
        parts = []
        if "S" in self.options["prompting_type"]:
            static = self.learned()[f"clip_model.{tower}_prompter.static_prompts.{block}"]
            parts.append(static.expand(len(like), -1, -1))
        if dynamic is not None:
            parts.append(dynamic.repeat_interleave(len(like) // len(dynamic), dim=0))
        # Through float16 as in the official code, for each row apart: so do the gradients.
        return torch.stack(parts).sum(dim=0).half().to(like.dtype)

    # --- images -------------------------------------------------------------------------------------

    @torch.no_grad()
    def plain(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, E) of the unprompted pass, not normalised; none (0, E) if unneeded."""
        if "D" not in self.options["prompting_type"] or not self.options["prompting_branch"]:
            return images.new_empty(0, self.model.visual.output_dim)
        hidden = clip.embed_image(self.model, images, self.positions)
        hidden, _ = clip.run_blocks(self.model.visual.transformer.resblocks, hidden)
        return clip.project(self.model, hidden[:, 0]).float()

    def look(self, images: Tensor, plain: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return embeddings (B, E), not normalised, and patch tokens (B, N, W) of the layers, float32.

        Prompts are appended behind the patches, replaced before each prompted block, and left out again.
        """
        dynamic = self.dynamic_tokens("visual", plain)
        hidden = clip.embed_image(self.model, images, self.positions)
        own = hidden.shape[1]

        def append(index: int, hidden: Tensor) -> Tensor:
            if "V" not in self.options["prompting_branch"] or index >= self.options["prompting_depth"]:
                return hidden
            return torch.cat([hidden[:, :own], self._prompt("visual", index, dynamic, hidden)], dim=1)

        blocks = self.model.visual.transformer.resblocks
        hidden, taps = clip.run_blocks(blocks, hidden, taps=self.options["layers"], before=append)
        return clip.project(self.model, hidden[:, 0]).float(), [tap[:, 1:own].float() for tap in taps]

    # --- texts --------------------------------------------------------------------------------------

    def text_features(self, names: Sequence[str], plain: Tensor | None) -> Tensor:
        """Return unit-length text features (B, 2, E), normal then abnormal, of the images' objects.

        With dynamic text prompts they depend on the images' plain embeddings (B, E). Otherwise they are
        kept for every name, until learned prompts change or gradients are asked for.
        """
        dynamic = self.dynamic_tokens("text", plain)
        if dynamic is not None:
            return self._encode(names, dynamic)
        prompts = [tensor for name, tensor in self.learned().items() if "text_prompter" in name]
        if torch.is_grad_enabled() and any(prompt.requires_grad for prompt in prompts):
            return self._encode(names, None)
        state = state_of(prompts)
        if self._texts is None or self._texts[0] != state:
            self._texts = state, TextPairs(self._kept)
        return self._texts[1](names, self.positions)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _kept(self, name: str) -> Tensor:
        with torch.autocast(self.positions.device.type, enabled=False):
            return self._encode([name], None)[0]

    def _encode(self, names: Sequence[str], dynamic: Tensor | None) -> Tensor:
        depth, length = self.options["prompting_depth"], self.options["prompting_length"]

        def overwrite(index: int, hidden: Tensor) -> Tensor:
            # A prompt for block 0 is among the learned tensors, but nothing is overwritten there.
            if "L" not in self.options["prompting_branch"] or not 1 <= index < depth:
                return hidden
            prompt = self._prompt("text", index, dynamic, hidden)
            return torch.cat([hidden[:, :1], prompt, hidden[:, 1 + length :]], dim=1)

        tokens = torch.cat([sentence_tokens(name) for name in names]).to(self.positions.device)
        encoded = clip.text_pass(self.model, clip.trimmed(tokens, at_least=1 + length), before=overwrite)
        counts = [len(state) for state in ENSEMBLE.sentences("object")] * len(names)
        means = [mean_feature(state, normalise_each=True) for state in encoded.float().split(counts)]
        return torch.stack(means).unflatten(0, (len(names), 2))


def sentence_tokens(name: str) -> Tensor:
    """Return the token ids (48, 77) of all sentences about an object, the normal ones first.

    Only the hyphen becomes a blank: `metal_nut` is tokenised as "metal _ nut".
    """
    normal, abnormal = ENSEMBLE.sentences(name.replace("-", " "))
    return clip.tokenize([*normal, *abnormal])
