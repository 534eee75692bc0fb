"""How each trainable method learns, as its paper has it: the parity tests shorten or override this."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from methods.learning import Cosine, Milestones, Recipe, Stage
from methods.registry import find, keys

LINE = {
    "batch_size": 8,
    "lr": 1e-3,
    "betas": (0.5, 0.999),
    "weight_decay": 0.0,
    "optimiser": torch.optim.Adam,
}
PAPERS: Mapping[str, Mapping[str, Any]] = {
    # VAND: the official train.sh; 3 epochs on MVTec, 15 on VisA, mosaics of MVTec only.
    "vand": {
        **LINE,
        "epochs": {"mvtec": 3, "visa": 15, "btad": 3},
        "losses": {"focal": 1.0, "dice": 1.0},
        "mosaic": {"mvtec": 0.2},
        "mosaic_of": "defects",
    },
    # AnomalyCLIP: the local part of the loss weighs 4.
    "anomalyclip": {
        **LINE,
        "epochs": {"mvtec": 15, "visa": 15},
        "losses": {"focal": 4.0, "dice_abnormal": 4.0, "dice_normal": 4.0, "image": 1.0},
        "mosaic": {},
    },
    # FAPrompt: the authors use the seventh epoch by default.
    "faprompt": {
        **LINE,
        "epochs": {"mvtec": 7, "visa": 7},
        "losses": {
            **dict.fromkeys(("focal", "dice_abnormal", "dice_normal", "image", "image_score", "prior"), 1.0),
            **dict.fromkeys(("focal_prior", "dice_abnormal_prior", "dice_normal_prior"), 0.5),
            "orthogonality": 0.1,
        },
        "mosaic": {},
    },
    # Crane: the official reproduce.sh.
    "crane": {
        **LINE,
        "epochs": {"mvtec": 5, "visa": 5},
        "betas": (0.6, 0.999),
        "losses": {"focal": 2.0, "dice": 2.0, "image": 0.2},
        "mosaic": {},
    },
    # AdaCLIP: AdamW with torch's own weight decay, one image a step.
    "adaclip": {
        "epochs": {"mvtec+cvc_colondb": 5, "visa+cvc_clinicdb": 5},
        "batch_size": 1,
        "lr": 0.01,
        "betas": (0.5, 0.999),
        "weight_decay": 0.01,
        "optimiser": torch.optim.AdamW,
        "losses": {"image": 1.0, "focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0},
        "mosaic": {"mvtec": 0.2},
        "mosaic_of": "all",
    },
    # Tipsomaly: the published files are those of epoch 2.
    "tipsomaly": {
        **LINE,
        "epochs": {"mvtec": 2, "visa": 2},
        "losses": {"focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0},
        "mosaic": {},
    },
}

WHOLE: Mapping[str, Recipe] = {
    # AA-CLIP: train.py; the rate of the second stage is halved twice, after steps, not epochs.
    "aaclip": Recipe(
        stages=(
            Stage(
                name="text",
                learns=("text_adapter.*",),
                epochs=5,
                batch_size=16,
                learning_rate=1e-5,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_normal": 1.0, "dice_abnormal": 1.0, "orthogonal": 0.1},
                augments=True,
            ),
            Stage(
                name="image",
                learns=("image_adapter.*",),
                epochs=20,
                batch_size=2,
                learning_rate=5e-4,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_normal": 1.0, "dice_abnormal": 1.0, "image": 1.0},
                schedule=Milestones((16_000, 32_000), 0.5),
                augments=True,
            ),
        ),
        seed=111,
    ),
    # MRAD: train.py; the tuned variant alone has a schedule, and its maps are the first stage of the third.
    "mrad": Recipe(
        stages=(
            Stage(
                name="maps",
                when={"variant": ("ft",)},
                epochs=1,
                batch_size=8,
                learning_rate=4e-4,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_abnormal": 1.0, "image": 1.0},
                learns=("image_proj.*", "patch_proj.*"),
                schedule=Cosine(floor=1e-6, per="step"),
            ),
            Stage(
                name="maps",
                when={"variant": ("clip",)},
                epochs=1,
                batch_size=8,
                learning_rate=4e-4,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_abnormal": 1.0, "image": 1.0},
                learns=("image_proj.*", "patch_proj.*"),
            ),
            Stage(
                name="prompts",
                when={"variant": ("clip",)},
                epochs=5,
                batch_size=8,
                learning_rate=4e-4,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0},
                learns=("prompt_learner.*", "prompt_proj.*"),
            ),
        ),
        seed=111,
    ),
    # VCP-CLIP: train.py and train.sh; Adam moves the logarithms of the two temperatures faster.
    "vcpclip": Recipe(
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
    ),
    # CoPS: 10 epochs on VisA, 5 on MVTec; `patch`, its map loss, weighs 4.
    "cops": Recipe(
        stages=(
            Stage(
                epochs=10,
                epochs_on={"mvtec": 5},
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.5, 0.999),
                losses={
                    **dict.fromkeys(("focal", "dice_abnormal", "dice_normal"), 4.0),
                    **dict.fromkeys(("image", "gather", "scatter", "kl", "recon"), 1.0),
                },
            ),
        ),
        seed=0,
    ),
    # VisualAD: the authors' shell script; the two tokens ten times faster, falling to the others' rate.
    "visualad": Recipe(
        stages=(
            Stage(
                epochs=1,
                epochs_on={"mvtec": 2},
                batch_size=8,
                learning_rate=1e-4,
                rates={"*_token": 1e-3},
                schedule=Cosine(floor=1e-4, per="epoch"),
                clip={"*_token": 1.0},
                betas=(0.9, 0.999),
                weight_decay=0.01,
                optimiser=torch.optim.AdamW,
                losses={"focal": 1.0, "dice": 1.0, "image": 1.0, "relation": 1.0},
            ),
        ),
        seed=111,
    ),
}
"""Recipes of more than `LINE` says."""


def as_trained(recipe: Recipe, paper: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the recipe comes to in the words of `PAPERS`, the optimiser as it is built."""
    (stage,) = recipe.stages
    optimiser = stage.make_optimiser({"anything": torch.nn.Parameter(torch.zeros(1))})
    (group,) = optimiser.param_groups
    told = {
        "epochs": {source: stage.epochs_for(source) for source in paper["epochs"]},
        "batch_size": stage.batch_size,
        "lr": group["lr"],
        "betas": tuple(group["betas"]),
        "weight_decay": group["weight_decay"],
        "eps": group["eps"],
        "amsgrad": group["amsgrad"],
        "optimiser": type(optimiser),
        "losses": dict(stage.losses),
        "mosaic": dict(stage.mosaic),
        "seed": recipe.seed,
    }
    return told | ({"mosaic_of": stage.mosaic_of} if paper["mosaic"] else {})


@pytest.mark.parametrize("method", PAPERS)
def test_the_recipe_is_the_papers(method: str) -> None:
    recipe, paper = find(method).recipe, PAPERS[method]
    assert recipe is not None
    assert as_trained(recipe, paper) == {**paper, "eps": 1e-8, "amsgrad": False, "seed": 111}


@pytest.mark.parametrize("method", PAPERS)
def test_nothing_else_is_in_the_recipe(method: str) -> None:
    """No schedule, no clipping, no part that learns otherwise: what a paper does not say is not done."""
    recipe = find(method).recipe
    assert recipe is not None
    (stage,) = recipe.stages
    assert (stage.learns, stage.schedule, stage.augments) == (("*",), None, False)
    assert not any((stage.rate_on, stage.rates, stage.clip, stage.when, stage.name))
    assert set(stage.epochs_on) == ({"visa"} if method == "vand" else set())


@pytest.mark.parametrize("method", WHOLE)
def test_a_longer_recipe_is_the_papers(method: str) -> None:
    assert find(method).recipe == WHOLE[method]


def test_every_recipe_is_held_against_its_paper() -> None:
    assert PAPERS.keys() | WHOLE.keys() == {key for key in keys() if find(key).recipe is not None}
