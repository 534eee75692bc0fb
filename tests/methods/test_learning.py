"""Losses and recipes, against their formulas worked out by hand."""

import math
from typing import Any

import pytest
import torch

from methods.learning import Cosine, Milestones, Recipe, Stage, dice, focal, state_of


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


# ---- stages


def stage(**changes: Any) -> Stage:
    usual = {"epochs": 2, "batch_size": 4, "learning_rate": 0.1, "losses": {"a": 1.0}}
    return Stage(**{**usual, **changes})


def tensors() -> dict[str, torch.nn.Parameter]:
    return {name: torch.nn.Parameter(torch.ones(2)) for name in ("ctx.normal", "ctx.abnormal", "head.weight")}


def rates_of(
    optimiser: torch.optim.Optimizer | None, learned: dict[str, torch.nn.Parameter]
) -> dict[str, float]:
    assert optimiser is not None
    names = {id(parameter): name for name, parameter in learned.items()}
    return {names[id(each)]: group["lr"] for group in optimiser.param_groups for each in group["params"]}


def test_what_is_not_said_is_adams_own() -> None:
    optimiser = stage().make_optimiser(tensors())
    assert type(optimiser) is torch.optim.Adam
    (group,) = optimiser.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.9, 0.999), 0.0)
    assert Recipe((stage(),)).seed == 0


def test_weight_decay_and_betas_reach_the_optimiser() -> None:
    changed = stage(weight_decay=0.3, betas=(0.1, 0.2), optimiser=torch.optim.AdamW)
    optimiser = changed.make_optimiser(tensors())
    assert type(optimiser) is torch.optim.AdamW
    assert all(
        (group["weight_decay"], group["betas"]) == (0.3, (0.1, 0.2)) for group in optimiser.param_groups
    )


def test_a_stage_trains_what_its_patterns_name() -> None:
    learned = tensors()
    assert list(stage().trained(learned)) == list(learned)
    assert list(stage(learns=("ctx.*",)).trained(learned)) == ["ctx.normal", "ctx.abnormal"]
    assert list(stage(learns=("head.*", "ctx.n*")).trained(learned)) == ["ctx.normal", "head.weight"]
    assert rates_of(stage(learns=("head.*",)).make_optimiser(learned), learned) == {"head.weight": 0.1}
    assert stage(learns=("nothing",)).make_optimiser(learned) is None


def test_rates_follow_source_and_name() -> None:
    learned = tensors()
    own = stage(rate_on={"visa": 0.2}, rates={"head.*": 0.5, "*": 0.1}, learns=("*",))
    assert rates_of(own.make_optimiser(learned, "visa"), learned) == {
        "ctx.normal": 0.1, "ctx.abnormal": 0.1, "head.weight": 0.5
    }  # fmt: skip
    by_source = stage(rate_on={"visa": 0.2}, rates={"head.*": 0.5})
    assert set(rates_of(by_source.make_optimiser(learned, "visa"), learned).values()) == {0.2, 0.5}
    assert set(rates_of(by_source.make_optimiser(learned, "mvtec"), learned).values()) == {0.1, 0.5}
    assert [group["base"] for group in by_source.make_optimiser(learned, "visa").param_groups] == [0.2, 0.5]


def test_epochs_follow_the_source() -> None:
    changed = stage(epochs_on={"visa": 15})
    assert (changed.epochs_for("visa"), changed.epochs_for("mvtec")) == (15, 2)


def test_a_cosine_falls_to_its_floor() -> None:
    by_step = Cosine(0.1, "step")
    assert by_step(1.1, 0, 5, 2) == pytest.approx(1.1)
    assert by_step(1.1, 5, 5, 2) == pytest.approx(0.6)
    assert by_step(1.1, 10, 5, 2) == pytest.approx(0.1)
    assert by_step(1.1, 1, 5, 2) == pytest.approx(0.1 + (1 + math.cos(math.pi / 10)) / 2)
    by_epoch = Cosine(0.0, "epoch")
    assert [by_epoch(1.0, step, 5, 4) for step in (0, 4)] == [1.0, 1.0]
    assert by_epoch(1.0, 5, 5, 4) == by_epoch(1.0, 9, 5, 4) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_milestones_multiply_from_their_step_on() -> None:
    schedule = Milestones((3, 5), 0.5)
    assert [schedule(8.0, step, 100, 1) for step in (0, 2, 3, 4, 5, 9)] == [8, 8, 4, 4, 2, 2]


def test_a_schedule_moves_every_group_from_its_own_base() -> None:
    learned = tensors()
    changed = stage(rates={"head.*": 0.5}, schedule=Milestones((2,), 0.1))
    optimiser = changed.make_optimiser(learned)
    assert optimiser is not None
    for step, factor in ((0, 1), (2, 0.1), (1, 1)):
        changed.set_rates(optimiser, step, 10, 2)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx(
            [0.1 * factor, 0.5 * factor]
        )
    constant = stage()
    constant.set_rates(optimiser, 5, 10, 2)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.1, 0.5])


def test_each_tensors_gradient_is_clipped_on_its_own() -> None:
    learned = tensors()
    for name, parameter in learned.items():
        parameter.grad = torch.tensor([3.0, 4.0]) if name != "ctx.abnormal" else None
    stage(clip={"ctx.*": 1.0}).clip_gradients(learned)
    torch.testing.assert_close(learned["ctx.normal"].grad, torch.tensor([0.6, 0.8]), atol=1e-5, rtol=0)
    assert torch.equal(learned["head.weight"].grad, torch.tensor([3.0, 4.0]))


def test_stages_take_place_under_their_options() -> None:
    always, some = stage(), stage(when={"mode": ("a", "b"), "deep": (True,)})
    recipe = Recipe((always, some))
    assert recipe.stages_for({"mode": "b", "deep": True}) == (always, some)
    assert recipe.stages_for({"mode": "b", "deep": False}) == (always,)
    assert recipe.stages_for({"mode": "c", "deep": True}) == (always,)
