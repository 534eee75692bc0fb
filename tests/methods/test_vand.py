"""VAND's learned layers: which file, in which form, what they change, and that they can be trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from methods import states
from methods.backbones import clip
from methods.fill import filled
from methods.prompts import SHORT_TEMPLATES
from methods.vand import ENSEMBLE, Vand
from tests.methods.conftest import small_clip

OPTIONS = {"image_size": 84, "layers": (1, 3)}
SHAPES = {"fc.0.weight": (48, 64), "fc.0.bias": (48,), "fc.1.weight": (48, 64), "fc.1.bias": (48,)}


def _linear(seed: int) -> dict[str, torch.Tensor]:
    return filled({name: torch.empty(shape) for name, shape in SHAPES.items()}, seed)


@pytest.fixture
def detector() -> Vand:
    model = small_clip(text_cfg={"layers": 2})
    return Vand(model, _linear(5), **OPTIONS)


@pytest.fixture
def images(detector: Vand) -> torch.Tensor:
    pixels = np.random.default_rng(6).integers(0, 256, (4, 90, 100, 3), dtype=np.uint8)
    return torch.stack([detector.preprocess(Image.fromarray(each)) for each in pixels])


def test_prompts() -> None:
    normal, abnormal = ENSEMBLE.sentences("metal_nut")
    assert (len(normal), len(abnormal)) == (7 * 35, 5 * 35)
    assert len(set(normal)) == 7 * 35 and "a bad photo of a broken metal_nut." in abnormal
    assert ENSEMBLE.templates[:4] == SHORT_TEMPLATES


def test_layers_shape_the_map_and_not_the_image_score(detector: Vand, images: torch.Tensor) -> None:
    other = Vand(detector.model, _linear(6), **OPTIONS)
    with torch.inference_mode():
        features = detector.encode(images)
        assert features["levels"].shape == (4, 2, 1 + 36, 64)
        one, two = detector.score(features, ["pcb1"] * 4), other.score(features, ["pcb1"] * 4)
    assert torch.equal(one.scores, two.scores)
    assert (one.maps - two.maps).abs().max() > 0.01
    # Levels add up: each alone, with its own layer, gives its share.
    shares = []
    for level in range(2):
        linear = {f"fc.0.{name}": _linear(5)[f"fc.{level}.{name}"] for name in ("weight", "bias")}
        single = Vand(detector.model, linear, image_size=84, layers=OPTIONS["layers"][level : level + 1])
        shares.append(single(images, ["pcb1"] * 4).maps.detach())
    torch.testing.assert_close(sum(shares), one.maps, rtol=0, atol=1e-5)


def test_the_file_follows_from_source_and_backbone() -> None:
    options = Vand.resolve({})
    for target, source, blob in (
        ("mvtec", "visa", "86d6848c543f8393663d35c0333498ffb5ce9b68"),
        ("btad", "mvtec", "a057cec6c2ba5996baa0160a51e155908156813f"),
    ):
        assert Vand.source_for(target, options) == source
        file = Vand.files(options, source)["learned"]
        assert file.name == f"vand/trained_on_{source}.pth"
        assert file.url.endswith(f"/{source}_pretrained.pth") and file.git_sha1 == blob
    own = Vand.files(options, "btad")["learned"]
    assert own.url is None and own.name == "vand/ViT-L-14-336/trained_on_btad.safetensors"
    assert own.trained_here
    mini = Vand.resolve(Vand.presets["mini"])
    assert Vand.files(mini, "mvtec")["learned"].url is None  # the published layers fit one backbone only


@pytest.mark.parametrize("name", ["trained.pth", "trained.safetensors"])
def test_both_forms_of_the_file_load(name: str, tmp_path: Path) -> None:
    options = Vand.presets["mini"]
    paths = {"vision": tmp_path / "clip.pt", "learned": tmp_path / name}
    Vand.write_untrained(paths, options, seed=2)
    detector = Vand.load(paths, **options)
    content = states.read(paths["learned"])
    assert ("trainable_linearlayer" in content) is (name == "trained.pth")
    stored = content.get("trainable_linearlayer", content)
    assert stored.keys() == detector.learned().keys()
    assert all(torch.equal(parameter, stored[key]) for key, parameter in detector.learned().items())
    # What was trained can be saved as `learned` says, and comes back.
    states.write({key: each.detach() for key, each in detector.learned().items()}, paths["learned"])
    assert torch.equal(Vand.load(paths, **options).fc[3].bias, detector.fc[3].bias)


def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    options = Vand.presets["mini"]
    paths = {"vision": tmp_path / "clip.pt", "learned": tmp_path / "layers.pth"}
    Vand.write_untrained(paths, options, seed=2)
    good = states.read(paths["learned"])["trainable_linearlayer"]
    for state in (
        {key: each for key, each in good.items() if key != "fc.2.bias"},
        {**good, "fc.4.weight": good["fc.0.weight"]},
        {**good, "fc.1.weight": good["fc.1.weight"].T.contiguous()},
    ):
        torch.save({"trainable_linearlayer": state}, paths["learned"])
        with pytest.raises(ValueError, match=r"layers\.pth: .*weights of another model"):
            Vand.load(paths, **options)
    with pytest.raises(ValueError, match=r"layers \[24\] are not among the blocks 1 to"):
        Vand(clip.load("mini", paths["vision"], quick_gelu=False), good, **{**options, "layers": (3, 24)})


def test_options_are_plain_data() -> None:
    for options in ({}, *Vand.presets.values()):
        assert (
            json.loads(json.dumps(Vand.resolve(options)))["image_size"] == Vand.resolve(options)["image_size"]
        )
