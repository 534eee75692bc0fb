"""VisualAD: no text; two tokens learned inside an image tower, one for anomalies and one for the normal.

Hou, Li, Liu, Wang, Ruan, Qiu, Xu, CVPR 2026, arXiv 2603.07952. At each of several layers, the tokens gather a
little of the patches (SCA), the patches are transformed (SAF), and a patch is as anomalous as it is closer to
the one token than to the other.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from methods import states
from methods.backbones import clip, dinov2
from methods.backbones.blocks import run_blocks
from methods.backbones.vit import VisionTransformer
from methods.base import Features, Prediction, Preset, TrainingBatch
from methods.clip_based import ClipBased
from methods.fill import filled
from methods.learned_tensors import Shapes, blank, named
from methods.learning import Cosine, Recipe, Stage, dice, focal, summed
from methods.maps import gaussian_smooth, upsample
from methods.options import one_of
from methods.pictures import NetworkInput
from methods.weights import WeightFile

_REPOSITORY = "https://media.githubusercontent.com/media/7HHHHH/VisualAD"
_WEIGHTS = f"{_REPOSITORY}/8479132d641456345019aed1c8bb6b2d11941068/weight"
_CLIPS = {"ViT-L-14-336": "ViT-L/14@336px"}  # as published files call them
_TOKENS = ("anomaly_token", "normal_token")
_FIRST = 3  # tokens ahead of the patches: anomaly, normal, class


class Seen(NamedTuple):
    """What scores and losses of B images are made from."""

    tokens: Tensor
    """Selected blocks' outputs through the last norm (B, layers, 3 + N, W); anomaly, normal, class first."""
    last: Tensor
    """The first three tokens after the last block, through the norm (B, 3, W)."""
    adapted: Tensor
    """Anomaly and normal token after each layer's SCA (B, layers, 2, W)."""
    patches: Tensor
    """Patches after each layer's SAF (B, layers, N, W)."""
    scores: Tensor
    """Cosine of the patches with the anomaly token less that with the normal token (B, layers, N)."""


