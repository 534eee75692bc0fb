"""VisualAD: what its two tokens, its norms, its files and its training do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from methods import states
from methods.backbones import clip, dinov2
from methods.base import TrainingBatch
from methods.fill import filled
from methods.learned_tensors import blank
from methods.visualad import VisualAD
from tests.methods.conftest import noisy_inputs

MINI = {**VisualAD.preset("mini").options, "layers": (2, 3, 5, 6)}
OPTIONS = VisualAD.resolve(MINI)
SIZE = OPTIONS["image_size"]
NAMES = ["bottle", "metal_nut", "01"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    paths = {"vision": root / "clip.pt", "learned": root / "CLIP.pth"}
    VisualAD.write_untrained(paths, OPTIONS, seed=4)
    return paths


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return noisy_inputs(3, SIZE)


@pytest.fixture
def detector(files: dict[str, Path]) -> VisualAD:
    return VisualAD.load(files, **MINI)


@pytest.fixture
def batch() -> TrainingBatch:
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    masks[1, 30:90, 30:90] = 1
    return TrainingBatch(NAMES, masks.amax(dim=(1, 2)), masks)


def maps_of(detector: VisualAD, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return detector(images, NAMES[: len(images)]).maps


def test_the_patches_see_the_learned_tokens_so_nothing_is_kept(
    detector: VisualAD, images: torch.Tensor
) -> None:
    assert VisualAD.encoder_options is None and list(detector.encode(images)) == ["images"]
    with torch.inference_mode():
        before = detector.look(images, "pretrained").tokens
        detector.anomaly_token.mul_(2)
        after = detector.look(images, "pretrained").tokens
    assert ((after - before)[:, :, 3:].abs().amax(dim=(0, 2, 3)) > 1e-4).all()


def test_the_image_score_is_the_mean_of_the_highest_pixels(detector: VisualAD) -> None:
    maps = torch.zeros(1, 140 * 140)
    maps[0, 7 : 7 + 196] = 1
    assert detector.image_scores(maps.view(1, 140, 140)).item() == 1
    maps[0, 7] = 0
    assert detector.image_scores(maps.view(1, 140, 140)).item() == pytest.approx(195 / 196)
    detector.options["top_share"] = 0.07  # 7 of 100, though 0.07 * 100 is more in floats
    assert detector.image_scores((torch.arange(100.0) > 92).float().view(1, 10, 10)).item() == 1
    detector.options["top_share"] = 0.01
    large = torch.zeros(1, 518 * 518)
    large[0, :2684] = 1
    assert detector.image_scores(large.view(1, 518, 518)).item() == 1
    large[0, 2683] = 0
    assert detector.image_scores(large.view(1, 518, 518)).item() < 1


def test_the_image_score_is_of_the_smoothed_map(detector: VisualAD, images: torch.Tensor) -> None:
    with torch.inference_mode():
        scores, maps, _ = detector(images, NAMES)
    highest = maps.flatten(1).sort(dim=1).values[:, -196:]
    torch.testing.assert_close(scores, highest.mean(dim=1), rtol=0, atol=1e-6)


def test_the_norm_of_scoring_is_an_option_and_that_of_training_is_not(
    files: dict[str, Path], images: torch.Tensor, batch: TrainingBatch
) -> None:
    either = {
        norm: VisualAD.load(files, **MINI, norm=norm, dropout=0.0) for norm in ("pretrained", "trained")
    }
    before = {norm: maps_of(one, images) for norm, one in either.items()}
    losses = [one.loss(one.encode(images), batch)["focal"].item() for one in either.values()]
    assert losses[0] == losses[1]
    for one in either.values():
        with torch.no_grad():
            one.ln_post_weight.mul_(torch.linspace(0.5, 2, 128))
    assert torch.equal(maps_of(either["pretrained"], images), before["pretrained"])
    assert (maps_of(either["trained"], images) - before["trained"]).abs().max() > 1e-3
    moved = [one.loss(one.encode(images), batch)["focal"].item() for one in either.values()]
    assert moved[0] == moved[1] != losses[0]


def test_dropout_is_in_the_loss_alone(
    files: dict[str, Path], images: torch.Tensor, batch: TrainingBatch
) -> None:
    detector = VisualAD.load(files, **MINI).eval()  # as the trainer has it

    def total(seed: int) -> float:
        torch.manual_seed(seed)
        return detector.recipe.stages[0].minimised(detector.loss({"images": images}, batch)).item()

    assert total(1) == total(1) != total(2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(maps_of(detector, images), maps_of(detector.train(), images))
    assert torch.equal(torch.get_rng_state(), state)


def test_training_begins_as_the_paper_has_it(files: dict[str, Path]) -> None:
    detector = VisualAD.begin({"vision": files["vision"]}, seed=5, **MINI)
    again = VisualAD.begin({"vision": files["vision"]}, seed=5, **MINI).learned()
    other = VisualAD.begin({"vision": files["vision"]}, seed=6, **MINI).learned()
    learned, width = detector.learned(), 128
    assert all(torch.equal(again[name], tensor) for name, tensor in learned.items())
    assert not torch.equal(other["anomaly_token"], learned["anomaly_token"])
    assert not torch.equal(learned["normal_token"], learned["anomaly_token"])
    assert torch.equal(learned["ln_post_weight"], detector.model.visual.ln_post.weight)
    assert torch.equal(learned["ln_post_bias"], detector.model.visual.ln_post.bias)
    sca, saf = "cross_attn.layer_attentions.layer_5.", "layer_transforms.layer_5.mlp."
    for name, deviation in {
        "anomaly_token": 0.1 * width**-0.5,
        f"{sca}anchor_queries": 0.02,
        f"{sca}pos_encoding": 0.02,
        f"{sca}k_proj.weight": width**-0.5,
        f"{sca}out_proj.weight": width**-0.5,
        f"{saf}0.weight": width**-0.5,
        f"{saf}3.weight": width**-0.5,
        f"{sca}gate.0.weight": (3 * width) ** -0.5,
    }.items():
        assert learned[name].std().item() == pytest.approx(deviation, rel=0.2), name
    assert learned[f"{saf}3.weight"].abs().max() <= (3 / width) ** 0.5  # uniform, not normal
    for name, value in {
        f"{sca}res_scale": 0.01,
        f"{sca}q_norm.weight": 1,
        f"{sca}k_norm.bias": 0,
        f"{sca}out_proj.bias": 0,
        f"{saf}0.bias": 0,
        f"{saf}3.bias": 0,
    }.items():
        assert torch.equal(learned[name], torch.full_like(learned[name], value)), name


def test_published_and_own_files_hold_the_same_tensors(
    files: dict[str, Path], detector: VisualAD, tmp_path: Path
) -> None:
    published = states.read(files["learned"])
    assert published["layer_transforms"]["layer_3"]["mlp.3.bias"].shape == (128,)
    assert published["cross_attn"]["layer_attentions.layer_6.pos_encoding"].shape == (1, 100, 128)
    assert published["features_list"] == [2, 3, 5, 6] and published["image_size"] == SIZE
    VisualAD.write_untrained({"learned": tmp_path / "untrained.safetensors"}, OPTIONS, seed=4)
    untrained = states.read(tmp_path / "untrained.safetensors")
    assert len(untrained) == 4 + 4 * 18
    for name, tensor in detector.learned().items():
        assert torch.equal(untrained[name], tensor)


def test_a_file_of_true_size_has_the_published_names_and_number_of_values() -> None:
    options = VisualAD.resolve({})
    shapes = VisualAD.learned_shapes(options, clip.blank(options["backbone"]))
    assert len(shapes) == 76
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 31_522_836
    assert shapes["cross_attn.layer_attentions.layer_24.gate.0.weight"] == (4, 1024)
    assert shapes["cross_attn.layer_attentions.layer_6.res_scale"] == (1,)


def _changed(content: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    first, _, rest = name.partition("/")
    if rest:
        return {**content, first: _changed(content[first], rest, value)}
    return {key: each for key, each in {**content, first: value}.items() if each is not None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normal_token", None),
        ("anomaly_token", torch.zeros(1, 128)),
        ("surprise", torch.zeros(1)),
        ("proj", torch.zeros(128, 64)),
        ("layer_transforms/layer_3", None),
        ("layer_transforms/layer_3/mlp.3.bias", torch.zeros(127)),
        ("layer_transforms/layer_4", {"mlp.0.weight": torch.zeros(128, 128)}),
        ("cross_attn/layer_attentions.layer_6.gate.0.weight", torch.zeros(5, 128)),
        ("features_list", [1, 3, 5, 6]),
        ("image_size", 518),
        ("backbone", "ViT-L/14@336px"),
        ("transform_type", "linear"),
        ("cross_attn_config/num_anchors", 5),
    ],
)
def test_a_file_that_contradicts_is_refused_by_name(
    files: dict[str, Path], tmp_path: Path, name: str, value: Any
) -> None:
    path = tmp_path / "bad.pth"
    torch.save(_changed(states.read(files["learned"]), name, value), path)
    with pytest.raises(ValueError, match=r"bad\.pth: .*(weights of another model|with other options)"):
        VisualAD.load({**files, "learned": path}, **MINI)


def test_what_a_file_says_beside_is_passed_over(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "older.pth"
    said = {
        "token_insert_layer": 0,
        "use_1024_dim": True,
        "proj": None,
        "transform_config": {"a": 1},
        "epoch": 2,
    }
    content = {**states.read(files["learned"]), **said}
    content["cross_attn_config"]["apply_to_layer24"] = True
    torch.save(content, path)
    VisualAD.load({**files, "learned": path}, **MINI)
    circle: dict[str, Any] = {}
    circle["again"] = circle
    torch.save(circle, path)
    with pytest.raises(ValueError, match=r"older\.pth"):
        VisualAD.load({**files, "learned": path}, **MINI)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"layers": (2, 13)}, "layers"),
        ({"layers": ()}, "layers"),
        ({"layers": (3, 3)}, "layers"),
        ({"num_anchors": 0}, "num_anchors"),
        ({"most_patches": 0}, "most_patches"),
        ({"norm": "clip"}, "norm"),
        ({"top_share": 0.0}, "top_share"),
        ({"top_share": 1.5}, "top_share"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"backbone": "ViT-L"}, "ViT-L"),
        ({"backbone": "dinov2_vitb14_reg4"}, "reg4"),
        ({"backbone": "dino_vitbase8"}, "vitbase8"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        model = clip.build("mini", _mini_state(), quick_gelu=True)
        VisualAD(model, _learned(model), **{**MINI, **options})


def test_positions_are_resized_plainly_to_a_smaller_grid_too(files: dict[str, Path]) -> None:
    model = clip.load("mini", files["vision"], quick_gelu=True)
    detector = VisualAD(model, _learned(model), **{**MINI, "image_size": 70})
    own = model.visual.positional_embedding
    grid = own[1:].mT.reshape(1, -1, 10, 10)
    smaller = torch.nn.functional.interpolate(grid, size=(5, 5), mode="bilinear", align_corners=False)
    torch.testing.assert_close(detector.positions, torch.cat([own[:1], smaller[0].flatten(1).mT]))


def test_a_grid_beyond_the_positions_is_refused(files: dict[str, Path]) -> None:
    model = clip.load("mini", files["vision"], quick_gelu=True)
    learned = _learned(model)
    assert VisualAD(model, learned, **{**MINI, "image_size": 153}).grid == (10, 10)
    with pytest.raises(ValueError, match="image_size 154 makes 121 patches, more than most_patches, 100"):
        VisualAD(model, learned, **{**MINI, "image_size": 154})


def _learned(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return filled(blank(VisualAD.learned_shapes(OPTIONS, model.state_dict())), 1)


def _mini_state() -> dict[str, torch.Tensor]:
    return {name: torch.zeros(tensor.shape) for name, tensor in clip.blank("mini").items()}


@pytest.fixture
def small_dino(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return options for a small DINOv2, which takes the true one's name."""
    monkeypatch.setitem(dinov2.VARIANTS, "dinov2_vitl14", dinov2.Variant(64, 4, 2, grid=5))
    return {**VisualAD.presets["dinov2"], "image_size": 84, "layers": (2, 4)}


