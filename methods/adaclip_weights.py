"""What AdaCLIP learns: names, shapes, beginnings, and the files it is published in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods import states
from methods.weights import WeightFile

_MIRROR = "https://huggingface.co/cubert-gmbh/adaclip/resolve/16153b4ba74c2fe54a99679fc2e1b1e29993dc3f"
_DRIVE = "https://drive.google.com/file/d"
_PUBLISHED = {  # source: file, its id at the authors' drive, SHA-256 as the mirror's owners state it
    "mvtec+cvc_colondb": (
        "pretrained_mvtec_colondb.pth",
        "1xVXANHGuJBRx59rqPRir7iqbkYzq45W0",
        "be51a42c052bd4cf060e54f503a1f5d0b2a3b899bc8dc2e243042f18b215427e",
    ),
    "visa+cvc_clinicdb": (
        "pretrained_visa_clinicdb.pth",
        "1QGmPB0ByPZQ7FucvGODMSz7r5Ke5wx9W",
        "3deabbbaf1e412cfdfcb42923a500b986f4b9ee96ccbc7a735d89dbc87df44c8",
    ),
}
_ALL_PROMPTS = {"prompting_branch": "VL", "prompting_type": "SD"}


def learned_file(options: Mapping[str, Any], defaults: Mapping[str, Any], source: str | None) -> WeightFile:
    """Return the file of what was learned on `source` with the options; the authors published two.

    A published file serves every choice among its prompts. Own ones are kept apart by what they learned.
    """
    backbone = options["backbone"]
    sizes = {name: options[name] for name in ("prompting_depth", "prompting_length")}
    if source in _PUBLISHED and {"backbone": backbone, **sizes}.items() <= defaults.items():
        file, drive, digest = _PUBLISHED[source]
        return WeightFile(
            name=f"adaclip/{backbone}/trained_on_{source}.pth",
            url=f"{_MIRROR}/{file}",
            sha256=digest,
            digest_is_hearsay=True,
            by_hand=f"{file} from the authors' drive, {_DRIVE}/{drive}/view",
            licence="none stated; the code is MIT",
        )
    learned = {**sizes, **{name: options[name] for name in _ALL_PROMPTS}}
    usual = learned.items() <= defaults.items()
    kind = "" if usual else "_".join(str(value) or "none" for value in learned.values()) + "/"
    return WeightFile(
        name=f"adaclip/{backbone}/{kind}trained_on_{source}.safetensors",
        by_hand=f"train it: python run_bench.py train --methods adaclip --source {source}",
    )


def learned_shapes(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return published names and shapes of what the options learn, for CLIP's state dict `backbone`."""
    wide, joint = backbone["visual.proj"].shape
    towers = {"L": ("text", backbone["text_projection"].shape[0]), "V": ("visual", wide)}
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inner: int, outer: int) -> None:
        shapes[f"clip_model.{name}.weight"] = (outer, inner)
        shapes[f"clip_model.{name}.bias"] = (outer,)

    for tower, width in (towers[letter] for letter in options["prompting_branch"]):
        if "S" in options["prompting_type"]:
            for block in range(options["prompting_depth"]):
                name = f"clip_model.{tower}_prompter.static_prompts.{block}"
                shapes[name] = (options["prompting_length"], width)
        if "D" in options["prompting_type"]:
            for token in range(options["prompting_length"]):
                linear(f"dynamic_{tower}_prompt_generator.head.{token}", joint, width)
    for level in range(len(options["layers"])):
        linear(f"patch_token_layer.head.{level}", wide, joint)
    linear("cls_token_layer.head.0", joint, joint)
    return shapes


def blank(
    options: Mapping[str, Any], backbone: Mapping[str, Tensor], *, all_prompts: bool = False
) -> dict[str, Tensor]:
    """Return `learned_shapes` as tensors without storage; `all_prompts` as in the published files."""
    shapes = learned_shapes({**options, **_ALL_PROMPTS} if all_prompts else options, backbone)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def check(
    learned: Mapping[str, Tensor],
    options: Mapping[str, Any],
    backbone: Mapping[str, Tensor],
    origin: str | Path,
) -> None:
    """Raise `ValueError` naming `origin` unless `learned` fits; it may hold prompts the options leave out."""
    needed, every = learned_shapes(options, backbone), blank(options, backbone, all_prompts=True)
    states.check(learned, {name: every[name] for name in every if name in {*needed, *learned}}, origin)


def fresh(options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return what training begins with: static prompts N(0, 0.02^2), linear layers as torch has them."""
    generator, shapes = torch.Generator().manual_seed(seed), learned_shapes(options, backbone)
    tensors = {}
    for name, shape in shapes.items():
        if "static_prompts" in name:
            tensors[name] = 0.02 * torch.randn(shape, generator=generator)
        else:
            inner = shapes[name.removesuffix("bias").removesuffix("weight") + "weight"][1]
            tensors[name] = torch.empty(shape).uniform_(-(inner**-0.5), inner**-0.5, generator=generator)
    return tensors
