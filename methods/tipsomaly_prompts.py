"""Tipsomaly's words: its sentences, its learned rows, and the files these are kept in."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from methods import states
from methods.backbones.tips import MAX_TOKENS
from methods.prompts import ABNORMAL_STATES, NORMAL_STATES, SHORT_TEMPLATES, PromptEnsemble
from methods.weights import WeightFile

MEDICAL_NORMAL = (
    "normal {}",
    "intact {}",
    "{} with uniform structure",
    "{} showing clear tissue",
    "{} with normal anatomy",
    "{} showing no distortion",
    "{} with symmetric appearance",
    "{} looking normal",
    "{} with even texture",
    "{} with regular shape",
)
MEDICAL_ABNORMAL = (
    "abnormal {}",
    "{} with spot",
    "{} with abnormality",
    "diseased {}",
    "{} showing distortion",
    "{} with irregular area",
    "{} with irregular shape",
    "{} with uneven texture",
)
MEDICAL_TEMPLATES = (
    "a medical image of a {}.",
    "a medical image of the {}.",
    "a diagnostic scan of a {}.",
    "a diagnostic scan of the {}.",
    "a slice showing a {}.",
    "a slice showing the {}.",
    "a scan of the {}.",
    "a clinical brain scan of a {}.",
)
# The templates of the authors' snapshots from September 2025 to January 2026.
PHOTO_TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a cropped photo of a {}.",
    "a cropped photo of the {}.",
    "a close-up photo of a {}",
    "a close-up photo of the {}",
    "a photo of the {} for visual inspection",
    "a photo of a {} for visual inspection",
)
ENSEMBLES = {
    "industrial": PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, SHORT_TEMPLATES),
    "medical": PromptEnsemble(MEDICAL_NORMAL, MEDICAL_ABNORMAL, MEDICAL_TEMPLATES),
    "object_agnostic": PromptEnsemble(("{}",), ("damaged {}",), ("{}",)),
    "industrial_photo": PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, PHOTO_TEMPLATES),
}
LEARNING = ("concat", "sumate", "entire_learnable", "none")

_REPOSITORY = "AlirezaSalehy/Tipsomaly/7eb43a7a5c1863166ea65efa7749e8c3b8d21ed6"
_OFFICIAL = {  # epoch 2, the paper's: sha256 and git blob id
    "mvtec": (
        "15546df6300fe8d9e272ee6cba5844f78bf2e1579d69eaf3fdf4f4c81b7a5fbb",
        "54dd256efc3eb8eb3e86ac7b22a8a310bf464ee7",
    ),
    "visa": (
        "9758adc7e1303ffe991c0ab0052e26067d120b8036a864c9fd9aabc8212ac055",
        "4435db85fe559321317bb63c332994f04764ad45",
    ),
}


def join(method: str, rows: Tensor, tokens: Tensor, paddings: Tensor) -> tuple[Tensor, Tensor]:
    """Join learned rows (n, D) with embedded sentences (B, T, D), as the paper's options have it."""
    if method == "sumate":
        count = min(len(rows), tokens.shape[1])
        return torch.cat([tokens[:, :count] + rows[:count], tokens[:, count:]], dim=1), paddings
    learned = rows.expand(len(tokens), -1, -1)
    present = paddings.new_zeros(learned.shape[:2])
    if method == "entire_learnable":
        return learned, present
    joined = torch.cat([learned, tokens], dim=1), torch.cat([present, paddings], dim=1)
    return joined[0][:, :MAX_TOKENS], joined[1][:, :MAX_TOKENS]


def fresh_prompts(count: int, width: int, seed: int) -> list[Tensor]:
    """Return the (normal, abnormal) rows (count, width) that training begins with: N(0, 0.02^2)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=generator) * 0.02 for _ in range(2)]


def learned_file(source: str, backbone: str, method: str, count: int) -> WeightFile:
    """Return the file of `count` rows learned on `source`; the authors published those of the default."""
    kind = "" if (method, count) == ("concat", 8) else f"{method}{count}/"
    if source in _OFFICIAL and backbone == "l14" and not kind:
        sha256, git_sha1 = _OFFICIAL[source]
        folder = f"workspaces/trained_on_{source}_default/vegan-arkansas/checkpoints"
        return WeightFile(
            f"tipsomaly/trained_on_{source}/learnable_params_2.pth",
            url=f"https://raw.githubusercontent.com/{_REPOSITORY}/{folder}/learnable_params_2.pth",
            size=67738,
            sha256=sha256,
            git_sha1=git_sha1,
            licence="MIT",
        )
    settings = {"backbone": backbone, "prompt_learning": method, "n_prompt": count}
    command = f"python run_bench.py train --methods tipsomaly --source {source}" + "".join(
        f" --set {name}={value}" for name, value in settings.items()
    )
    return WeightFile(
        f"tipsomaly/{backbone}/{kind}trained_on_{source}.safetensors",
        by_hand=f"nobody published these prompts; `{command}` makes them",
    )


def read_prompts(path: Path, count: int, width: int) -> list[Tensor]:
    """Return the (normal, abnormal) prompts, float32 (count, width), of an official `.pth` or our own file.

    Official files hold a `ParameterList`, bare or under "learnable_prompts". Nothing else is unpickled:
    `ValueError` for any other content, and for another shape.
    """
    with torch.serialization.safe_globals([nn.ParameterList]):
        content = states.read(path)
    if isinstance(content, dict) and "learnable_prompts" in content:
        content = content["learnable_prompts"]
    if isinstance(content, dict):
        content = [content.get("learnable_prompts.0"), content.get("learnable_prompts.1")]
    found = list(content) if isinstance(content, list | nn.ParameterList) else []
    if [tuple(getattr(rows, "shape", ())) for rows in found] != [(count, width)] * 2:
        raise ValueError(
            f"{path} does not hold two prompts of shape {(count, width)}; they belong to another model,"
            f" or to another n_prompt"
        )
    return [rows.detach().float() for rows in found]


def write_prompts(path: Path, prompts: Sequence[Tensor]) -> None:
    """Write (normal, abnormal) prompts: `.safetensors` as a flat state dict, `.pth` as the official code."""
    if path.suffix == ".safetensors":
        states.write({f"learnable_prompts.{state}": rows for state, rows in enumerate(prompts)}, path)
    else:
        states.write({"learnable_prompts": nn.ParameterList(prompts)}, path)
