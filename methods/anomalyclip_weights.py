"""What AnomalyCLIP learns: names, shapes, beginnings, and the files it is published in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods import states
from methods.backbones import clip
from methods.fill import filled
from methods.weights import WeightFile

_REPOSITORY = "https://raw.githubusercontent.com/zqhang/AnomalyCLIP"
_CHECKPOINTS = f"{_REPOSITORY}/45ed4dd35c05797d854294b5e8d585c545920089/checkpoints"
# The publisher's folder suffix names the target, not the training data; our names say what was learned from.
_PUBLISHED = {
    "visa": ("9_12_4_multiscale", "c90f1d9d92d158b436a8fc193f984d4cec8b1fc8"),
    "mvtec": ("9_12_4_multiscale_visa", "72adc786e031b49ea288ba5f815f0d38cf158708"),
}


def learned_file(options: Mapping[str, Any], defaults: Mapping[str, Any], source: str | None) -> WeightFile:
    """Return the file of the prompts learned on `source`; the authors published two of the default sizes."""
    backbone = options["backbone"]
    sizes = {name: options[name] for name in ("depth", "n_ctx", "t_n_ctx")}
    usual = sizes.items() <= defaults.items()
    if source in _PUBLISHED and usual and backbone == defaults["backbone"]:
        folder, digest = _PUBLISHED[source]
        return WeightFile(
            name=f"anomalyclip/{backbone}/trained_on_{source}_epoch_15.pth",
            url=f"{_CHECKPOINTS}/{folder}/epoch_15.pth",
            git_sha1=digest,
            licence="MIT",
        )
    kind = "" if usual else "_".join(map(str, sizes.values())) + "/"
    return WeightFile(
        name=f"anomalyclip/{backbone}/{kind}trained_on_{source}.safetensors",
        by_hand=f"train it: python run_bench.py train --methods anomalyclip --source {source}",
    )


def prompt_tokens(n_ctx: int) -> Tensor:
    """Return the token ids (2, 77) of the normal and the abnormal prompt, with placeholders."""
    return clip.tokenize([f"{'X ' * n_ctx}object.", f"{'X ' * n_ctx}damaged object."])


def blank(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return names and shapes of what is learned, for CLIP's state dict `backbone`; without storage."""
    width = backbone["token_embedding.weight"].shape[1]
    shapes: dict[str, tuple[int, ...]] = {}
    shapes["ctx_pos"] = shapes["ctx_neg"] = (1, 1, options["n_ctx"], width)
    for index in range(options["depth"] - 1):
        shapes[f"compound_prompts_text.{index}"] = (options["t_n_ctx"], width)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def fresh(options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the prompts that training begins with: N(0, 0.02^2)."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.02 * torch.randn(each.shape, generator=generator)
        for name, each in blank(options, backbone).items()
    }


def read_prompts(path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read learned prompts from the publisher's `.pth` or from a flat state dict of them alone.

    Raises `ValueError` naming the file unless names, shapes and the prompts' token ids are as expected.
    """
    state = states.unwrap(states.read(path), "prompt_learner", path)
    backbone = clip.blank(options["backbone"])
    wanted = blank(options, backbone)
    if any(name.startswith("token") for name in state):
        copies = _copies(options, backbone)
        states.check(state, {**wanted, **_projections(options, backbone), **copies}, path)
        for name in ("tokenized_prompts_pos", "tokenized_prompts_neg"):
            if not torch.equal(state[name].int(), copies[name]):
                raise ValueError(f"{path}: {name} are not the words of this prompt; fetch the file again")
        state = {name: state[name] for name in wanted}
    states.check(state, wanted, path)
    return state


def write_untrained(path: Path, options: Mapping[str, Any], seed: int) -> None:
    """Write filled prompts: `.safetensors` as a flat state dict, else with all that published files hold."""
    backbone = clip.blank(options["backbone"])
    if path.suffix == ".safetensors":
        states.write(filled(blank(options, backbone), seed), path)
        return
    words = filled({"token_embedding.weight": backbone["token_embedding.weight"]}, seed)
    parts = filled({**blank(options, words), **_projections(options, words)}, seed)
    states.write({"prompt_learner": {**parts, **_copies(options, words)}}, path)


def _projections(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return names and shapes of projections that published files hold and nothing ever uses."""
    width = backbone["token_embedding.weight"].shape[1]
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(options["depth"] - 1):
        shapes[f"compound_prompt_projections.{index}.weight"] = (896, width)
        shapes[f"compound_prompt_projections.{index}.bias"] = (896,)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _copies(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what published files copy from CLIP: token ids, and the embeddings of the fixed tokens."""
    copies = {}
    for state, tokens in zip(("pos", "neg"), prompt_tokens(options["n_ctx"]), strict=True):
        embedded = backbone["token_embedding.weight"][tokens][None, None]
        copies[f"token_prefix_{state}"] = embedded[:, :, :1].clone()
        copies[f"token_suffix_{state}"] = embedded[:, :, 1 + options["n_ctx"] :].clone()
        copies[f"tokenized_prompts_{state}"] = tokens.int()[None, None]
    return copies
