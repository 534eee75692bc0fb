"""The contract of a method, and that every method keeps it."""

from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image

from methods import registry
from methods.base import Prediction, ZeroShotDetector


class Plain(ZeroShotDetector):
    title = "Plain"
    defaults = {"image_size": 28, "gain": 2.0}
    sources = {"*": "mvtec", "mvtec": "visa"}

    def encode(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mean": images.mean(dim=1)}

    def score(self, features: dict[str, torch.Tensor], prompts: list[str]) -> Prediction:
        maps = features["mean"] * self.options["gain"]
        return Prediction(maps.amax(dim=(1, 2)), maps)


def test_options_override_defaults_and_unknown_ones_are_refused() -> None:
    assert Plain(gain=3.0).options == {"image_size": 28, "gain": 3.0}
    assert Plain.defaults["gain"] == 2.0
    with pytest.raises(TypeError, match="Plain has no option gian; it has gain, image_size"):
        Plain(gian=3.0)


def test_protocol_chooses_the_source() -> None:
    assert Plain.source_for("mvtec", {}) == "visa"
    assert Plain.source_for("anything", {}) == "mvtec"
    assert ZeroShotDetector.source_for("mvtec", {}) is None


def test_forward_is_encode_then_score() -> None:
    images = torch.rand(2, 3, 28, 28)
    answer = Plain()(images, ["a", "b"])
    torch.testing.assert_close(answer.maps, 2 * images.mean(dim=1))
    assert answer.also == {}


def test_a_method_without_either_says_so() -> None:
    class Empty(ZeroShotDetector):
        title = "Empty"

    with pytest.raises(NotImplementedError, match="Empty implements neither forward nor encode and score"):
        Empty()(torch.zeros(1, 3, 224, 224), ["a"])


def test_pictures_are_squashed_and_scaled() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 30:] = (255, 51, 0)
    tensor = Plain().preprocess(Image.fromarray(pixels))
    assert tensor.shape == (3, 28, 28)
    assert tensor.dtype == torch.float32
    torch.testing.assert_close(tensor[:, 14, 27], torch.tensor([1.0, 0.2, 0.0]))
    assert not tensor[:, :, 0].any()
    grey = Image.fromarray(np.full((4, 5), 102, np.uint8))
    torch.testing.assert_close(Plain().preprocess(grey), torch.full((3, 28, 28), 0.4))


@pytest.mark.parametrize("key", registry.keys())
def test_every_method_keeps_the_contract(key: str) -> None:
    detector = registry.find(key)
    assert detector.title
    assert detector.__doc__
    assert detector.defaults["image_size"] > 0
    sets = [*detector.target_options.values()]
    for name in detector.presets:
        rules = detector.preset(name)
        sets += [{**rules.options, **given} for given in ({}, *(rules.target_options or {}).values())]
    for options in sets:
        assert detector.resolve(options).keys() == detector.defaults.keys()
    if detector.sources is not None:
        assert "*" in detector.sources
        assert all(target != source for target, source in detector.sources.items())
    for target in ("mvtec", "visa", "headct", "my_own"):
        options = detector.resolve(detector.target_options.get(target, {}))
        source = detector.source_for(target, options)
        for role, file in detector.files(options, source).items():
            path = PurePosixPath(file.name)
            assert role.isidentifier()
            assert not path.is_absolute()
            assert ".." not in path.parts
            assert file.url or file.hub or file.by_hand or file.trained_here
