"""AdaCLIP: prompts in both towers, texts that depend on the image, and scores that depend on it alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods import states
from methods.adaclip import AdaCLIP, cluster, most_abnormal, semantic_features
from methods.backbones import clip
from methods.base import TrainingBatch
from tests.methods.conftest import noisy_inputs

MINI = AdaCLIP.presets["mini"]
OPTIONS = AdaCLIP.resolve(MINI)
SIZE = OPTIONS["image_size"]
NAMES = ["bottle", "metal_nut", "01", "bottle", "zipper"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    paths = {"vision": root / "clip.pt", "learned": root / "learned.pth"}
    AdaCLIP.write_untrained(paths, OPTIONS, seed=4)
    return paths


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return noisy_inputs(5, SIZE)


@pytest.fixture(scope="module")
def detector(files: dict[str, Path]) -> AdaCLIP:
    return AdaCLIP.load(files, **MINI)


def run(files: dict[str, Path], images: torch.Tensor, names: list[str], **options: Any) -> Any:
    with torch.inference_mode():
        return AdaCLIP.load(files, **{**MINI, **options})(images, names)


@pytest.mark.parametrize(
    ("options", "scores_move", "maps_move"),
    [
        ({"use_hsf": False}, True, False),
        ({"kmeans_seed": 5}, True, False),
        ({"k_clusters": 3}, True, False),
        ({"sigma": 0.0}, False, True),
        ({"prompting_type": "S"}, True, True),
        ({"prompting_branch": "V"}, True, True),
        ({"prompting_branch": "L"}, True, True),
        ({"prompting_branch": "V", "prompting_type": "D"}, True, True),
        ({"prompting_branch": "", "prompting_type": ""}, True, True),
    ],
)
def test_every_part_does_what_it_should(
    files: dict[str, Path],
    detector: AdaCLIP,
    images: torch.Tensor,
    options: dict[str, Any],
    scores_move: bool,
    maps_move: bool,
) -> None:
    with torch.inference_mode():
        full = detector(images[:2], NAMES[:2])
    other = run(files, images[:2], NAMES[:2], **options)  # from the same file: it may hold more
    assert ((other.scores - full.scores).abs().max() > 1e-5) == scores_move
    assert ((other.maps - full.maps).abs().max() > 1e-5) == maps_move


def test_texts_are_kept_unless_they_depend_on_the_image(
    files: dict[str, Path], images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    once = clip.text_pass

    def counted(model: Any, tokens: torch.Tensor, **more: Any) -> torch.Tensor:
        sizes.append(len(tokens))
        return once(model, tokens, **more)

    monkeypatch.setattr(clip, "text_pass", counted)
    for options, first, second in (
        ({"prompting_type": "S"}, [48] * 4, []),
        ({"prompting_branch": "V"}, [48] * 4, []),
        ({}, [48] * 5, [48] * 5),
    ):
        detector = AdaCLIP.load(files, **{**MINI, **options})
        for expected in (first, second):
            sizes.clear()
            with torch.inference_mode():
                detector(images, NAMES)
            assert sizes == expected
    static = AdaCLIP.load(files, **{**MINI, "prompting_type": "S"})
    with torch.no_grad():
        before = static.text_features(["bottle"], None)
        static.learned()["clip_model.text_prompter.static_prompts.1"].neg_()
        after = static.text_features(["bottle"], None)
    assert (after - before).abs().max() > 1e-3


def test_the_clip_behind_it_runs_with_exact_gelu(detector: AdaCLIP) -> None:
    model = detector.model
    for tower in (model.transformer, model.visual.transformer):
        assert all(type(block.mlp.gelu) is torch.nn.GELU for block in tower.resblocks)


def test_only_hyphens_become_blanks(detector: AdaCLIP, images: torch.Tensor) -> None:
    with torch.inference_mode():
        maps = [detector(images[:1], [name]).maps for name in ("metal-nut", "metal nut", "metal_nut")]
    assert torch.equal(maps[0], maps[1])
    assert (maps[0] - maps[2]).abs().max() > 1e-5


# --- hybrid semantic fusion ---------------------------------------------------------------------------


def test_fusion_by_hand() -> None:
    points = torch.tensor([[[2.0, 0.0], [4.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [4.0, 0.0], [0.0, 4.0]]])
    # Cluster means (3, 0) and (0, 3), whatever their sizes; label 1 has no patches and does not count.
    fused = semantic_features(points[None], torch.tensor([[2, 2, 0]]))
    torch.testing.assert_close(fused, torch.tensor([[0.5, 0.5]]).sqrt())


def test_the_most_abnormal_over_all_layers_are_chosen() -> None:
    logits = torch.zeros(1, 2, 4, 2)
    logits[0, :, :, 1] = torch.tensor([[5.0, 0.0, 1.0, 9.0], [0.0, 3.0, 3.0, -9.0]])
    assert most_abnormal(logits, 2).tolist() == [[0, 2]]
    assert most_abnormal(logits, 100).shape == (1, 4)


def test_clusters_follow_from_points_and_seed_alone() -> None:
    points = torch.randn(3, 2, 30, 8, generator=torch.Generator().manual_seed(3))
    labels = cluster(points, 4, seed=111)
    np.random.seed(7)
    assert torch.equal(cluster(points, 4, seed=111), labels)
    assert any(not torch.equal(cluster(points, 4, seed=seed), labels) for seed in range(5))
    assert labels.dtype == torch.long and [set(each) for each in labels.tolist()] == [{0, 1, 2, 3}] * 3
    assert torch.equal(cluster(points[1:2], 4, seed=111), labels[1:2]), "each set by itself"


def test_one_colour_gives_finite_scores(files: dict[str, Path]) -> None:
    assert run(files, torch.zeros(1, 3, SIZE, SIZE), ["wood"]).scores.isfinite().all()


# --- training -----------------------------------------------------------------------------------------


def test_dice_by_row_or_by_image(files: dict[str, Path], images: torch.Tensor) -> None:
    masks = torch.zeros(2, SIZE, SIZE)
    masks[:, 30:60, 30:60] = 1
    terms = {}
    for dice in ("row", "image"):
        detector = AdaCLIP.load(files, **{**MINI, "dice": dice})
        with torch.no_grad():
            features = detector.encode(images[:2])
            terms[dice] = detector.loss(features, TrainingBatch(NAMES[:2], torch.tensor([1, 1]), masks))
            parts = detector.parts(features, NAMES[:2])
            layer = [detector.raw_maps(logits)[:, 1] for logits in parts.logits.unbind(1)]
    rows = [(2 * (each * masks).sum(2) + 1) / (each.sum(2) + masks.sum(2) + 1) for each in layer]
    whole = [
        (2 * (each * masks).sum((1, 2)) + 1) / (each.sum((1, 2)) + masks.sum((1, 2)) + 1) for each in layer
    ]
    torch.testing.assert_close(terms["row"]["dice_abnormal"], sum(1 - each.mean() for each in rows))
    torch.testing.assert_close(terms["image"]["dice_abnormal"], sum(1 - each.mean() for each in whole))
    torch.testing.assert_close(terms["row"]["focal"], terms["image"]["focal"])


# --- options and files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"layers": (13,)}, "layers"),
        ({"prompting_branch": "X"}, "prompting_branch"),
        ({"prompting_type": ""}, "prompting_type"),
        ({"prompting_type": "D"}, "dynamic alone"),
        ({"prompting_length": 77}, "prompting_length"),
        ({"prompting_depth": 13}, "prompting_depth"),
        ({"k_clusters": 101}, "100 patches"),
        ({"dice": "rows"}, "dice"),
        ({"backbone": "ViT-L"}, "ViT-L"),
    ],
)
def test_impossible_options_are_refused(files: dict[str, Path], options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        AdaCLIP.begin({"vision": files["vision"]}, seed=111, **{**MINI, **options})


def test_weights_that_do_not_fit_are_refused_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    good = states.read(files["learned"])
    path = tmp_path / "bad.pth"
    for change in (
        {"clip_model.text_prompter.static_prompts.1": torch.zeros(4, 64)},
        {"clip_model.cls_token_layer.head.0.bias": None},
        {"clip_model.dynamic_text_prompt_generator.head.4.weight": None},
        {"clip_model.text_prompter.static_prompts.4": torch.zeros(5, 64)},
    ):
        states.write({name: value for name, value in {**good, **change}.items() if value is not None}, path)
        with pytest.raises(ValueError, match=r"bad\.pth"):
            AdaCLIP.load({**files, "learned": path}, **MINI)
    for options in ({"prompting_length": 4}, {"prompting_depth": 3}, {"layers": (3, 6)}):
        with pytest.raises(ValueError, match=r"learned\.pth"):
            AdaCLIP.load(files, **{**MINI, **options})


def test_a_file_of_less_serves_what_it_was_trained_for(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "static.safetensors"
    static = AdaCLIP.load(files, **{**MINI, "prompting_type": "S"})
    states.write({name: tensor.detach() for name, tensor in static.learned().items()}, path)
    again = AdaCLIP.load({**files, "learned": path}, **{**MINI, "prompting_type": "S"})
    assert again.learned().keys() == static.learned().keys()
    with pytest.raises(ValueError, match=r"static\.safetensors"):
        AdaCLIP.load({**files, "learned": path}, **MINI)


def test_files_say_what_they_were_trained_on() -> None:
    options = AdaCLIP.resolve({})
    sources = {
        target: AdaCLIP.source_for(target, options) for target in ("mvtec", "visa", "cvc_colondb", "isic")
    }
    assert sources == {
        "mvtec": "visa+cvc_clinicdb",
        "visa": "mvtec+cvc_colondb",
        "cvc_colondb": "visa+cvc_clinicdb",
        "isic": "mvtec+cvc_colondb",
    }
    assert AdaCLIP.source_for("cvc_clinicdb", options) == "mvtec+cvc_colondb"
    assert AdaCLIP.selected_on["mvtec+cvc_colondb"] == ("visa",)
    published = AdaCLIP.files(options, "mvtec+cvc_colondb")["learned"]
    assert "trained_on_mvtec+cvc_colondb" in published.name and published.digest_by_third_party
    assert published.hub and published.hub.name == "pretrained_mvtec_colondb.pth"
    assert len(published.hub.revision) == 40, "a commit, not a branch"
    assert AdaCLIP.files({**options, "use_hsf": False}, "mvtec+cvc_colondb")["learned"] == published
    assert AdaCLIP.files({**options, "prompting_type": "S"}, "mvtec+cvc_colondb")["learned"] == published
    names = {
        AdaCLIP.files({**options, **other}, "btad")["learned"].name
        for other in ({}, {"prompting_type": "S"}, {"prompting_depth": 5}, {"backbone": "mini"})
    }
    assert len(names) == 4 and all(name.endswith("trained_on_btad.safetensors") for name in names)


def test_the_published_file_has_the_published_parts() -> None:
    """38 tensors of 10,665,472 values at the true size."""
    shapes = AdaCLIP.learned_shapes(AdaCLIP.resolve({}), clip.blank("ViT-L-14-336"))
    assert len(shapes) == 38
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 10_665_472
    assert shapes["clip_model.dynamic_visual_prompt_generator.head.4.weight"] == (1024, 768)
