"""VCP-CLIP: the object's name is replaced by learned vectors and the image's own class token.

Qu, Tao, Prasad, Shen, Zhang, Gong, Ding, ECCV 2024, arXiv 2407.12276. Two branches compare patch tokens of
four levels with two texts: brought to the texts by linear layers, as in VAND, and with the texts brought to
them by attention.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from methods.augmentation import vary
from methods.backbones import clip
from methods.backbones.blocks import run_blocks
from methods.base import Features, Prediction, TrainingBatch
from methods.clip_based import ClipBased
from methods.learned_tensors import Shapes, as_torch_draws, layer
from methods.learning import Recipe, Stage, dice, focal, summed
from methods.maps import gaussian_smooth, probability_maps, similarity_logits
from methods.weights import WeightFile

SENTENCES = ("a photo of a good", "a photo of a damaged")  # and then the image's own words
HEADS = 8
_DRIVE = "https://drive.google.com/uc?id="


class VcpClip(ClipBased):
    """VCP-CLIP as its code has it, zero-shot segmentation first; class names are never used."""

    title = "VCP-CLIP"
    paper = "https://arxiv.org/abs/2407.12276"
    code = "https://github.com/xiaozhen228/VCP-CLIP"
    licence = "MIT (a sentence in the README)"
    official_precision = "float16"
    notes = (
        "Made for segmentation: the image score is the sum of both branches' largest pixels. The official "
        "program scales it over the test set, which is left out. That the other dataset's test images chose "
        "the rates is inferred. The paper's numbers are means over trainings that differ widely."
    )

    prompting = "learned words and the image's class token in place of the name"
    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        "layers": (6, 12, 18, 24),  # blocks whose outputs are compared, counted from 1
        "context_length": 2,  # vectors in the place of the object's name
        "text_tokens": 1,  # learned tokens ahead of the words in every text block
        "visual_context": True,  # whether the image's class token enters the vectors
        "linear_share": 0.2,  # of the linear branch in the map; the attention's has the rest
        "sigma": 8.0,  # of the Gaussian that smooths the final map, in pixels
        "top_pixels": 2000,  # of each branch's map, whatever its size, make the image score
        "dropout": 0.1,  # of the learned text tokens, in training
    }
    presets = {
        "no-context": {"visual_context": False},
        "linear": {"linear_share": 1.0},
        "adapted": {"linear_share": 0.0},
        "mini": {"backbone": "mini", "image_size": 140, "layers": (2, 3, 5, 6)},
    }
    sources = {"*": "visa", "visa": "mvtec"}
    published = {
        source: WeightFile(
            name=f"vcpclip/trained_on_{source}.pth",
            by_hand=f"get train_{source}.pth from {_DRIVE}{drive} (see the official README)",
            rough_size=33_100_000,
            sha256=digest,
            digest_by_third_party=True,
        )
        for source, drive, digest in (
            (
                "visa",
                "1MOTaN2hf6ejraTzax6Fnr0fa_b2ZMzjN",
                "bbb15ee3e303d6036d7eb82ecf6ee2419500d12472dc82c9023069b4110a2849",
            ),
            (
                "mvtec",
                "1uJE25wx2OgSbVPMhR2rbOO5ey0r9UkTr",
                "3e9364a149f34cb70dfed5dd493a34907659ee9955429ee0fdcf2899eb3f94e0",
            ),
        )
    }
    selected_on = {"visa": ("mvtec",), "mvtec": ("visa",)}
    recipe = Recipe(
        stages=(
            Stage(
                epochs=10,
                batch_size=32,
                learning_rate=4e-5,
                rate_on={"mvtec": 2e-5},
                rates={"New_Lan_Embed.prompt_temp": 0.01, "Zero_try.prompt_temp_l1": 0.01},
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice": 1.0},
                mosaic={"mvtec": 0.2},
                mosaic_of="anomalous",
                augments=True,
            ),
        ),
        seed=333,
    )

    encoder_options = ("backbone", "image_size", "layers")
    shaping = ("context_length", "text_tokens", "visual_context")
    sections = ("trainable_linearlayer", "New_Lan_Embed", "Zero_try")

    words: Tensor

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with exact GELU, and what is learned by its published names, see `learned`."""
        super().__init__(model, learned, **options)
        wide, joint = model.visual.proj.shape
        if wide % HEADS or joint != model.token_embedding.weight.shape[1]:
            raise ValueError(
                f"{self.options['backbone']} does not fit VCP-CLIP: its vision width must be a multiple of "
                f"{HEADS}, and its texts as wide as its joint space"
            )
        ids = clip.tokenize(SENTENCES)
        self.register_buffer("words", ids[:, : int(ids[0].argmax()) + 1], persistent=False)

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        most = 77 - len(SENTENCES[0].split()) - 2
        count = resolved["context_length"] + resolved["text_tokens"]
        if min(resolved["context_length"], resolved["text_tokens"]) < 1 or count > most:
            raise ValueError(f"context_length and text_tokens must be 1 or more, at most {most} together")
        if resolved["image_size"] ** 2 < resolved["top_pixels"]:
            raise ValueError(f"top_pixels {resolved['top_pixels']} are more than image_size squared has")
        return resolved

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of what is learned."""
        (wide, joint), (_, text) = backbone["visual.proj"].shape, backbone["token_embedding.weight"].shape
        blocks = sum(name.startswith("transformer.") and name.endswith(".ln_1.bias") for name in backbone)
        count, tokens = options["context_length"], options["text_tokens"]

        shapes: Shapes = {}
        for level in range(len(options["layers"])):
            shapes |= layer(f"trainable_linearlayer.fc.{level}", joint, wide)
        shapes |= {"New_Lan_Embed.prompt_query": (1, count, text), "New_Lan_Embed.prompt_temp": ()}
        shapes |= layer("New_Lan_Embed.prompt_linear1.fc", count, 1, 3)
        shapes |= {"Zero_try.prompt_temp_l1": (), **layer("Zero_try.q_proj_pre", wide, text, 1)}
        for name in ("k_proj_pre_1", "v_proj_pre_1", "proj_post_t"):
            shapes |= layer(f"Zero_try.{name}", wide, wide, 1)
        shapes |= {
            "prompt_embeddings": (1, tokens, text),
            "deep_prompt_embeddings": (blocks - 1, tokens, text),
        }
        return {**shapes, **layer("prompt_proj", text, text), **layer("prompt_norm", text)}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with."""
        shapes = cls.learned_shapes(options, backbone)
        layers = {name: shape for name, shape in shapes.items() if name.endswith((".weight", ".bias"))}
        found, generator = as_torch_draws(layers, seed), torch.Generator().manual_seed(seed)
        for name in ("New_Lan_Embed.prompt_temp", "Zero_try.prompt_temp_l1"):
            found[name] = torch.tensor(math.log(1 / 0.07))
        for name in ("prompt_embeddings", "deep_prompt_embeddings"):
            found[name] = 2 * torch.rand(shapes[name], generator=generator) - 1
        name = "New_Lan_Embed.prompt_query"
        found[name] = nn.init.trunc_normal_(torch.empty(shapes[name]), generator=generator)
        square, (width,) = shapes["prompt_proj.weight"], shapes["prompt_norm.weight"]
        found["prompt_proj.weight"] = math.sqrt(2 / width) * torch.randn(square, generator=generator)
        return found | {"prompt_norm.weight": torch.ones(width), "prompt_norm.bias": torch.zeros(width)}

    @classmethod
    def unused(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what published files hold and nothing ever uses."""
        return {"prompt_text_projection": backbone["text_projection"]}

    @property
    def encoder(self) -> Mapping[str, Any]:
        """VAND's as well, if layers and activation are the same."""
        return self.clip_encoder("plain_levels", layers=list(self.options["layers"]))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Features:
        """Return `image` (B, E), the raw class embedding, and `levels` (B, L, 1 + N, W), block outputs."""
        return self.plain_levels(images, self.options["layers"])

    def context(self, image: Tensor) -> Tensor:
        """Return the words (B, r, E) of images with class embeddings (B, E): Pre-VCP."""
        query = self.learned()["New_Lan_Embed.prompt_query"]
        if not self.options["visual_context"]:
            return query.expand(len(image), -1, -1)
        return query + F.conv1d(image[:, None], *self.layer("New_Lan_Embed.prompt_linear1.fc"), padding=1)

    def text_features(self, image: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return the unit text features (B, 2, E) of each image, normal first."""
        model, own, count = self.model, self.learned(), len(image)
        context = self.context(image).repeat(2, 1, 1)
        words = model.token_embedding(self.words).repeat_interleave(count, dim=0)
        hidden = torch.cat([words[:, :-1], context, words[:, -1:]], dim=1)
        hidden = hidden + model.positional_embedding[: hidden.shape[1]]
        tokens = torch.cat([own["prompt_embeddings"], own["deep_prompt_embeddings"]])
        tokens = F.linear(tokens, *self.layer("prompt_proj"))
        # Dropout in the order of the official program: sentence, image, block.
        drawn = [F.dropout(each, dropout) for _ in range(2 * count) for each in tokens.split(1)]
        deep = torch.cat(drawn).unflatten(0, (2 * count, len(tokens)))

        def before(index: int, hidden: Tensor) -> Tensor:
            """Insert the first tokens, which have no position, ahead of the words; then overwrite them."""
            words = hidden[:, 1 + tokens.shape[1] :] if index else hidden[:, 1:]
            return torch.cat([hidden[:, :1], deep[:, index], words], dim=1)

        length = hidden.shape[1] + tokens.shape[1]
        mask = model.attn_mask[:length, :length]
        hidden, _ = run_blocks(model.transformer.resblocks, hidden, before=before, mask=mask)
        ends = F.layer_norm(hidden[:, -1], hidden.shape[-1:], *self.layer("prompt_norm"), eps=1e-6)
        text = F.normalize(model.ln_final(ends) @ model.text_projection, dim=-1)
        return text.unflatten(0, (2, count)).transpose(0, 1)

    def adapted_text(self, patches: Tensor, text: Tensor) -> Tensor:
        """Bring texts (B, 2, E) among unit patches (B, N, W), by attention over them: unit (B, 2, W).

        Post-VCP. Keys and values of all patches are never built, which a key's bias cannot tell: it adds
        one number to all that the softmax sees, and so stays as it is.
        """

        def own(name: str) -> tuple[Tensor, Tensor]:
            weight, bias = self.layer(f"Zero_try.{name}")
            return weight.squeeze(-1), bias

        def by_head(each: Tensor) -> Tensor:
            return each.unflatten(0, (HEADS, -1))

        query = F.linear(text, *own("q_proj_pre")).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        among = query @ by_head(own("k_proj_pre_1")[0]) @ patches.mT[:, None]  # (B, heads, 2, N)
        weight, bias = map(by_head, own("v_proj_pre_1"))
        mixed = among.softmax(dim=-1) @ patches[:, None] @ weight.mT + bias[:, None]
        return F.normalize(F.linear(mixed.transpose(1, 2).flatten(2), *own("proj_post_t")), dim=-1)

    def patch_logits(self, features: Features, text: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each level's logits (B, N, 2) by the linear branch and by the adapted one."""
        own = self.learned()
        temperatures = [
            (-own[name]).exp() for name in ("New_Lan_Embed.prompt_temp", "Zero_try.prompt_temp_l1")
        ]
        for index, level in enumerate(features["levels"][:, :, 1:].unbind(1)):
            linear = F.linear(level, *self.layer(f"trainable_linearlayer.fc.{index}"))
            patches = F.normalize(level, dim=-1)
            yield (
                similarity_logits(F.normalize(linear, dim=-1), text, temperatures[0]),
                similarity_logits(patches, self.adapted_text(patches, text), temperatures[1]),
            )

    def probabilities(self, features: Features, text: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each level's (normal, abnormal) maps (B, 2, S, S) by branch: softmax of enlarged logits."""
        for linear, adapted in self.patch_logits(features, text):
            yield (
                probability_maps(linear, self.grid, self.image_size),
                probability_maps(adapted, self.grid, self.image_size),
            )

    def branch_maps(self, features: Features, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return each branch's mean abnormal probability over the levels, (B, S, S), unsmoothed."""
        branches = zip(*self.probabilities(features, text), strict=True)
        linear, adapted = (torch.stack([each[:, 1] for each in maps]).mean(dim=0) for maps in branches)
        return linear, adapted

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Judge by both branches; object names play no part."""
        linear, adapted = self.branch_maps(features, self.text_features(features["image"]))
        share, count = self.options["linear_share"], self.options["top_pixels"]
        scores = sum(each.flatten(1).topk(count).values.mean(dim=1) for each in (linear, adapted))
        joint = share * linear + (1 - share) * adapted
        return Prediction(torch.as_tensor(scores), gaussian_smooth(joint, self.options["sigma"]))

    def augment(
        self, image: Image.Image, mask: np.ndarray, stage: str, generator: torch.Generator
    ) -> tuple[Image.Image, np.ndarray]:
        """Turn, brighten, roughen, blur or recolour at random."""
        return vary(image, mask, generator)

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars, with dropout of the text tokens; labels are not used."""
        text = self.text_features(features["image"], dropout=self.options["dropout"])
        maps = [each for level in self.probabilities(features, text) for each in level]
        return {
            "focal": summed(focal, maps, batch.masks),
            "dice": summed(dice, [each[:, 1] for each in maps], batch.masks),
        }
