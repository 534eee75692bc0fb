"""AA-CLIP: its sentences, files, scores over a class, and what the batch is in the first stage."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from datasets.catalog import CATALOG, GROUPS
from methods import states
from methods.aaclip import DESCRIPTIONS, ENSEMBLE, AAClip, description
from methods.backbones import clip
from methods.base import Prediction, TrainingBatch
from methods.fill import filled
from methods.learned_tensors import blank
from tests.methods.conftest import small_clip

OPTIONS: Mapping[str, Any] = {
    "image_size": 84,
    "layers": (2, 4),
    "text_adapt_until": 1,
    "image_adapt_until": 2,
    "surgery_until_layer": 3,
}
MINI: Mapping[str, Any] = AAClip.preset("mini").options


@pytest.fixture(scope="module")
def model() -> Any:
    return small_clip(vision_cfg={"layers": 4}, text_cfg={"layers": 2})


def build(model: Any, **options: Any) -> AAClip:
    given = {**OPTIONS, **options}
    shapes = AAClip.learned_shapes(AAClip.resolve(given), model.state_dict())
    return AAClip(model, filled(blank(shapes), 5), **given).requires_grad_(False)


@pytest.fixture
def detector(model: Any) -> AAClip:
    return build(model)


@pytest.fixture
def images(detector: AAClip) -> Tensor:
    pixels = np.random.default_rng(6).integers(0, 256, (4, 90, 100, 3), dtype=np.uint8)
    return torch.stack([detector.preprocess(Image.fromarray(each)) for each in pixels])


def batch(count: int = 4, stage: str = "text", prompts: list[str] | None = None) -> TrainingBatch:
    masks = torch.zeros(count, 84, 84, dtype=torch.uint8)
    masks[::2, 20:60, 10:50] = 1
    return TrainingBatch(prompts or ["pcb1"] * count, masks.amax(dim=(1, 2)), masks, stage)


# --- texts ---------------------------------------------------------------------------------------------


def test_sentences_speak_of_descriptions() -> None:
    normal, abnormal = ENSEMBLE.sentences(description("bottle"))
    assert normal[:4] == [
        "dark bottle.",
        "a photo of dark bottle.",
        "a dark bottle.",
        "a photo of a dark bottle.",
    ]
    assert abnormal[-2:] == ["a dark bottle with damage.", "a photo of a dark bottle with damage."]
    assert (len(normal), len(abnormal)) == (6, 10)
    assert description("01").endswith("radiating outward.")


def test_classes_that_nobody_described_go_by_their_name() -> None:
    assert description("electrical commutators") == "electrical commutators"
    assert description("my_own_part") == "my own part"
    undescribed = {
        name: key
        for key in GROUPS["all"]
        for entry in CATALOG[key].classes
        for name in entry.prompts.values()
        if name not in DESCRIPTIONS
    }
    assert set(undescribed.values()) == {"ksdd", "dagm", "tn3k"}
    assert {description(name) for name in ("brain", "headct", "brain_mri", "br35h")} == {"scan"}
    assert {description(name) for name in ("colon", "ColonDB", "ClinicDB")} == {"colon endoscopy image"}
    assert {description(name) for name in ("skin", "isic")} == {"skin cancer image"}


def test_texts_follow_their_adapters(detector: AAClip) -> None:
    with torch.inference_mode():
        before = detector.text_features(["candle", "pcb1", "candle"])
    assert before.shape == (3, 2, 48) and torch.equal(before[0], before[2])
    torch.testing.assert_close(before.norm(dim=-1), torch.ones(3, 2))
    detector.learned()["text_adapter.1.fc.0.weight"].mul_(-1)
    assert (detector.text_features(["candle"])[0] - before[0]).abs().max() > 0.01


# --- adapters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", ["text", "image"])
def test_an_adapter_gives_each_token_a_new_direction_of_the_same_length(tower: str, model: Any) -> None:
    detector = build(model, text_adapt_weight=1.0, image_adapt_weight=1.0)
    hidden, count = torch.randn(2, 5, 64), detector.options[f"{tower}_adapt_until"]
    adapted = detector.adapters(tower)(count - 1, hidden)
    torch.testing.assert_close(adapted.norm(dim=-1), hidden.norm(dim=-1))
    assert (adapted - hidden).abs().amax(dim=-1).min() > 0.1  # every token, the first too
    assert torch.equal(detector.adapters(tower)(count, hidden), hidden)
    shared = build(model, text_adapt_weight=0.25, image_adapt_weight=0.25).adapters(tower)(count - 1, hidden)
    torch.testing.assert_close(shared, 0.25 * adapted + 0.75 * hidden)


# --- scores over a class -------------------------------------------------------------------------------

ALSO = {
    "map_min": torch.tensor([-1.0, 0.0, 0.5]),
    "map_peak": torch.tensor([1.0, 3.0, 2.0]),
    "image_cosine": torch.tensor([0.2, 0.6, 0.3]),
}


def test_scores_are_scaled_over_the_class(model: Any, detector: AAClip) -> None:
    peaks = torch.tensor([0.5, 1.0, 0.75])
    torch.testing.assert_close(build(model, fusion="peak").finish(ALSO), peaks)
    torch.testing.assert_close(detector.finish(ALSO), (peaks + torch.tensor([0.0, 1.0, 0.25])) / 2)


def test_a_part_without_a_range_counts_as_nothing_and_is_told(model: Any, detector: AAClip) -> None:
    alone = {name: values[1:2] for name, values in ALSO.items()}
    with pytest.warns(UserWarning, match="all image cosines of a class are one value"):
        assert detector.finish(alone).tolist() == [0.5]
    flat = {**alone, "map_min": alone["map_peak"]}
    with pytest.warns(UserWarning, match="all maps"):
        assert build(model, fusion="peak").finish(flat).tolist() == [0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(model, fusion="peak").finish(alone)  # its map has a range


def test_medical_targets_are_smoothed_wider_and_scored_by_their_peak() -> None:
    assert set(AAClip.target_options) == set(GROUPS["medical"])
    for options in AAClip.target_options.values():
        assert options == {"blur_size": 9, "blur_sigma": 1.5, "fusion": "peak"}
    assert AAClip.class_normalised and AAClip.encoder_options is None


def test_a_class_is_scaled_by_the_range_of_its_maps(detector: AAClip, images: Tensor) -> None:
    with torch.inference_mode():
        whole: Prediction = detector(images, ["candle", "pcb1", "a_new_thing", "candle"])
    torch.testing.assert_close(whole.also["map_peak"], whole.maps.amax(dim=(1, 2)))
    torch.testing.assert_close(whole.also["map_min"], whole.maps.amin(dim=(1, 2)))


# --- training ------------------------------------------------------------------------------------------


def test_in_the_first_stage_images_of_a_batch_see_each_other(detector: AAClip, images: Tensor) -> None:
    (together,) = detector.look_across(images, (4,))
    (alone,) = detector.look_across(images[:1], (4,))
    assert (together[0] - alone[0]).abs().max() > 1e-3
    (copies,) = detector.look_across(images[:1].expand(3, -1, -1, -1), (4,))
    torch.testing.assert_close(copies, alone.expand(3, -1, -1), rtol=0, atol=1e-5)


def test_in_the_first_stage_positions_do_not_see_each_other(model: Any, images: Tensor) -> None:
    detector = build(model, surgery_until_layer=5)  # no ordinary block before
    other = images.clone()
    other[1, :, :14, :14] = 0  # the first patch of the second image
    one, two = (detector.look_across(each, (4,))[0] for each in (images, other))
    moved = two - one
    assert moved[0, 1:].abs().max() < 1e-6
    assert moved[0, 0].abs().max() > 1e-3
    assert (moved[1, 1:] - moved[1, 1]).abs().max() < 1e-5  # but for its class feature, added to all patches


def test_the_first_stage_learns_from_the_last_layer_alone(model: Any, images: Tensor) -> None:
    losses = [
        build(model, layers=layers).loss({"images": images}, batch())["focal"] for layers in ((2, 4), (4,))
    ]
    assert torch.equal(*losses)
    other = build(model, layers=(2,)).loss({"images": images}, batch())["focal"]
    assert not torch.equal(other, losses[0])


def test_texts_count_as_often_as_their_class_is_in_the_batch(detector: AAClip, images: Tensor) -> None:
    prompts = ["candle", "candle", "candle", "pcb1"]
    terms = detector.loss({"images": images}, batch(prompts=prompts))
    products = (detector.text_features(prompts)[:, 0] * detector.text_features(prompts)[:, 1]).sum(dim=-1)
    assert float(terms["orthogonal"]) == pytest.approx(float(products.mean() ** 2), abs=1e-6)
    assert float(terms["orthogonal"]) != pytest.approx(float(products[2:].mean() ** 2), abs=1e-6)


def test_training_begins_with_xaviers_distribution(model: Any) -> None:
    options = AAClip.resolve(OPTIONS)
    start = AAClip.fresh(options, model.state_dict(), 1)
    for name, tensor in start.items():
        bound = (6 / sum(tensor.shape)) ** 0.5
        assert 0.95 * bound < float(tensor.abs().max()) <= bound, name
        assert not torch.equal(tensor, AAClip.fresh(options, model.state_dict(), 2)[name])
    assert all(
        torch.equal(each, start[name]) for name, each in AAClip.fresh(options, model.state_dict(), 1).items()
    )


def test_random_changes_hit_picture_and_mask_alike(detector: AAClip) -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((84, 84), np.uint8)
    mask[30:50, 20:70] = 1
    image = torch.from_numpy(mask).float().expand(3, -1, -1).clone()
    kinds = set()
    for seed in range(16):
        changed, target = detector.augment_input(image, mask, "text", torch.Generator().manual_seed(seed))
        assert target.dtype == np.uint8 and torch.equal(changed[0], torch.from_numpy(target).float())
        kinds.add(target.tobytes())
    assert len(kinds) > 8
    picture = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    for stage, changes in (("text", False), ("image", True)):
        same, _ = detector.augment(picture, mask, stage, torch.Generator().manual_seed(1))
        assert (np.asarray(same) != np.asarray(picture)).any() == changes


# --- files and options ---------------------------------------------------------------------------------


def test_the_file_follows_from_source_and_form() -> None:
    options = AAClip.resolve({})
    assert [AAClip.source_for(target, options) for target in ("mvtec", "headct", "visa")] == [
        "visa",
        "visa",
        "mvtec",
    ]
    file = AAClip.files(options, "visa~111")["learned"]
    assert file.trained_here and file.name == "aaclip/ViT-L-14-336/trained_on_visa~111.safetensors"
    names = {
        AAClip.files(AAClip.resolve(each), "visa")["learned"].name
        for each in (
            {},
            {"relu": True},
            {"text_adapt_until": 2},
            {"image_adapt_until": 2},
            {"fusion": "peak"},
        )
    }
    assert len(names) == 4
    official = AAClip.files(AAClip.resolve({"official": True}), "visa")
    assert {role: file.name for role, file in official.items() if role != "vision"} == {
        "learned": "aaclip/official/trained_on_visa/text_adapter.pth",
        "learned_image": "aaclip/official/trained_on_visa/image_adapter.pth",
    }
    assert not any(file.trained_here or file.url for role, file in official.items() if role != "vision")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write a small CLIP, and adapters as the official program writes them."""
    names = {"vision": "clip.pt", "learned": "text_adapter.pth", "learned_image": "image_adapter.pth"}
    paths = {role: tmp_path / name for role, name in names.items()}
    AAClip.write_untrained(paths, {**MINI, "official": True}, seed=2)
    return paths


