"""What holds for every method on its small backbone: batches, names, training, files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from methods import states
from methods.base import Prediction, TrainingBatch, ZeroShotDetector
from methods.registry import card, find, keys
from tests.methods.conftest import Mini, unlike_inputs

MINI = [key for key in keys() if "mini" in card(key).presets]
LEARNING = [key for key in MINI if card(key).learns]
NAMES = ["metal_nut", "bottle", "metal_nut", "01"]
BY_NAME = {"aaclip", "adaclip", "clip", "tipsomaly", "vand", "winclip"}
"""Those whose answers depend on the object's name."""
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((key, {}) for key in MINI if not find(key).transductive),
    ("crane", {"image_context": True}),
    ("faprompt", {"prior": "top"}),
    ("mrad", {"variant": "tf"}),
    ("mrad", {"variant": "ft"}),
    ("adaclip", {"prompting_type": "S"}),
    ("tipsomaly", {"prompt_learning": "none"}),
]
TRAINED = [
    (key, options)
    for key, options in VARIANTS
    if card(key).learns and options.get("prompt_learning") != "none"
]
UNMOVED = {
    "adaclip": {"clip_model.text_prompter.static_prompts.0"},  # replaced by the dynamic ones
    # Biases of keys, which add one number to all that a softmax sees; and no patch here is like a defect.
    "mrad": {"patch_proj.fc.1.bias", "image_proj.mlp2.bias", "prompt_proj.mlp2.weight"},
    "vcpclip": {"Zero_try.k_proj_pre_1.bias"},
}


def parts(answer: Prediction) -> Tensor:
    """Return all numbers of an answer, a row an image."""
    flat = [answer.maps.flatten(1), answer.scores[:, None], *(each[:, None] for each in answer.also.values())]
    return torch.cat(flat, dim=1)


@pytest.mark.parametrize(("key", "options"), VARIANTS, ids=str)
def test_batches_and_order_change_nothing(key: str, options: dict[str, Any], mini: Mini) -> None:
    detector = mini(key, **options)
    images, order = unlike_inputs(detector, len(NAMES)), [3, 0, 2, 1]
    with torch.inference_mode():
        whole = detector(images, NAMES)
        alone = [parts(detector(images[n : n + 1], NAMES[n : n + 1])) for n in range(4)]
        shuffled = detector(images[order], [NAMES[n] for n in order])
        renamed = detector(images, ["another name"] * 4)
    size = detector.image_size
    assert whole.scores.shape == (4,) and whole.maps.shape == (4, size, size)
    assert whole.scores.dtype == whole.maps.dtype == torch.float32
    assert parts(whole).isfinite().all()
    assert (whole.maps.amax(dim=(1, 2)) - whole.maps.amin(dim=(1, 2)) > 1e-4).all()
    if not detector.class_normalised:
        assert whole.scores.unique().numel() == 4 and 0 <= whole.scores.min() < whole.scores.max() <= 2
    exact = 0.0 if key == "adaclip" else 2e-5  # k-means would magnify a last bit
    torch.testing.assert_close(torch.cat(alone), parts(whole), rtol=0, atol=exact)
    torch.testing.assert_close(parts(shuffled), parts(whole)[order], rtol=0, atol=exact)
    moved = (parts(renamed) - parts(whole)).abs().amax(dim=1)
    assert (moved > 1e-5).all() if key in BY_NAME else (moved <= 2e-5).all()


def batch(size: int, stage: str) -> TrainingBatch:
    masks = torch.zeros(4, size, size, dtype=torch.uint8)
    masks[1::2, 30:60, 30:60] = 1
    return TrainingBatch(NAMES, masks.amax(dim=(1, 2)).long(), masks, stage)


@pytest.mark.parametrize(("key", "options"), TRAINED, ids=str)
def test_training_follows_from_the_seed_and_moves_what_is_learned_alone(
    key: str, options: dict[str, Any], mini: Mini
) -> None:
    detector, again, other = (mini.begin(key, seed, **options) for seed in (5, 5, 6))
    learned = detector.requires_grad_(False).learned()
    assert all(torch.equal(again.learned()[name], each) for name, each in learned.items())
    assert not learned or any(not torch.equal(other.learned()[name], each) for name, each in learned.items())
    images = unlike_inputs(detector, len(NAMES))
    with torch.no_grad():
        features = detector.encoded(images)
    detector.remember(features, *batch(detector.image_size, "")[1:3])
    own = {id(each) for each in learned.values()}
    frozen = [(each, each.clone()) for each in detector.parameters() if id(each) not in own]
    for stage in detector.recipe.stages_for(detector.options):
        before = {name: each.detach().clone() for name, each in learned.items()}
        trained = stage.trained(learned)
        for name, each in learned.items():
            each.requires_grad_(name in trained)
        optimiser, losses = stage.make_optimiser(learned), []
        for _ in range(4):
            torch.manual_seed(1)
            terms = detector.loss(features, batch(detector.image_size, stage.name))
            assert terms.keys() >= stage.losses.keys()
            loss = stage.minimised(terms)
            losses.append(loss.item())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert losses[-1] < losses[0]
        moved = {name for name, each in learned.items() if not torch.equal(each, before[name])}
        assert moved == trained.keys() - UNMOVED.get(key, set())
    assert all(each.grad is None and torch.equal(each, before) for each, before in frozen)


@pytest.mark.parametrize("key", LEARNING)
def test_what_was_learned_is_read_back_and_what_does_not_fit_is_refused_by_name(
    key: str, mini: Mini, tmp_path: Path
) -> None:
    detector, path = mini(key), tmp_path / "own.safetensors"

    def load(state: dict[str, Tensor]) -> ZeroShotDetector:
        states.write({name: each for name, each in state.items() if each.numel()}, path)
        return find(key).load({**mini.files(key), "learned": path}, **mini.options(key))

    state = {name: each.detach() for name, each in detector.learned().items()} | detector.kept()
    again = load(state)
    found = {**again.learned(), **again.kept()}
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], each) for name, each in state.items())
    for name in (next(iter(state)), list(state)[-1]):
        for changed in (torch.zeros(0), torch.zeros(3, 5, 7)):  # left out, and of another shape
            with pytest.raises(ValueError, match=r"own\.safetensors"):
                load({**state, name: changed})
    if key != "tipsomaly":  # which looks for its two prompts
        with pytest.raises(ValueError, match=r"own\.safetensors"):
            load({**state, "surprise": torch.zeros(1)})
