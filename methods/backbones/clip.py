"""CLIP as the installed open_clip builds it: its towers taken apart from outside, never changed.

Every hidden state here is (B, tokens, width). The blocks of both towers: `methods.backbones.blocks`.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from PIL import Image
from torch import Tensor, nn

from methods import states
from methods.backbones.blocks import Hook, run_blocks
from methods.fill import filled
from methods.maps import resize_positions
from methods.pictures import NetworkInput, unstandardise
from methods.weights import HubFile, WeightFile

Config = str | Mapping[str, Any]
"""A name of open_clip's model registry, `mini`, or {embed_dim, vision_cfg, text_cfg} as open_clip has it."""

MINI: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 140, "patch_size": 14, "width": 128, "layers": 6, "head_width": 32},
    "text_cfg": {"width": 64, "heads": 2, "layers": 6, "context_length": 77, "vocab_size": 49408},
}
"""A small network of CLIP's shape for demonstrations and tests; its weights are in `backbones/mini`."""

_RELEASE = "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights"
_OPENAI_336 = "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"
_E31_ON_HUB = HubFile(
    "timm/vit_base_patch16_plus_clip_240.laion400m_e31",
    "open_clip_pytorch_model.bin",
    sha256="fa8eec9aff58e9215b9b44a977038179712694d3fc3a73eba62546bcff13deb3",  # as reproducers recorded it
)


def _laion(epoch: str, digits: str, hub: HubFile | None = None) -> WeightFile:
    name = f"vit_b_16_plus_240-laion400m_{epoch}-{digits}.pt"
    url, licence = f"{_RELEASE}/{name}", "MIT (open_clip)"
    return WeightFile(f"clip/{name}", url, rough_size=834_000_000, sha256=digits, hub=hub, licence=licence)


FILES = {
    "mini": WeightFile("clip/mini.safetensors", by_hand="get it by `run_bench.py weights --fetch`"),
    "ViT-L-14-336": WeightFile(
        name="clip/ViT-L-14-336px.pt",
        url=f"https://openaipublic.azureedge.net/clip/models/{_OPENAI_336}/ViT-L-14-336px.pt",
        rough_size=900_000_000,
        sha256=_OPENAI_336,
        hub=HubFile("timm/vit_large_patch14_clip_336.openai", "open_clip_model.safetensors"),
        licence="MIT (OpenAI)",
    ),
    "ViT-B-16-plus-240": _laion("e31", "8fb26589", _E31_ON_HUB),
    "ViT-B-16-plus-240-e32": _laion("e32", "699c4b84"),  # open_clip's repository for it holds e31
}
"""Values of the methods' option `backbone`, and the weights each stands for."""

# Entries of old archives that are constants, not weights.
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_ARCHITECTURES = {"ViT-B-16-plus-240-e32": "ViT-B-16-plus-240"}


def file(backbone: str, others: Sequence[str] = ()) -> WeightFile:
    """Return the weight file of `backbone`; raises `ValueError` with the nearest there is, or of `others`."""
    if backbone not in FILES:
        near = difflib.get_close_matches(backbone, (*FILES, *others), n=1, cutoff=0.0)
        raise ValueError(f"there is no CLIP backbone {backbone!r}; did you mean {near[0]!r}?")
    return FILES[backbone]


def architecture(config: Config) -> dict[str, Any]:
    """Return the constructor arguments of `open_clip.CLIP` for `config`, without the activation."""
    if isinstance(config, str):
        name = _ARCHITECTURES.get(config, config)
        found = MINI if name == "mini" else open_clip.get_model_config(name)
        if found is None:
            raise ValueError(f"open_clip has no model {config!r}; `mini` or one of open_clip.list_models()")
        config = found
    return {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}


def blank(config: Config) -> dict[str, Tensor]:
    """Return the names and shapes of a CLIP's weights, as tensors without storage (device "meta")."""
    return skeleton(config, quick_gelu=False).state_dict()


def skeleton(config: Config, *, quick_gelu: bool) -> open_clip.CLIP:
    """Return a CLIP without storage (device "meta"); raises `ValueError` for one without a plain ViT."""
    model = _built(json.dumps(architecture(config)), quick_gelu)
    if not isinstance(model.visual, VisionTransformer):
        raise ValueError(f"{config!r} is not a CLIP with a plain vision transformer")
    return copy.deepcopy(model)


@lru_cache(maxsize=16)
def _built(config: str, quick_gelu: bool) -> open_clip.CLIP:
    # Without storage, but open_clip draws every initial weight all the same: a copy takes a third as long.
    with torch.device("meta"):
        return open_clip.CLIP(**json.loads(config), quick_gelu=quick_gelu)


def build(
    config: Config, state: Mapping[str, Tensor], *, quick_gelu: bool, origin: str | Path = "weights"
) -> open_clip.CLIP:
    """Build a frozen float32 CLIP in eval mode with the weights `state`.

    `quick_gelu` decides the activation of both towers, whatever the weights were trained with: the
    papers differ in it on the same weights. Raises `ValueError` naming `origin` unless the names and
    shapes of `state` are exactly the model's.
    """
    model = skeleton(config, quick_gelu=quick_gelu)
    wanted = model.state_dict()
    state = dict(state)
    scale = state.get("logit_scale")
    if scale is not None and scale.numel() == 1:  # stored as a scalar or as one row
        state["logit_scale"] = scale.reshape(wanted["logit_scale"].shape)
    states.check(state, wanted, origin)
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True, assign=True)
    # The causal mask is no weight: outside the "meta" device it has to be made again.
    length = model.context_length
    model.register_buffer("attn_mask", torch.full((length, length), float("-inf")).triu_(1), persistent=False)
    activation = QuickGELU if quick_gelu else nn.GELU
    for block in [*model.visual.transformer.resblocks, *model.transformer.resblocks]:
        if type(block.mlp.gelu) is not activation:
            raise RuntimeError(f"open_clip built {type(block.mlp.gelu).__name__}, not {activation.__name__}")
    return model.eval().requires_grad_(False)


