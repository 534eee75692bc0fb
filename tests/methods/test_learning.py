"""Losses and recipes, against their formulas worked out by hand."""

import math

import pytest
import torch

from methods.learning import Stage, dice, focal, state_of


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


def test_a_stage_weighs_its_terms() -> None:
    stage = Stage(epochs=1, batch_size=1, learning_rate=0.1, losses={"a": 2.0, "b": 1.0})
    terms = {"a": torch.tensor(3.0), "b": torch.tensor(1.0), "noted": torch.tensor(100.0)}
    assert float(stage.minimised(terms)) == 7.0
    with pytest.raises(KeyError, match="b"):
        stage.minimised({"a": torch.tensor(3.0)})


def test_focal_smooths_its_targets_from_both_sides() -> None:
    # Where the truth is 0 the abnormal probability enters with 1e-5, and the other way round.
    probabilities = torch.tensor([[[0.25], [4.0]]], dtype=torch.float64)
    seen = 0.25 * (1 - 1e-5) + 4.0 * 1e-5 + 1e-5
    want = -((1 - seen) ** 2) * math.log(seen)
    assert float(focal(probabilities, torch.zeros(1, 1))) == pytest.approx(want, rel=1e-9)
    seen = 4.0 * (1 - 1e-5) + 0.25 * 1e-5 + 1e-5
    want = -((1 - seen) ** 2) * math.log(seen)
    assert float(focal(probabilities, torch.ones(1, 1))) == pytest.approx(want, rel=1e-9)


def test_losses_take_masks_of_integers() -> None:
    probabilities, masks = torch.rand(2, 2, 3, 3), torch.randint(0, 2, (2, 3, 3))
    assert torch.equal(focal(probabilities, masks), focal(probabilities, masks.float()))
    assert torch.equal(dice(probabilities[:, 1], masks.bool()), dice(probabilities[:, 1], masks.float()))


def test_the_state_of_tensors_changes_with_every_write() -> None:
    tensor = torch.zeros(3)
    before = state_of([tensor])
    assert state_of([tensor]) == before
    tensor[0] = 1
    assert state_of([tensor]) != before
    assert state_of([torch.zeros(3)]) != before
    assert state_of([tensor, tensor]) != state_of([tensor])
    assert state_of([torch.zeros(3, device="meta")]) != state_of([torch.zeros(3)])
    with torch.inference_mode():
        assert state_of([torch.zeros(3)])
