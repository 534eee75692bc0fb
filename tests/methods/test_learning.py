"""Losses and recipes, against their formulas worked out by hand."""

import math

import pytest
import torch

from methods.learning import Recipe, dice, focal


def test_focal_of_single_pixels() -> None:
    # One pixel each: probability of the truth 0.7 and 0.2, smoothed by 1e-5.
    maps = torch.tensor([[[[0.7]], [[0.3]]], [[[0.8]], [[0.2]]]])
    masks = torch.tensor([[[0]], [[1]]])
    want = 0.0
    for truth, other in ((0.7, 0.3), (0.2, 0.8)):
        seen = truth * (1 - 1e-5) + other * 1e-5 + 1e-5
        want += -((1 - seen) ** 2) * math.log(seen) / 2
    assert float(focal(maps, masks)) == pytest.approx(want, rel=1e-5)


def test_focal_is_finite_at_certain_errors() -> None:
    maps = torch.tensor([[1.0, 0.0]])[..., None, None].requires_grad_(True)
    loss = focal(maps, torch.ones(1, 1, 1))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(2e-5), rel=1e-3)
    assert torch.isfinite(maps.grad).all()


def test_dice_is_averaged_over_images_not_pooled() -> None:
    maps = torch.tensor([[[1.0, 0.5]], [[0.0, 0.25]]])
    masks = torch.tensor([[[1, 0]], [[0, 0]]])
    want = 1 - (3 / 3.5 + 1 / 1.25) / 2
    assert float(dice(maps, masks)) == pytest.approx(want)


def test_recipe_weighs_its_terms() -> None:
    recipe = Recipe(epochs=1, batch_size=1, learning_rate=0.1, losses={"a": 2.0, "b": 1.0})
    terms = {"a": torch.tensor(3.0), "b": torch.tensor(1.0), "noted": torch.tensor(100.0)}
    assert float(recipe.minimised(terms)) == 7.0
    with pytest.raises(KeyError, match="b"):
        recipe.minimised({"a": torch.tensor(3.0)})
