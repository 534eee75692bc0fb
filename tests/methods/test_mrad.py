"""MRAD: its bank, which files, in which form, and what each variant uses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from methods import states
from methods.base import Features, TrainingBatch
from methods.fill import filled
from methods.learned_tensors import blank
from methods.mrad import Mrad
from tests.methods.conftest import small_clip

OPTIONS = {"image_size": 84, "dpam_layer": 3, "depth": 3, "sigma": 1.0}
VARIANTS = ("tf", "ft", "clip")


@pytest.fixture(scope="module")
def model() -> Any:
    return small_clip(quick_gelu=True)


def _detector(model: Any, variant: str, **options: Any) -> Mrad:
    given = {**OPTIONS, "variant": variant, **options}
    shapes = Mrad.learned_shapes(Mrad.resolve(given), model.state_dict())
    return Mrad(model, filled(blank(shapes), 5), **given)


@pytest.fixture(scope="module")
def features(model: Any) -> Features:
    pixels = np.random.default_rng(6).integers(0, 256, (6, 90, 100, 3), dtype=np.uint8)
    detector = _detector(model, "tf")
    return detector.encode(torch.stack([detector.preprocess(Image.fromarray(each)) for each in pixels]))


@pytest.fixture
def masks() -> torch.Tensor:
    """Six masks at 84 px, a 6 x 6 grid of patches: defects of images 1, 3, 4 and 5."""
    found = torch.zeros(6, 84, 84, dtype=torch.uint8)
    found[1, 14:28, 28:56] = 1  # patches (1, 2) and (1, 3)
    found[3] = 1
    found[4, 17:24, 31:38] = 1  # centre pixels of patch (1, 2): it is all abnormal
    found[5, 15:20, 30:34] = 1  # touches a patch beside its centre: no abnormal entry
    return found


LABELS = torch.tensor([0, 1, 0, 1, 1, 1])


def test_the_bank_holds_each_image_and_the_regions_that_patches_lie_in(
    model: Any, features: Features, masks: torch.Tensor
) -> None:
    detector = _detector(model, "tf")
    detector.remember(features, LABELS, masks)
    bank = detector.kept()
    assert torch.equal(bank["bank.image_keys"], features["image"])
    assert bank["bank.image_labels"].tolist() == LABELS.tolist()
    assert bank["bank.patch_labels"].tolist() == [0, 1, 0, 0, 1, 1, 0, 0]
    grids = features["patches"].reshape(6, 6, 6, -1)
    pair = F.normalize(grids[1, 1, 2:4].mean(dim=0), dim=-1)
    torch.testing.assert_close(bank["bank.patch_keys"][1], pair, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        bank["bank.patch_keys"][5], F.normalize(grids[4, 1, 2], dim=-1), rtol=0, atol=1e-6
    )
    # The rest of image 4 without that one patch, lengths of features counting.
    rest = (features["patches"][4].sum(dim=0) - grids[4, 1, 2]) / 35
    torch.testing.assert_close(bank["bank.patch_keys"][6], F.normalize(rest, dim=-1), rtol=0, atol=1e-6)
    again = _detector(model, "tf")
    for part in ((0, 1), (2, 3, 4), (5,)):
        index = list(part)
        again.remember({name: each[index] for name, each in features.items()}, LABELS[index], masks[index])
    for name, each in again.kept().items():
        assert each.dtype == bank[name].dtype
        torch.testing.assert_close(each, bank[name], rtol=0, atol=1e-6)


def test_the_score_is_of_the_image_and_of_the_smoothed_maps_top(
    model: Any, features: Features, masks: torch.Tensor
) -> None:
    found = {}
    for k in (0.0, 0.7, 1.0):
        detector = _detector(model, "tf", k=k)
        detector.remember(features, LABELS, masks)
        found[k] = detector.score(features, [])
    top = found[0.0].maps.flatten(1).sort(dim=1, descending=True).values[:, : int(84 * 84 * 0.01)]
    torch.testing.assert_close(found[0.0].scores, top.mean(dim=1))
    weights = (features["image"] @ features["image"].T).softmax(dim=-1)
    torch.testing.assert_close(found[1.0].scores, weights @ LABELS.float())
    torch.testing.assert_close(found[0.7].scores, 0.7 * found[1.0].scores + 0.3 * found[0.0].scores)


def test_one_encoding_serves_all_variants_and_they_differ(
    model: Any, features: Features, masks: torch.Tensor
) -> None:
    maps = []
    for variant in VARIANTS:
        detector = _detector(model, variant)
        detector.remember(features, LABELS, masks)
        maps.append(detector.score(features, []).maps)
        assert "variant" not in detector.encoder_options
    assert all((maps[a] - maps[b]).abs().max() > 1e-3 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_training_leaves_out_what_is_nearest_and_judging_does_not(
    model: Any, features: Features, masks: torch.Tensor
) -> None:
    detector = _detector(model, "tf", image_quantile=0.7)
    detector.remember(features, LABELS, masks)
    cosines = features["image"] @ features["image"].T
    limit = cosines.quantile(0.7, dim=1, keepdim=True)
    kept = cosines.masked_fill(cosines > limit, float("-inf")).softmax(dim=-1) @ LABELS.float()
    dropped = detector.retrieve("image", features["image"], dropout=True)[:, 1]
    torch.testing.assert_close(dropped, kept)
    assert (dropped - detector.retrieve("image", features["image"])[:, 1]).abs().max() > 1e-3
    assert (cosines.diagonal() > limit[:, 0]).all()  # an image never finds itself


def test_each_stage_trains_its_own_and_the_loss_falls(
    model: Any, features: Features, masks: torch.Tensor
) -> None:
    detector = _detector(model, "clip")
    detector.remember(features, LABELS, masks)
    for stage in Mrad.recipe.stages_for(detector.options):
        before = {name: each.detach().clone() for name, each in detector.learned().items()}
        optimiser, losses = stage.make_optimiser(detector.learned()), []
        trained = stage.trained(detector.learned())
        for _ in range(25):
            batch = TrainingBatch([""] * 6, LABELS, masks, stage.name)
            terms = detector.loss(features, batch)
            loss = stage.minimised(terms)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        moved = {n for n, each in detector.learned().items() if not torch.equal(each, before[n])}
        # A bias of keys adds one number to all that a softmax sees.
        assert moved == trained.keys() - {"patch_proj.fc.1.bias", "image_proj.mlp2.bias"}
    assert not Mrad.recipe.stages_for(_detector(model, "tf").options)


def test_files_by_variant_and_source() -> None:
    options = {variant: Mrad.resolve({"variant": variant}) for variant in VARIANTS}
    for target, source in (("mvtec", "visa"), ("btad", "visa"), ("visa", "mvtec")):
        assert Mrad.source_for(target, options["clip"]) == source
        names = {
            variant: {role: file.name.rpartition("/")[2] for role, file in Mrad.files(each, source).items()}
            for variant, each in options.items()
        }
        banks = {
            "learned_image": f"cache_model_{source}.pt",
            "learned_patch": f"cache_patch_model_{source}.pt",
        }
        vision = {"vision": "ViT-L-14-336px.pt"}
        assert names["tf"] == vision | banks
        assert names["clip"] == vision | banks | {"learned": f"trained_on_{source}.pth"}
        assert names["ft"] == vision | {"learned": f"trained_on_{source}.safetensors"}
    checkpoint = Mrad.files(options["clip"], "visa")["learned"]
    assert "test_on_mvtec.pth" in checkpoint.by_hand  # named by its target
    for more in ({"image_size": 336}, {"dpam_layer": 20}, {"backbone": "mini"}, {"n_ctx": 8}):
        assert Mrad.files(Mrad.resolve(more), "visa")["learned"].trained_here
    own = {variant: Mrad.files(each, "visa~111")["learned"].name for variant, each in options.items()}
    assert len(set(own.values())) == 3


def test_published_files_are_a_checkpoint_beside_two_banks(tmp_path: Path) -> None:
    options = {**Mrad.presets["mini"], "n_ctx": 5}
    paths = {"vision": tmp_path / "clip.pt", "learned": tmp_path / "test_on_mvtec.pth"}
    paths |= {"learned_image": tmp_path / "cache_model_visa.pt"}
    paths |= {"learned_patch": tmp_path / "cache_patch_model_visa.pt"}
    Mrad.write_untrained(paths, options, seed=2)
    content = states.read(paths["learned"])
    assert content.keys() == set(Mrad.sections)
    assert content["prompt_learner"]["mlp.c_fc.weight"].shape == (256, 64)
    assert content["prompt_learner"]["token_suffix_neg"].shape == (1, 1, 71, 64)
    bank = states.read(paths["learned_patch"])
    assert bank.keys() == {"keys", "values"} and bank["values"].shape == (8, 2)
    detector = Mrad.load(paths, **options)
    assert torch.equal(detector.kept()["bank.patch_keys"], bank["keys"])
    assert torch.equal(detector.learned()["prompt_proj.mlp1.bias"], content["prompt_proj"]["mlp1.bias"])
    assert not any("mlp.c" in name or "token" in name for name in detector.learned())
    # One file of ours says the same.
    flat = tmp_path / "own.safetensors"
    states.write({**{n: e.detach() for n, e in detector.learned().items()}, **detector.kept()}, flat)
    again = Mrad.load({"vision": paths["vision"], "learned": flat}, **options)
    image = torch.rand(1, 3, 140, 140)
    with torch.inference_mode():
        assert torch.equal(again(image, [""]).maps, detector(image, [""]).maps)
    _refuses(paths, options, content, bank)


def _refuses(
    paths: dict[str, Path], options: dict[str, Any], content: dict[str, Any], bank: dict[str, Any]
) -> None:
    learner = content["prompt_learner"]
    words = "tokenized_prompts_pos"
    for name, broken, reason in (
        ("learned", {**content, "patch_proj": {}}, "weights of another model"),
        ("learned", {**content, "prompt_learner": {**learner, "more": torch.zeros(1)}}, "another model"),
        ("learned", {**content, "prompt_learner": {**learner, words: learner[words] + 1}}, "is not that of"),
        ("learned_patch", {**bank, "keys": bank["keys"][:, :64]}, "weights of another model"),
        ("learned_patch", {**bank, "keys": bank["keys"][:3]}, "has not one label"),
        ("learned_patch", {**bank, "values": bank["values"] / 2}, "not one-hot"),
        ("learned_patch", {"keys": bank["keys"][:0], "values": bank["values"][:0]}, "another model"),
        ("learned_patch", {"keys": bank["keys"]}, "another model"),
    ):
        whole = states.read(paths[name])
        torch.save(broken, paths[name])
        with pytest.raises(ValueError, match=rf"{paths[name].name}.*{reason}"):
            Mrad.load(paths, **options)
        torch.save(whole, paths[name])
    Mrad.load(paths, **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"variant": "best"}, "variant must be tf, ft or clip, not 'best'"),
        ({"n_ctx": 0}, "n_ctx must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Mrad.resolve(options)


def test_more_two_path_blocks_than_there_are_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="dpam_layer must lie between 1 and 4, not 24"):
        _detector(model, "tf", dpam_layer=24)


def test_what_training_begins_with(model: Any) -> None:
    options = Mrad.resolve(OPTIONS)
    start = Mrad.fresh(options, model.state_dict(), 7)
    assert {n: tuple(e.shape) for n, e in start.items()} == Mrad.learned_shapes(options, model.state_dict())
    assert start["prompt_learner.ctx_pos"].std() == pytest.approx(0.02, rel=0.1)
    for name, inputs in (("patch_proj.fc.0.weight", 64), ("image_proj.mlp2.bias", 48)):
        assert 0.9 * inputs**-0.5 < start[name].abs().max() <= inputs**-0.5
    assert Mrad(model, start, **OPTIONS).kept()["bank.patch_keys"].shape == (0, 64)