class VisualAD(ClipBased):
    """An image tower of its own tokens, spatial-aware cross-attention and self-alignment; never a text."""

    title = "VisualAD"
    paper = "https://arxiv.org/abs/2603.07952"
    code = "https://github.com/7HHHHH/VisualAD"
    licence = "MIT by a README badge only; no licence file"
    notes = (
        "the official test program scores with the network's own last norm, not with the one it trained "
        "(preset trained-norm: with that one); the DINOv2 variant is published neither as code nor as "
        "weights, so preset dinov2 follows the code for CLIP and cannot be held against the printed numbers; "
        "that epochs were chosen on the target is inferred"
    )

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP; or a DINOv2
        "image_size": 518,
        "layers": (6, 12, 18, 24),  # blocks whose patches are compared, from 1; their maps are summed
        "num_anchors": 4,  # learned queries of each layer's SCA
        "most_patches": 1536,  # that it has positions for
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        "top_share": 0.01,  # of the map's pixels, the highest, whose mean is the image score
        "norm": "pretrained",  # last norm in scoring: the network's own; `trained`: the learned one
        "dropout": 0.1,  # in training
    }
    sources = {"*": "visa", "visa": "mvtec"}
    selected_on = {"visa": ("mvtec",), "mvtec": ("visa",)}

    published = {
        source: WeightFile(
            name=f"visualad/ViT-L-14-336/trained_on_{source}.pth",
            url=f"{_WEIGHTS}/train_on_{source}/CLIP.pth",
            size=126_119_090,
            sha256=digest,
            licence="unclear (MIT by a README badge)",
        )
        for source, digest in (
            ("visa", "fed8ed5e0973e9adb53a2c91e066eb5ba3f9a42fbf80f115a26998629d1f0a5b"),
            ("mvtec", "596f3ed0c0cfe78a314b41fc42a8adfc26b86ab1928f058ce256135cb407b32c"),
        )
    }
    recipe = Recipe(
        stages=(
            Stage(
                epochs=1,
                epochs_on={"mvtec": 2},
                batch_size=8,
                learning_rate=1e-4,
                rates={"*_token": 1e-3},
                schedule=Cosine(floor=1e-4, per="epoch"),
                clip={"*_token": 1.0},
                weight_decay=0.01,
                optimiser=torch.optim.AdamW,
                losses={"focal": 1.0, "dice": 1.0, "image": 1.0, "relation": 1.0},
            ),
        ),
        seed=111,
    )
    presets = {
        "dinov2": {"backbone": "dinov2_vitl14"},
        "trained-norm": {"norm": "trained"},
        "mini": Preset(
            {"backbone": "mini", "image_size": 140, "layers": (6,), "most_patches": 100},
            # The demo's sources have a twentieth of the images: ten times the rates, and more epochs.
            recipe=Recipe(
                (
                    replace(
                        recipe.stages[0], epochs=6, epochs_on={}, learning_rate=1e-3, rates={"*_token": 1e-2}
                    ),
                ),
                seed=111,
            ),
        ),
    }

    quick_gelu = True
    position_resize = ("bilinear", False)
    shaping = ("image_size", "layers", "num_anchors", "most_patches")

    # Those with registers are other networks.
    dinos = tuple(name for name, each in dinov2.VARIANTS.items() if each.second and not each.registers)

    anomaly_token: nn.Parameter
    normal_token: nn.Parameter
    ln_post_weight: nn.Parameter
    ln_post_bias: nn.Parameter
    layer_transforms: nn.ModuleDict
    cross_attn: nn.ModuleDict

    def __init__(
        self, model: open_clip.CLIP | VisionTransformer, learned: Mapping[str, Tensor], **options: Any
    ) -> None:
        """Take a CLIP built with QuickGELU, or a DINOv2, and what is learned by its published names.

        Raises `ValueError` where options, network and tensors do not fit.
        """
        super().__init__(model, learned, **options)
        patches, most = self.grid[0] * self.grid[1], self.options["most_patches"]
        if patches > most:
            raise ValueError(
                f"image_size {self.image_size} makes {patches} patches, more than most_patches, {most}"
            )

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        one_of(resolved, norm=("pretrained", "trained"))
        layers, anchors, share = (resolved[name] for name in ("layers", "num_anchors", "top_share"))
        for name, fits, what in (
            ("layers", 0 < len(set(layers)) == len(layers), "one or more blocks, each once"),
            ("num_anchors", anchors >= 1, "at least 1"),
            ("most_patches", resolved["most_patches"] >= 1, "at least 1"),
            ("top_share", 0 < share <= 1, "above 0 and at most 1"),
            ("dropout", 0 <= resolved["dropout"] < 1, "at least 0 and below 1"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {what}, not {resolved[name]!r}")
        return resolved

    @classmethod
    def learned_modules(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]
    ) -> dict[str, nn.Module]:
        """Return each layer's SAF and SCA."""
        width, names = _width(backbone), [f"layer_{number}" for number in options["layers"]]
        aligned = nn.ModuleDict({name: _Alignment(width) for name in names})
        sizes = width, options["num_anchors"], options["most_patches"]
        attentions = nn.ModuleDict({name: _CrossAttention(*sizes) for name in names})
        return {"layer_transforms": aligned, "cross_attn": nn.ModuleDict({"layer_attentions": attentions})}

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of what is learned: both tokens, the last norm, and `learned_modules`."""
        single = dict.fromkeys((*_TOKENS, "ln_post_weight", "ln_post_bias"), (_width(backbone),))
        return single | super().learned_shapes(options, backbone)

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with; the last norm is a copy of the network's."""
        width = _width(backbone)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            tokens = {name: 0.1 * width**-0.5 * torch.randn(width) for name in _TOKENS}
            parts = named(cls.learned_modules(options, backbone))
        last = "visual.ln_post" if "visual.ln_post.weight" in backbone else "norm"
        norm = {f"ln_post_{part}": backbone[f"{last}.{part}"].cpu() for part in ("weight", "bias")}
        return {**tokens, **norm, **parts}

    @classmethod
    def read_learned(cls, path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read the publisher's nested file or a flat one.

        Raises `ValueError` naming it where tensors, or what it says of its making, are not of these options.
        """
        content = states.read(path)
        entries = states.flat(content) if isinstance(content, dict) else {}
        state = {name: each for name, each in entries.items() if isinstance(each, Tensor)}
        for name, wanted in states.flat(_told(options)).items():
            if name not in state and entries.get(name, wanted) != wanted:
                raise states.OtherModelError(
                    f"{path}: {name} is {entries[name]!r}, not {wanted!r}; it was trained with other options"
                )
        return cls.accept(state, options, path, flat=True)

    @classmethod
    def write_learned(cls, path: Path, options: Mapping[str, Any], seed: int) -> None:
        """Write filled tensors: `.safetensors` as a flat state dict, any other nested as published."""
        shapes = cls.learned_shapes(options, cls.network(options).blank(options["backbone"]))
        state = filled(blank(shapes), seed)
        states.write(state if path.suffix == ".safetensors" else _as_published(state, options), path)

    # --- images -------------------------------------------------------------------------------------

    @property
    def input(self) -> NetworkInput:
        """CLIP's, or bicubic with ImageNet's statistics."""
        if isinstance(self.model, VisionTransformer):
            return dinov2.network_input(self.image_size, Image.Resampling.BICUBIC)
        return super().input

    def encode(self, images: Tensor) -> Features:
        """Return the `images`: the patches see the learned tokens, so nothing behind them may be kept."""
        return {"images": images}

    def look(self, images: Tensor, norm: str, dropout: float = 0.0) -> Seen:
        """Run the network on inputs (B, 3, S, S), its last norm `pretrained` or `trained`."""
        # The two tokens have the class token's position.
        tokens = torch.stack([self.anomaly_token, self.normal_token]) + self.positions[0]
        layers = self.options["layers"]
        with self.encoding(images):
            if isinstance(self.model, VisionTransformer):
                hidden, own = self.model.embed(images), self.model.norm
                last, tapped = self.model.run(_ahead(tokens, hidden), taps=layers)
            else:
                hidden, own = clip.embed_image(self.model, images, self.positions), self.model.visual.ln_post
                hidden = _ahead(self.model.visual.ln_pre(tokens), hidden)
                last, tapped = run_blocks(clip.vision_blocks(self.model), hidden, taps=layers)
        weight, bias = own.weight, own.bias
        if norm == "trained":
            weight, bias = self.ln_post_weight, self.ln_post_bias
        every, last = (
            F.layer_norm(each.float(), weight.shape, weight, bias, own.eps)
            for each in (torch.stack(tapped, dim=1), last[:, :_FIRST])
        )
        return self._compare(every, last, dropout)

    def _compare(self, tokens: Tensor, last: Tensor, dropout: float) -> Seen:
        # All SCAs before all SAFs, and SAF on all tokens: the official order and sizes of dropout's draws.
        each = tokens.unbind(1)
        attentions = self.cross_attn["layer_attentions"].children()
        adapted = torch.stack(
            [
                torch.stack(list(attend(layer[:, _FIRST:], last[:, :2].unbind(1), dropout)), dim=1)
                for attend, layer in zip(attentions, each, strict=True)
            ],
            dim=1,
        )
        aligned = [
            align(layer, dropout) for align, layer in zip(self.layer_transforms.values(), each, strict=True)
        ]
        patches = torch.stack(aligned, dim=1)[:, :, _FIRST:]
        cosines = F.normalize(patches, dim=-1) @ F.normalize(adapted, dim=-1).mT
        return Seen(tokens, last, adapted, patches, cosines[..., 0] - cosines[..., 1])

    # --- scores -------------------------------------------------------------------------------------

    def layer_maps(self, scores: Tensor) -> Tensor:
        """Enlarge patch scores (B, layers, N) to maps (B, layers, S, S)."""
        return upsample(scores.unflatten(-1, self.grid), self.image_size, align_corners=False)

    def image_scores(self, maps: Tensor) -> Tensor:
        """Return the mean (B,) of the highest pixels of maps (B, S, S)."""
        # Rounded, since 0.07 * 100 is more than 7 in floats.
        count = math.ceil(round(self.options["top_share"] * maps[0].numel(), 6))
        return maps.flatten(1).topk(count, dim=1).values.mean(dim=1)

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Score encoded images; objects' names play no part."""
        seen = self.look(features["images"], self.options["norm"])
        maps = gaussian_smooth(self.layer_maps(seen.scores).sum(dim=1), self.options["sigma"])
        return Prediction(self.image_scores(maps), maps)

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars; always through the trained norm, and with dropout."""
        seen = self.look(features["images"], "trained", self.options["dropout"])
        maps, masks = self.layer_maps(seen.scores), batch.masks.float()
        abnormal = maps.sigmoid()
        both = torch.stack([1 - abnormal, abnormal], dim=2)
        image = F.binary_cross_entropy_with_logits(self.image_scores(maps.sum(dim=1)), batch.labels.float())
        of_last = F.cosine_similarity(seen.adapted[:, -1, 0], seen.adapted[:, -1, 1], dim=-1)
        return {
            "focal": summed(focal, both.unbind(1), masks),
            "dice": summed(dice, abnormal.unbind(1), masks),
            "image": image,
            "relation": (of_last + 0.5).clamp(min=0).mean(),
        }


# --- what is learned ---------------------------------------------------------------------------------


class _CrossAttention(nn.Module):
    """SCA: learned queries gather a layer's patches; a token takes a little of what its gates let in."""

    def __init__(self, width: int, anchors: int, positions: int) -> None:
        super().__init__()
        self.anchor_queries = nn.Parameter(0.02 * torch.randn(anchors, width))
        self.pos_encoding = nn.Parameter(0.02 * torch.randn(1, positions, width))
        self.q_proj, self.k_proj, self.v_proj = (_linear(width, bias=False) for _ in range(3))
        self.q_norm, self.k_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gate = nn.Sequential(nn.Linear(width, anchors), nn.Sigmoid())
        self.out_proj = _linear(width)
        self.res_scale = nn.Parameter(torch.full((1,), 0.01))

    def forward(self, patches: Tensor, tokens: Sequence[Tensor], dropout: float) -> Iterator[Tensor]:
        """Yield each of the tokens (B, W) with what it takes of the patches (B, N, W)."""
        queries = self.q_norm(self.q_proj(self.anchor_queries))
        keys = self.k_norm(self.k_proj(patches + self.pos_encoding[:, : patches.shape[1]]))
        values = self.v_proj(patches)
        weights = (queries @ keys.mT / math.sqrt(queries.shape[-1])).softmax(dim=-1)
        for token in tokens:
            gathered = _drop(weights, dropout) @ values
            taken = (self.gate(token)[..., None] * gathered).sum(dim=1)
            yield token + self.res_scale * _drop(self.out_proj(taken), dropout)


class _Alignment(nn.Module):
    """SAF: takes the patches' place where they are compared with the tokens; no residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleDict({"0": _linear(width), "3": _linear(width)})

    def forward(self, tokens: Tensor, dropout: float) -> Tensor:
        hidden = _drop(F.gelu(self.mlp["0"](tokens)), dropout)
        return _drop(self.mlp["3"](hidden), dropout)


def _width(backbone: Mapping[str, Tensor]) -> int:
    return backbone["visual.positional_embedding" if "visual.proj" in backbone else "pos_embed"].shape[-1]


def _linear(width: int, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(width, width, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _ahead(tokens: Tensor, hidden: Tensor) -> Tensor:
    return torch.cat([tokens.to(hidden.dtype).expand(len(hidden), -1, -1), hidden], dim=1)


def _drop(values: Tensor, share: float) -> Tensor:
    return F.dropout(values, share) if share else values  # the trainer keeps modules in evaluation mode


# --- published files ---------------------------------------------------------------------------------


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file must not say otherwise of its making; its other remarks are passed over."""
    return {
        "features_list": list(options["layers"]),
        "image_size": options["image_size"],
        "backbone": _CLIPS.get(options["backbone"], options["backbone"]),
        "transform_type": "mlp",
        "cross_attn_config": {"num_anchors": options["num_anchors"]},
    }


def _as_published(state: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    transforms = [f"layer_transforms.layer_{number}" for number in options["layers"]]
    told = _told(options) | {"epoch": 1}
    told["cross_attn_config"] |= {"dropout": options["dropout"], "res_scale_init": 0.01}
    return {**told, **states.nested(state, [*transforms, "cross_attn"])}
