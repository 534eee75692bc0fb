"""MuSc as a set: order, batches, subsets, memory, options, files; its numbers are in the parity tests."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from bench.run.protocol import MethodRequest
from methods.backbones import dinov2
from methods.base import Features, Prediction, joined
from methods.fill import filled
from methods.image_set import LoadedSet
from methods.musc import MuSc
from tests.methods.conftest import small_clip

OPTIONS: dict[str, Any] = {"image_size": 84, "layers": (1, 3), "degrees": (1, 3)}


def _detector(**options: Any) -> MuSc:
    model = small_clip(embed_dim=32, text_cfg={"width": 32, "heads": 1, "layers": 1})
    return MuSc(model, **(OPTIONS | options)).eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(12, 3, 84, 84, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def features(pictures: torch.Tensor) -> Features:
    with torch.inference_mode():
        return _detector().encode(pictures)


def _judge(detector: MuSc, features: Features, budget: int = 10**9) -> Prediction:
    with torch.inference_mode():
        return joined(list(detector.judge(LoadedSet(features, budget), "object")))


def _picked(features: Features, order: Sequence[int]) -> Features:
    return {name: tensor[list(order)] for name, tensor in features.items()}


@pytest.mark.parametrize("subsets", [1, 2])
def test_the_order_of_the_images_changes_no_bit(features: Features, subsets: int) -> None:
    detector = _detector(subsets=subsets)
    answer = _judge(detector, features)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    other = _judge(detector, _picked(features, order.tolist()))
    assert torch.equal(other.scores, answer.scores[order])
    assert torch.equal(other.maps, answer.maps[order])
    assert torch.equal(other.also["map_max"], answer.also["map_max"][order])


def test_batches_of_encoding_and_memory_change_rounding_at_most(
    pictures: torch.Tensor, features: Features
) -> None:
    detector = _detector()
    with torch.inference_mode():
        single = [detector.encode(picture[None]) for picture in pictures]
        whole = detector(pictures, ["object"] * 12)
    alone = {name: torch.cat([one[name] for one in single]) for name in features}
    for budget in (10**9, 50_000, 0):
        answer = _judge(detector, alone, budget)
        torch.testing.assert_close(answer.maps, whole.maps, atol=1e-5, rtol=0)
        torch.testing.assert_close(answer.scores, whole.scores, atol=1e-4, rtol=0)
    assert not detector.unsettled(LoadedSet(features))


def test_subsets_hear_nothing_of_each_other_but_are_scaled_together(features: Features) -> None:
    detector = _detector(subsets=2)
    ranks = sorted(range(12), key=lambda index: LoadedSet(features).digests[index])
    answer = _judge(detector, features)
    for subset in (ranks[0::2], ranks[1::2]):
        own = _judge(_detector(), _picked(features, subset))
        torch.testing.assert_close(answer.maps[subset], own.maps, atol=1e-6, rtol=0)
    assert (answer.maps - _judge(_detector(), features).maps).abs().max() > 1e-3
    plain = _judge(_detector(subsets=2, neighbours=(1,)), features).scores
    assert plain.min() == 0
    assert plain.max() == 1
    assert int((plain == 0).sum()) == int((plain == 1).sum()) == 1


def test_other_images_of_a_class_change_an_answer(features: Features) -> None:
    whole, part = _judge(_detector(), features), _judge(_detector(), _picked(features, range(9)))
    assert (whole.maps[:9] - part.maps).abs().max() > 1e-3


@pytest.mark.parametrize(("count", "subsets"), [(1, 1), (4, 1), (9, 2)])
def test_too_few_images_are_refused(features: Features, count: int, subsets: int) -> None:
    detector = _detector(subsets=subsets)
    each = " in each of 2 subsets" if subsets == 2 else ""
    with pytest.raises(ValueError, match=f"needs at least 5{each}; here are {count}$"):
        _judge(detector, _picked(features, range(count)))
    _judge(_detector(subsets=subsets), _picked(features, range(5 * subsets)))


@pytest.mark.parametrize(("count", "nearest"), [(5, 1), (10, 2), (11, 3), (12, 3), (201, 60), (5000, 1499)])
def test_a_share_is_of_the_other_images_rounded_down(count: int, nearest: int) -> None:
    assert _detector()._nearest(count) == nearest == 3 * (count - 1) // 10


def test_equal_maps_have_no_image_score(features: Features) -> None:
    same = {name: tensor[:1].expand(5, *tensor.shape[1:]) for name, tensor in features.items()}
    with pytest.warns(UserWarning, match="same maximum"):
        answer = _judge(_detector(), same)
    assert not answer.scores.any()


def test_neighbours_beyond_the_set_are_all_of_it(features: Features) -> None:
    few = _picked(features, range(6))
    got = _judge(_detector(neighbours=(6,)), few).scores
    assert torch.equal(_judge(_detector(neighbours=(9,)), few).scores, got)
    assert _detector(neighbours=(6,)).unsettled(LoadedSet(few)) == []


def test_images_that_tie_are_told(features: Features) -> None:
    tied = {name: tensor.clone() for name, tensor in features.items()}
    tied["image"][7] = tied["image"][8]
    told = _detector(neighbours=(1,)).unsettled(LoadedSet(tied))
    assert set(told) == {7, 8}


def test_aggregation_is_the_mean_of_a_neighbourhood_with_zeros_around(features: Features) -> None:
    """Written out: one mean and deviation an image, then windows, then unit length."""
    detector, tokens = _detector(), features["level1"][:2]
    for degree in (1, 3, 5):
        got = detector.aggregate(tokens, degree)
        for image in range(2):
            whole = (tokens[image] - tokens[image].mean()) / (tokens[image].var(correction=0) + 1e-5).sqrt()
            grid = F.pad(whole.reshape(6, 6, 64), (0, 0, degree // 2, degree // 2, degree // 2, degree // 2))
            for row, column in ((0, 0), (0, 5), (2, 3)):
                window = grid[row : row + degree, column : column + degree].reshape(-1, 64).mean(dim=0)
                want = window / window.norm()
                torch.testing.assert_close(got[image, row * 6 + column], want, atol=1e-5, rtol=0)


def test_each_level_and_degree_is_told(features: Features) -> None:
    heard: list[str] = []

    class Watched(LoadedSet):
        def note(self, text: str) -> None:
            heard.append(text)

    with torch.inference_mode():
        list(_detector(subsets=2).judge(Watched(features), "object"))
    assert len(heard) == 2 * 2 * 2
    assert heard[-1] == "comparing 6 images, 4 of 4 (level and degree)"


@pytest.mark.parametrize("backbone", ["dinov2", "dino"])
def test_dinos_are_seen_through_their_norm_and_not_of_unit_length(backbone: str) -> None:
    sizes = dinov2.Variant(64, 3, 2, grid=4, second=backbone == "dinov2")
    network = dinov2.build(sizes, filled(dinov2.blank(sizes), 4))
    detector = MuSc(network, backbone="dinov2_vitb14", **OPTIONS)
    images = torch.stack(
        [detector.preprocess(Image.new("RGB", (20, 30), (index, 9, 200))) for index in (0, 90)]
    )
    with torch.inference_mode():
        got, (leading, patches) = detector.encode(images), network(images)
    torch.testing.assert_close(got["image"], leading[:, 0])
    torch.testing.assert_close(got["level3"], patches)
    assert (got["image"].norm(dim=-1) - 1).abs().min() > 0.1
    with pytest.raises(ValueError, match="multiples of 14"):
        MuSc(network, **(OPTIONS | {"backbone": "dinov2_vitb14", "image_size": 90}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degrees": (1, 2)}, "odd side"),
        ({"degrees": ()}, "degrees"),
        ({"share": 0.0}, "share"),
        ({"neighbours": (0, 1)}, "neighbours"),
        ({"subsets": 0}, "subsets"),
        ({"layers": (1, 4)}, "set the option `layers`"),
        ({"layers": ()}, "layers"),
        ({"backbone": "ViT-L"}, "did you mean 'ViT-L-14-336'"),
        ({"backbone": "dinov2"}, "did you mean 'dinov2_"),
        ({"backbone": "dinov2_vitl14", "quick_gelu": True}, "quick_gelu"),
        ({"image_size": 13}, "smaller than one patch"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _detector(**options)


def test_presets_name_files_that_are_read_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {MuSc.files(MuSc.resolve(MuSc.presets[name]), None)["vision"].name for name in MuSc.presets}
    assert names == {
        "clip/ViT-L-14-336px.pt",
        "clip/mini.safetensors",
        "dino/dinov2_vitl14_pretrain.pth",
        "dino/dinov2_vitb14_pretrain.pth",
        "dino/dino_vitbase16_pretrain.pth",
    }
    small = replace(dinov2.VARIANTS["dinov2_vitb14"], width=64, depth=12, heads=2, grid=4)
    monkeypatch.setitem(dinov2.VARIANTS, "dinov2_vitb14", small)
    for backbone, other in (("dinov2_vitb14", "mini"), ("mini", "dinov2_vitb14")):
        path = tmp_path / backbone
        options = {**OPTIONS, "backbone": backbone}
        MuSc.write_untrained({"vision": path}, options, 3)
        loaded = MuSc.load({"vision": path}, **options)
        assert set(loaded.encode(torch.zeros(1, 3, 84, 84))) == {"image", "level1", "level3"}
        with pytest.raises(ValueError, match=f"{path}.*weights of another model"):
            MuSc.load({"vision": path}, **{**options, "backbone": other})


def test_visa_has_neighbours_of_its_own() -> None:
    """As the official code chooses them by the dataset's name; a preset's own numbers go before."""
    assert MethodRequest("musc").options("visa")["neighbours"] == (1, 8, 9)
    assert MethodRequest("musc").options("mvtec")["neighbours"] == (1, 2, 3)
    assert MethodRequest("musc", "no-rescoring").options("visa")["neighbours"] == (1,)


def test_the_arithmetic_of_comparing_is_told_before() -> None:
    """As the method's page counts it: 0.92 PFLOP for a class of 200."""
    default = MuSc.resolve({})
    assert MuSc.judge_flops(default, 200) == pytest.approx(0.92e15, rel=0.01)
    assert MuSc.judge_flops({**default, "subsets": 2}, 200) == pytest.approx(
        2 * MuSc.judge_flops(default, 100)
    )
    small = MuSc.resolve(MuSc.presets["dinov2-b"])
    assert MuSc.judge_flops(small, 200) == pytest.approx(0.92e15 * 768 / 1024, rel=0.01)
