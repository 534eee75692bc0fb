"""VCP-CLIP: which file, in which form, what the options change, and that it can be trained."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from methods import states
from methods.base import TrainingBatch
from methods.fill import filled
from methods.learned_tensors import blank
from methods.vcpclip import VcpClip
from tests.methods.conftest import small_clip

OPTIONS = {"image_size": 84, "layers": (1, 3)}
TEMPERATURES = ("New_Lan_Embed.prompt_temp", "Zero_try.prompt_temp_l1")


@pytest.fixture(scope="module")
def model() -> Any:
    return small_clip(embed_dim=64, vision_cfg={"width": 128})


def _detector(model: Any, **options: Any) -> VcpClip:
    given = {**OPTIONS, **options}
    shapes = VcpClip.learned_shapes(VcpClip.resolve(given), model.state_dict())
    learned = filled(blank(shapes), 5) | {name: torch.tensor(3.0) for name in TEMPERATURES}
    return VcpClip(model, learned, **given)


@pytest.fixture
def images(model: Any) -> torch.Tensor:
    pixels = np.random.default_rng(6).integers(0, 256, (4, 90, 100, 3), dtype=np.uint8)
    return torch.stack([_detector(model).preprocess(Image.fromarray(each)) for each in pixels])


def test_every_image_has_its_own_texts_unless_told_otherwise(model: Any, images: torch.Tensor) -> None:
    for visual, differ in ((True, True), (False, False)):
        detector = _detector(model, visual_context=visual)
        with torch.inference_mode():
            text = detector.text_features(detector.encode(images)["image"])
        assert text.shape == (4, 2, 64)
        apart = (text[0] - text[1]).abs().max().item()
        assert (apart > 1e-2) if differ else (apart < 1e-6)


def test_shares_change_the_map_and_not_the_score(model: Any, images: torch.Tensor) -> None:
    found = {}
    with torch.inference_mode():
        for share in (0.0, 0.2, 1.0):
            found[share] = _detector(model, linear_share=share)(images, ["x"] * 4)
    blend = 0.2 * found[1.0].maps + 0.8 * found[0.0].maps
    torch.testing.assert_close(found[0.2].maps, blend, rtol=0, atol=1e-6)
    assert (found[0.0].maps - found[1.0].maps).abs().max() > 1e-3
    assert torch.equal(found[0.0].scores, found[1.0].scores)
    assert ((found[0.2].scores > 0) & (found[0.2].scores < 2)).all()


def test_the_file_follows_from_source_and_what_is_learned() -> None:
    options = VcpClip.resolve({})
    for target, source in (("mvtec", "visa"), ("btad", "visa"), ("visa", "mvtec")):
        assert VcpClip.source_for(target, options) == source
        file = VcpClip.files(options, source)["learned"]
        assert (file.name, file.url) == (f"vcpclip/trained_on_{source}.pth", None)
        assert f"train_{source}.pth" in file.by_hand and file.digest_by_third_party
    for preset in ("linear", "adapted"):  # these score with the published files
        assert VcpClip.files(VcpClip.resolve(VcpClip.presets[preset]), "visa") == VcpClip.files(
            options, "visa"
        )
    for own in (VcpClip.presets["no-context"], VcpClip.presets["mini"], {"context_length": 3}):
        assert VcpClip.files(VcpClip.resolve(own), "visa")["learned"].trained_here
    assert VcpClip.files(options, "btad")["learned"].trained_here


def test_the_published_form_has_sections_parameters_and_one_tensor_that_nothing_reads(tmp_path: Path) -> None:
    options = VcpClip.presets["mini"]
    paths = {"vision": tmp_path / "clip.pt", "learned": tmp_path / "train_visa.pth"}
    VcpClip.write_untrained(paths, options, seed=2)
    content = states.read(paths["learned"])
    assert {name for name, each in content.items() if isinstance(each, dict)} == set(VcpClip.sections)
    assert len(content) == 10 and content["prompt_text_projection"].shape == (64, 64)
    as_saved = {
        name: each if isinstance(each, dict) else nn.Parameter(each) for name, each in content.items()
    }
    torch.save(as_saved, paths["learned"])
    detector = VcpClip.load(paths, **options)
    assert len(detector.learned()) == 27
    section = content["New_Lan_Embed"]
    assert torch.equal(detector.learned()["New_Lan_Embed.prompt_query"], section["prompt_query"])
    for broken in (
        {name: each for name, each in as_saved.items() if name != "prompt_text_projection"},
        {**as_saved, "Zero_try": {**content["Zero_try"], "more": torch.zeros(1)}},
        {**as_saved, "trainable_linearlayer": {}},
        {**as_saved, "prompt_embeddings": torch.zeros(1, 2, 64)},
        {**as_saved, "Zero_try": torch.zeros(3)},
    ):
        torch.save(broken, paths["learned"])
        with pytest.raises(ValueError, match=r"train_visa\.pth: .*weights of another model"):
            VcpClip.load(paths, **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"context_length": 0}, "context_length"),
        ({"text_tokens": 0}, "text_tokens"),
        ({"context_length": 40, "text_tokens": 31}, "at most 70 together"),
        ({"image_size": 42}, "top_pixels 2000"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        VcpClip.resolve(options)
    VcpClip.resolve({"context_length": 40, "text_tokens": 30})  # 77 tokens with the five words


def test_a_backbone_of_other_widths_is_refused() -> None:
    other = small_clip(embed_dim=48, vision_cfg={"width": 128})
    with pytest.raises(ValueError, match="as wide as its joint space"):
        _detector(other)


def test_what_training_begins_with(model: Any) -> None:
    options = VcpClip.resolve({**OPTIONS, "context_length": 4, "text_tokens": 4})
    start = VcpClip.fresh(options, model.state_dict(), 7)
    shapes = VcpClip.learned_shapes(options, model.state_dict())
    assert {name: tuple(each.shape) for name, each in start.items()} == shapes
    assert all(start[name].item() == pytest.approx(math.log(1 / 0.07)) for name in TEMPERATURES)
    query = start["New_Lan_Embed.prompt_query"]
    assert query.abs().max() <= 2 and query.std() == pytest.approx(0.88, abs=0.1)  # truncated at 2
    for name in ("prompt_embeddings", "deep_prompt_embeddings"):
        assert 0.98 < start[name].abs().max() <= 1 and start[name].mean().abs() < 0.1
    assert start["prompt_proj.weight"].std() == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    assert (start["prompt_norm.weight"] == 1).all() and (start["prompt_norm.bias"] == 0).all()
    for layer, inputs in (("prompt_proj.bias", 64), ("trainable_linearlayer.fc.1.weight", 128)):
        bound = inputs**-0.5
        assert 0.9 * bound < start[layer].abs().max() <= bound
    assert start["New_Lan_Embed.prompt_linear1.fc.weight"].abs().max() <= 3**-0.5
    other = VcpClip.fresh(options, model.state_dict(), 8)
    assert not torch.equal(other["prompt_proj.weight"], start["prompt_proj.weight"])


def test_dropout_is_of_training_alone(model: Any, images: torch.Tensor) -> None:
    detector = _detector(model)
    features = detector.encode(images)
    batch = TrainingBatch(["x"] * 4, torch.zeros(4), torch.zeros(4, 84, 84))
    with torch.no_grad():
        one, other = (detector.loss(features, batch)["dice"] for _ in range(2))
        assert one != other
        assert torch.equal(detector.score(features, []).maps, detector.score(features, []).maps)
        detector.options["dropout"] = 0.0
        assert torch.equal(detector.loss(features, batch)["dice"], detector.loss(features, batch)["dice"])


def test_picture_and_mask_are_changed_together(model: Any) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 50:75] = 1
    image = Image.fromarray(np.repeat(mask[..., None] * 255, 3, axis=2))
    for seed in range(12):
        changed, moved = _detector(model).augment(image, mask, "", torch.Generator().manual_seed(seed))
        grey = np.asarray(changed.convert("L")) > 127
        assert grey.shape == moved.shape
        assert (grey != moved.astype(bool)).mean() < 0.05
        assert set(np.unique(moved)) <= {0, 1}
