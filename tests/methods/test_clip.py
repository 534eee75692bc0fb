"""Plain CLIP, and what holds alike for all methods on a frozen CLIP with fixed prompts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from methods.backbones import clip
from methods.base import ZeroShotDetector
from methods.clip import ENSEMBLE
from methods.registry import find

KEYS = ("clip", "vand", "winclip")
PROMPTS = ["metal_nut", "bottle", "metal_nut", "01", "bottle"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Untrained weights of the small version of each method."""
    root = tmp_path_factory.mktemp("weights")
    paths = {}
    for key in KEYS:
        detector = find(key)
        options = detector.resolve(detector.presets["mini"])
        source = detector.source_for("btad", options)
        paths[key] = {role: root / file.name for role, file in detector.files(options, source).items()}
        detector.write_untrained(paths[key], options, seed=4)
    return paths


@pytest.fixture(scope="module")
def detectors(files: dict[str, dict[str, Path]]) -> dict[str, ZeroShotDetector]:
    return {key: find(key).load(files[key], **find(key).presets["mini"]).eval() for key in KEYS}


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    random = np.random.default_rng(8)
    return [Image.fromarray(random.integers(0, 256, (90 + 9 * n, 130, 3), dtype=np.uint8)) for n in range(5)]


@pytest.mark.parametrize("key", KEYS)
def test_sentences_are_encoded_once_per_name(
    key: str,
    files: dict[str, dict[str, Path]],
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = find(key).load(files[key], **find(key).presets["mini"])
    asked = []
    encode = clip.encode_text

    def counted(model: torch.nn.Module, texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return encode(model, texts)

    monkeypatch.setattr(clip, "encode_text", counted)
    features = detector.encode(torch.stack([detector.preprocess(picture) for picture in pictures]))
    detector.score(features, PROMPTS)
    count = len(asked)
    assert any("metal_nut" in sentence for sentence in asked)  # underscores stay
    assert count == 3 * len([sentence for sentence in asked if "bottle" in sentence])
    detector.score(features, PROMPTS)
    assert len(asked) == count


@pytest.mark.parametrize("key", KEYS)
def test_wrong_weights_are_refused_by_name(
    key: str, files: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    small = {"embed_dim": 64, "vision_cfg": {"layers": 2}, "text_cfg": {"layers": 2}}
    path = tmp_path / "other.pt"
    clip.write_untrained(small, path, seed=1)
    with pytest.raises(ValueError, match=r"other\.pt"):
        find(key).load({**files[key], "vision": path}, **find(key).presets["mini"])


@pytest.mark.parametrize("key", KEYS)
def test_default_files_are_the_published_ones(key: str) -> None:
    detector = find(key)
    options = detector.resolve({})
    files = detector.files(options, detector.source_for("visa", options))
    assert files["vision"] == clip.file(options["backbone"])
    assert files["vision"].url and files["vision"].hub
    with pytest.raises(ValueError, match="no CLIP backbone 'ViT-X'"):
        detector.files({**options, "backbone": "ViT-X"}, None)


def test_clip_is_open_clip_and_a_softmax(
    detectors: dict[str, ZeroShotDetector], pictures: list[Image.Image]
) -> None:
    """The image score, written out with open_clip's own calls."""
    detector = detectors["clip"]
    model, images = detector.model, detector.preprocess(pictures[0])[None]
    normal, abnormal = ENSEMBLE.sentences("bottle")
    with torch.inference_mode():
        means = []
        for group in (normal, abnormal):
            each = model.encode_text(clip.tokenize(group), normalize=True)
            mean = each.mean(dim=0)
            means.append(mean / mean.norm())
        cosines = model.encode_image(images, normalize=True) @ torch.stack(means).mT
        expected = (cosines / 0.01).softmax(dim=-1)[:, 1]
        got = detector(images, ["bottle"])
    torch.testing.assert_close(got.scores, expected, rtol=0, atol=1e-4)
    assert got.maps.std() > 0