def test_both_forms_of_the_files_load(files: dict[str, Path], tmp_path: Path) -> None:
    official = AAClip.load(files, **MINI, official=True)
    text = states.read(files["learned"])
    assert text["text_adapter"].keys() == {"0.fc.0.weight", "1.fc.0.weight"}
    assert "layer_adapters.1.fc.0.weight" in states.read(files["learned_image"])["image_adapter"]
    # The official files also hold the state of an optimiser.
    torch.save(
        {**text, "text_optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}},
        files["learned"],
    )
    again = AAClip.load(files, **MINI, official=True).learned()
    flat = tmp_path / "flat.safetensors"
    states.write({name: each.detach() for name, each in official.learned().items()}, flat)
    own = AAClip.load({"vision": files["vision"], "learned": flat}, **MINI).learned()
    assert len(own) == 9
    for name, tensor in official.learned().items():
        assert torch.equal(own[name], tensor) and torch.equal(again[name], tensor)
    towers = [*clip.vision_blocks(official.model), *official.model.transformer.resblocks]
    assert {type(block.mlp.gelu) for block in towers} == {nn.GELU}


def test_a_file_that_does_not_fit_is_refused_by_name(files: dict[str, Path]) -> None:
    good = states.read(files["learned_image"])["image_adapter"]
    for bad in (
        {name: each for name, each in good.items() if "det_proj" not in name},
        {**good, "layer_adapters.2.fc.0.weight": good["layer_adapters.0.fc.0.weight"]},
        {**good, "det_proj.fc.weight": good["det_proj.fc.weight"].T.contiguous()},
    ):
        torch.save({"epoch": 1, "image_adapter": bad}, files["learned_image"])
        with pytest.raises(ValueError, match=r"image_adapter\.pth: .*weights of another model"):
            AAClip.load(files, **MINI, official=True)
    torch.save({"epoch": 1, "image_adapter": ["no tensors"]}, files["learned_image"])
    with pytest.raises(ValueError, match=r"image_adapter\.pth holds no state dict"):
        AAClip.load(files, **MINI, official=True)
    with pytest.raises(ValueError, match="what AA-CLIP learns: 7 names are missing"):
        AAClip.load({role: files[role] for role in ("vision", "learned")}, **MINI, official=True)


def test_official_adapters_are_not_trained_here(files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="train without `official`"):
        AAClip.begin(files, 1, **MINI, official=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fusion": "max"}, "fusion must be mean or peak"),
        ({"blur_size": 4}, "blur_size must be odd"),
        ({"blur_sigma": 0.0}, "blur_sigma above 0"),
        ({"layers": ()}, "layers must name"),
        ({"blur_size": 13}, "blur_size must lie between 1 and 11"),
        ({"text_adapt_until": 3}, "text_adapt_until must lie between 0 and 2"),
        ({"image_adapt_until": 5}, "image_adapt_until must lie between 0 and 4"),
        ({"surgery_until_layer": 6}, "surgery_until_layer must lie between 1 and 5"),
        ({"layers": (2, 5)}, r"layers \[5\] are not among the blocks 1 to 4"),
    ],
)
def test_options_that_cannot_be_are_refused(model: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(model, **options)