def load(config: Config, path: Path, *, quick_gelu: bool) -> open_clip.CLIP:
    """`build` with the weights in the file `path`, see `read_state`; loading is strict."""
    return build(config, read_state(path), quick_gelu=quick_gelu, origin=path)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read CLIP weights as OpenAI, open_clip or this suite writes them; `ValueError` names a bad file."""
    state = states.unwrap(states.read(path), "state_dict", path)
    named = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in named.items() if name not in _NOT_WEIGHTS}


def write_untrained(config: Config, path: Path, seed: int) -> None:
    """Write untrained weights (`methods.fill`, open_clip's names) to `path`, a plain state dict."""
    states.write(filled(blank(config), seed), path)


# --- text ---------------------------------------------------------------------------------------


def tokenize(texts: Sequence[str]) -> Tensor:
    """Return CLIP's token ids (n, 77), int64: start, words, end (the largest id), zeros."""
    return torch.cat([_tokens(text) for text in texts])


@lru_cache(maxsize=8192)
def _tokens(text: str) -> Tensor:
    # (1, 77). Methods ask for each other's sentences, and open_clip cleans every word of them each time.
    tokens: Tensor = open_clip.tokenize([text])
    return tokens


def trimmed(tokens: Tensor, at_least: int = 0) -> Tensor:
    """Cut the padding behind the longest text, keeping `at_least` positions.

    The text tower is causal, so what follows the end token changes nothing that is read.
    """
    return tokens[:, : max(int(tokens.argmax(dim=-1).max()) + 1, at_least)]


def text_pass(
    model: open_clip.CLIP,
    tokens: Tensor,
    *,
    embeddings: Tensor | None = None,
    before: Hook | None = None,
    after: Hook | None = None,
    projected: bool = True,
) -> Tensor:
    """Run the text tower on ids (n, T), T <= 77: un-normalised embeddings (n, E) read at the end token.

    `embeddings` (n, T, W) replaces the token embeddings (position embedding not yet added); `before` and
    `after` may change hidden positions around a block. Not `projected`: (n, W), after the last layer norm.
    """
    length = tokens.shape[1]
    hidden = model.token_embedding(tokens) if embeddings is None else embeddings
    hidden = hidden + model.positional_embedding[:length]
    mask = model.attn_mask[:length, :length]
    hidden, _ = run_blocks(model.transformer.resblocks, hidden, before=before, after=after, mask=mask)
    ends = model.ln_final(hidden[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=-1)])
    return ends @ model.text_projection if projected else ends


@torch.inference_mode(False)
@torch.no_grad()
def encode_text(model: open_clip.CLIP, texts: Sequence[str], *, chunk: int = 64) -> Tensor:
    """Return the un-normalised embeddings (n, E) of sentences, float32.

    Repeated sentences are encoded once. The result may be kept and used in training.
    """
    unique = list(dict.fromkeys(texts))
    device = model.positional_embedding.device
    parts = [
        text_pass(model, trimmed(tokenize(unique[start : start + chunk])).to(device))
        for start in range(0, len(unique), chunk)
    ]
    return torch.cat(parts)[[unique.index(text) for text in texts]]


# --- images -------------------------------------------------------------------------------------


def network_input(size: int) -> NetworkInput:
    """Return CLIP's input: squashed to (size, size), Pillow's bicubic, with CLIP's mean and deviation.

    All CLIP-based papers do this; open_clip's own transform keeps the aspect ratio and crops.
    """
    return NetworkInput(
        size, Image.Resampling.BICUBIC, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    )


def pixels(images: Tensor) -> Tensor:
    """Return the pixels (B, 3, S, S) in [0, 1] that network inputs (B, 3, S, S) were made of."""
    return unstandardise(images, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD).clamp(0, 1)


def grid_of(model: open_clip.CLIP, size: int) -> tuple[int, int]:
    """Return the (rows, columns) of patches of a square input; a remainder of pixels is dropped."""
    height, width = model.visual.patch_size
    if size < max(height, width):
        raise ValueError(f"image_size {size} is smaller than one patch of {height} x {width}")
    return size // height, size // width


def positions(model: open_clip.CLIP, size: int, *, mode: str = "bicubic", antialias: bool = True) -> Tensor:
    """Return the position embedding (1 + N, W) for a square input, resized from the pretrained one."""
    return resize_positions(
        model.visual.positional_embedding, grid_of(model, size), mode=mode, antialias=antialias
    )


def vision_blocks(model: open_clip.CLIP) -> list[ResidualAttentionBlock]:
    """Return the blocks of the image tower."""
    return list(model.visual.transformer.resblocks)


def embed_image(model: open_clip.CLIP, images: Tensor, positions: Tensor) -> Tensor:
    """Return what enters the first block, ln_pre applied: (B, 1 + N, W), class token first, rows first."""
    visual = model.visual
    patches = visual.conv1(images).flatten(2).mT.to(positions.dtype)  # the residual stream is never halved
    classes = visual.class_embedding.expand(len(patches), 1, -1)
    return visual.ln_pre(torch.cat([classes, patches], dim=1) + positions)


def project(model: open_clip.CLIP, tokens: Tensor, *, norm: bool = True) -> Tensor:
    """Bring vision tokens (..., W) into the joint space (..., E): ln_post if `norm`, then the projection."""
    return (model.visual.ln_post(tokens) if norm else tokens) @ model.visual.proj