def test_dinov2_takes_the_place_of_clip(small_dino: dict[str, Any], tmp_path: Path) -> None:
    paths = {"vision": tmp_path / "dino.pth", "learned": tmp_path / "own.pth"}
    VisualAD.write_untrained(paths, small_dino, seed=4)
    assert "mask_token" in states.read(paths["vision"])
    detector = VisualAD.load(paths, **small_dino)
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 100, 3), dtype=np.uint8))
    image = detector.preprocess(picture)
    pixels = np.asarray(picture.resize((84, 84), Image.Resampling.BICUBIC)) / 255
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
    np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), (pixels - mean) / deviation, atol=1e-5)
    maps = maps_of(detector, image[None])
    assert maps.shape == (1, 84, 84)
    with torch.no_grad():
        detector.normal_token.mul_(-1)
    assert (maps_of(detector, image[None]) - maps).abs().max() > 1e-4
    begun = VisualAD.begin({"vision": paths["vision"]}, seed=5, **small_dino)
    assert torch.equal(begun.learned()["ln_post_weight"], begun.model.norm.weight)
    mask = torch.zeros(1, 84, 84, dtype=torch.uint8)
    terms = begun.loss({"images": image[None]}, TrainingBatch(["x"], torch.zeros(1), mask))
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in begun.learned().values())
    assert all(parameter.grad is None for parameter in begun.model.parameters())
    with pytest.raises(ValueError, match="multiples of 14"):
        VisualAD(detector.model, detector.learned(), **{**small_dino, "image_size": 90})
    with pytest.raises(ValueError, match=r"layers \[5\]"):
        VisualAD(detector.model, detector.learned(), **{**small_dino, "layers": (2, 5)})


