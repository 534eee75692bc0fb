"""WinCLIP's windows and aggregation, written out slowly; its prompts and options."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from methods import winclip
from methods.winclip import WinClip, fuse, windows
from tests.methods.conftest import small_clip


@pytest.fixture(scope="module")
def detector() -> WinClip:
    model = small_clip(vision_cfg={"image_size": 80, "patch_size": 16}, text_cfg={"layers": 2})
    return WinClip(model, image_size=80)


@pytest.fixture(scope="module")
def images(detector: WinClip) -> torch.Tensor:
    pixels = np.random.default_rng(6).integers(0, 256, (2, 100, 90, 3), dtype=np.uint8)
    return torch.stack([detector.preprocess(Image.fromarray(each)) for each in pixels])


def _slow_windows(detector: WinClip, images: torch.Tensor, side: int) -> torch.Tensor:
    """Run open_clip's blocks on one window after the other, nothing shared."""
    visual, (rows, columns) = detector.model.visual, detector.grid
    tokens = visual._embeds(images)
    embeddings = []
    for row in range(rows - side + 1):
        for column in range(columns - side + 1):
            patches = [
                1 + r * columns + c for r in range(row, row + side) for c in range(column, column + side)
            ]
            hidden = tokens[:, [0, *patches]]
            for block in visual.transformer.resblocks:
                hidden = block(hidden)
            embeddings.append(visual.ln_post(hidden[:, 0]) @ visual.proj)
    return torch.stack(embeddings, dim=1)


def test_windows_are_encoded_on_their_own(detector: WinClip, images: torch.Tensor) -> None:
    with torch.inference_mode():
        features = detector.encode(images)
        torch.testing.assert_close(
            features["image"], detector.model.encode_image(images), rtol=1e-4, atol=1e-5
        )
        for side, count in ((2, 16), (3, 9)):
            assert features[f"windows{side}"].shape == (2, count, 48)
            slow = _slow_windows(detector, images, side)
            torch.testing.assert_close(features[f"windows{side}"], slow, rtol=1e-4, atol=1e-5)


def test_chunks_change_nothing(
    detector: WinClip, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = detector.encode(images)
    monkeypatch.setattr(winclip, "WINDOW_TOKENS", 35)  # seven windows of 2 x 2, three of 3 x 3, one image
    for name, tensor in detector.encode(images).items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-5)


def test_map_is_the_harmonic_mean_of_windows_and_scales(detector: WinClip, images: torch.Tensor) -> None:
    with torch.inference_mode():
        features = detector.encode(images)
        text = detector.text_features(["bottle", "metal_nut"], images)
        scores, maps, _ = detector.score(features, ["bottle", "metal_nut"])
    expected = np.zeros((2, 5, 5))
    for image in range(2):
        per_scale = []
        for side in (2, 3):
            cosines = F.cosine_similarity(
                features[f"windows{side}"][image][:, None], text[image][None], dim=-1
            )
            of_window = (cosines / 0.07).softmax(dim=-1)[:, 1].double().reshape(6 - side, 6 - side)
            covering = np.zeros((5, 5))
            inverse = np.zeros((5, 5))
            for row in range(6 - side):
                for column in range(6 - side):
                    covering[row : row + side, column : column + side] += 1
                    inverse[row : row + side, column : column + side] += 1 / of_window[row, column].item()
            per_scale.append(covering / inverse)
        expected[image] = 3 / (1 / per_scale[0] + 1 / per_scale[1] + 1 / scores[image].item())
    enlarged = F.interpolate(torch.from_numpy(expected)[:, None], size=80, mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, enlarged.float(), rtol=0, atol=1e-6)


def test_a_vanishing_probability_gives_zero_where_it_counts(detector: WinClip) -> None:
    scores = torch.full((1, 16), 0.5)
    scores[0, 0] = 0.0  # the window in the upper left corner
    scale = detector.scale_map(scores, side=2)
    fused = fuse([scale], torch.tensor([0.5])).reshape(5, 5).float()
    assert fused[:2, :2].eq(0).all()
    fused[:2, :2] = 0.5
    torch.testing.assert_close(fused, torch.full((5, 5), 0.5))


def test_windows_are_row_major_and_must_fit() -> None:
    assert windows((3, 3), 2).tolist() == [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]
    assert windows((3, 4), 3).tolist()[1] == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    with pytest.raises(ValueError, match="windows of 4 patches do not fit on a grid of 3 x 4"):
        windows((3, 4), 4)


def test_prompts(detector: WinClip) -> None:
    normal, abnormal = detector.ensemble.sentences("metal_nut")
    assert (len(normal), len(abnormal)) == (147, 84)
    assert normal.count("a jpeg corrupted photo of the metal_nut.") == 2
    assert not any("broken" in sentence for sentence in abnormal)
    paper, _ = WinClip(detector.model, image_size=80, templates="paper").ensemble.sentences("metal_nut")
    assert len(paper) == len(set(paper)) == 7 * 22


@pytest.mark.parametrize("preset", ["paper-templates", "normalised-prompts", "spaces"])
def test_variants_of_the_text_change_it(preset: str, detector: WinClip) -> None:
    like = torch.zeros(1)
    variant = WinClip(detector.model, **{"image_size": 80, **WinClip.presets[preset]})
    difference = variant.text_features(["metal_nut"], like) - detector.text_features(["metal_nut"], like)
    assert difference.abs().max() > 1e-5


def test_e32_is_another_file() -> None:
    options = [
        WinClip.resolve(WinClip.presets[name]) if name else WinClip.resolve({}) for name in ("", "e32")
    ]
    one, other = (WinClip.files(each, None)["vision"] for each in options)
    assert one.name != other.name and one.url != other.url
