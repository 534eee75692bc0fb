"""Plain CLIP, and what methods on a frozen CLIP with fixed prompts have in common."""

from pathlib import Path

import pytest
import torch

from methods.backbones import clip
from methods.clip import ENSEMBLE
from methods.registry import find
from tests.methods.conftest import Mini, unlike_inputs

KEYS = ("clip", "vand", "winclip")
PROMPTS = ["metal_nut", "bottle", "metal_nut", "01", "bottle"]


@pytest.mark.parametrize("key", KEYS)
def test_sentences_are_encoded_once_per_name(key: str, mini: Mini, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = mini(key)
    asked = []
    encode = clip.encode_text

    def counted(model: torch.nn.Module, texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return encode(model, texts)

    monkeypatch.setattr(clip, "encode_text", counted)
    features = detector.encode(unlike_inputs(detector, len(PROMPTS)))
    detector.score(features, PROMPTS)
    count = len(asked)
    assert any("metal_nut" in sentence for sentence in asked)  # underscores stay
    assert count == 3 * len([sentence for sentence in asked if "bottle" in sentence])
    detector.score(features, PROMPTS)
    assert len(asked) == count


def test_wrong_weights_are_refused_by_name(tmp_path: Path) -> None:
    small = {"embed_dim": 64, "vision_cfg": {"layers": 2}, "text_cfg": {"layers": 2}}
    path = tmp_path / "other.pt"
    clip.write_untrained(small, path, seed=1)
    with pytest.raises(ValueError, match=r"other\.pt"):
        find("clip").load({"vision": path}, **find("clip").presets["mini"])


@pytest.mark.parametrize("key", KEYS)
def test_default_files_are_the_published_ones(key: str) -> None:
    detector = find(key)
    options = detector.resolve({})
    files = detector.files(options, detector.source_for("visa", options))
    assert files["vision"] == clip.file(options["backbone"])
    assert files["vision"].url and files["vision"].hub
    with pytest.raises(ValueError, match="no CLIP backbone 'ViT-X'"):
        detector.files({**options, "backbone": "ViT-X"}, None)


def test_clip_is_open_clip_and_a_softmax(mini: Mini) -> None:
    """The image score, written out with open_clip's own calls."""
    detector = mini("clip")
    model, images = detector.model, unlike_inputs(detector, 1)
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