def test_dinov2_is_to_be_trained() -> None:
    options = VisualAD.resolve(VisualAD.presets["dinov2"])
    files = VisualAD.files(options, "visa")
    assert files["vision"] == dinov2.file("dinov2_vitl14")
    assert files["learned"].trained_here and "dinov2_vitl14/" in files["learned"].name


def test_files_say_what_they_were_trained_on() -> None:
    options = VisualAD.resolve({})
    assert VisualAD.source_for("visa", options) == "mvtec"
    assert VisualAD.source_for("mvtec", options) == VisualAD.source_for("btad", options) == "visa"
    assert VisualAD.selected_on == {"visa": ("mvtec",), "mvtec": ("visa",)}
    for source, digest in (("visa", "fed8ed5e"), ("mvtec", "596f3ed0")):
        files = VisualAD.files(options, source)
        assert files["vision"] == clip.file("ViT-L-14-336")
        file = files["learned"]
        assert file.name == f"visualad/ViT-L-14-336/trained_on_{source}.pth"
        assert file.url and file.url.startswith(
            "https://media.githubusercontent.com/media/7HHHHH/VisualAD/8479132d"
        )
        assert file.url.endswith(f"/weight/train_on_{source}/CLIP.pth")
        assert file.size == 126_119_090 and file.sha256 and file.sha256.startswith(digest)
        assert file.git_sha1 is None  # it would be the Git LFS pointer's
    own = VisualAD.files(options, "btad")["learned"]
    assert own.trained_here and own.name.endswith("trained_on_btad.safetensors")
    # A file fits one choice of sizes; how scores are read from it is free.
    names = {
        VisualAD.files({**options, **change}, "visa")["learned"].name
        for change in (
            {},
            {"image_size": 336},
            {"layers": (6, 24)},
            {"num_anchors": 8},
            {"most_patches": 99},
            {"backbone": "mini"},
        )
    }
    assert len(names) == 6
    same = {"norm": "trained", "sigma": 2.0, "top_share": 0.02, "dropout": 0.0}
    assert VisualAD.files({**options, **same}, "visa") == VisualAD.files(options, "visa")
