"""Crane and Crane+: fused features, self-correlations, DINOv2's similarities, texts for each image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bench.run.protocol import MethodRequest, parse_methods, setup
from datasets.catalog import GROUPS
from methods import crane, states
from methods.anomalyclip import AnomalyCLIP
from methods.backbones import clip, dinov2
from methods.base import TrainingBatch
from methods.crane import Crane, affinities, self_correlation
from methods.fill import filled
from methods.learned_prompts import tokens as prompt_tokens
from methods.source import Source
from methods.weights import WeightsError

MINI: dict[str, Any] = {**Crane.presets["mini"]}
OPTIONS = Crane.resolve(MINI)
SIZE = OPTIONS["image_size"]
NAMES = ["bottle", "metal_nut", "01", "bottle"]
TINY = dinov2.Variant(width=24, depth=2, heads=2, grid=7, registers=4, release="tiny/tiny.pth")
PLUS = {**MINI, "dattn": True}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    paths = {"vision": root / "clip.pt", "learned": root / "prompts.pth"}
    Crane.write_untrained(paths, OPTIONS, seed=4)
    return paths


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Return network inputs of pictures of few spatial frequencies, whose patches are unlike each other."""
    random = np.random.default_rng(8)
    small = [random.integers(0, 256, (4 + n, 5, 3), dtype=np.uint8) for n in range(4)]
    return torch.stack([clip.network_input(SIZE)(Image.fromarray(each).resize((160, 130))) for each in small])


@pytest.fixture
def detector(files: dict[str, Path]) -> Crane:
    return Crane.load(files, **MINI)


@pytest.fixture
def plus(detector: Crane) -> Crane:
    dino = dinov2.build(TINY, filled(dinov2.blank(TINY), 4))
    learned = {name: each.detach() for name, each in detector.learned().items()}
    return Crane(detector.model, learned, dino, **PLUS)


# --- files and settings ----------------------------------------------------------------------------------


def _file(word: str, target: str, **overrides: str) -> tuple[str, dict[str, Any]]:
    """Return the address of the prompts behind the repository's commit, and the options."""
    (request,) = parse_methods([word], overrides)
    found = setup(request, target)
    url = found.files["learned"].url or ""
    return url.partition("/checkpoints/")[2], dict(found.options)


def test_every_target_gets_the_authors_file_and_settings() -> None:
    industrial = {"mvtec", "visa", "mpdd", "ksdd", "btad", "dtd_synthetic"}
    medical = {"headct", "brainmri", "br35h", "isic", "tn3k", "cvc_colondb", "cvc_clinicdb"}
    assert industrial | medical | {"dagm"} == set(GROUPS["all"])
    for target in GROUPS["all"]:
        source = "visa" if target == "mvtec" else "mvtec"
        path, options = _file("crane", target)
        assert path == f"trained_on_{source}_crane/epoch_5.pth"
        assert (options["soft_mean"], options["dattn"]) == (True, False)
        path, options = _file("crane:plus", target)
        epoch = 1 if target in medical else 5
        assert path == f"trained_on_{source}_cranep/epoch_{epoch}.pth"
        assert (options["soft_mean"], options["dattn"]) == (target not in industrial, True)


def test_what_is_set_by_hand_holds_on_every_target() -> None:
    assert _file("crane:plus", "isic", epoch="5")[0] == "trained_on_mvtec_cranep/epoch_5.pth"
    assert _file("crane:plus", "isic", soft_mean="false")[1]["soft_mean"] is False
    assert _file("crane:plus", "mvtec", soft_mean="true")[1]["soft_mean"] is True


def test_only_the_medical_files_of_crane_plus_were_chosen_by_their_targets() -> None:
    assert not Crane.preset(None).selected_on
    chosen = Crane.preset("plus").selected_on
    assert chosen is not None and set(chosen) == {"mvtec"}
    assert set(chosen["mvtec"]) == {
        target for target in GROUPS["all"] if _file("crane:plus", target)[1]["epoch"] == 1
    }


def test_published_files_are_pinned() -> None:
    found = {
        file.url: file
        for target in ("mvtec", "visa", "isic")
        for preset in (None, "plus", "conditioned")
        for file in [setup(MethodRequest("crane", preset), target).files["learned"]]
    }
    assert len(found) == 5
    for url, file in found.items():
        assert url is not None and "/39181f9f718a28c1b06b5aa72bfb81e74b9a2cc3/checkpoints/" in url
        assert file.size in (576_693, 577_159) and file.licence == "MIT"
        assert file.git_sha1 is not None and file.sha256 is not None and len(file.sha256) == 64
    assert (
        len({file.git_sha1 for file in found.values()}) == len({file.sha256 for file in found.values()}) == 5
    )
    assert len({file.name for file in found.values()}) == 5


def test_own_files_are_apart_for_crane_plus_and_one_for_both_kinds_of_text() -> None:
    def name(**options: Any) -> str:
        return Crane.files(Crane.resolve({**MINI, **options}), "btad")["learned"].name

    assert (
        name() == name(image_context=True) == name(epoch=1) == "crane/mini/6_12_4/trained_on_btad.safetensors"
    )
    assert name(dattn=True) == name().replace("crane/", "crane_plus/")
    assert name(depth=9) != name()
    assert Crane.files(Crane.resolve({}), "btad")["learned"].trained_here
    assert set(Crane.files(Crane.resolve({"dattn": True}), None)) == {"vision", "dino"}
    assert set(Crane.files(Crane.resolve({}), None)) == {"vision"}


def test_an_epoch_that_is_not_pinned_is_refused() -> None:
    request = MethodRequest("crane", "plus")
    options = request.options("isic", Source.parse("visa"))
    with pytest.raises(WeightsError, match=r"cranep/epoch_1\.pth is not pinned, but .*/epoch_5\.pth; set"):
        Crane.files(options, "visa")


def test_the_published_format_is_read_strictly(
    files: dict[str, Path], detector: Crane, tmp_path: Path
) -> None:
    published = states.read(files["learned"])["prompt_learner"]
    kinds = ("token_prefix", "token_suffix", "tokenized_prompts", "ctx")
    deep = {f"compound_prompts_text.{index}" for index in range(5)}
    assert set(published) == {f"{kind}_{state}" for kind in kinds for state in ("pos", "neg")} | deep
    assert torch.equal(published["tokenized_prompts_neg"][0, 0], prompt_tokens(12)[1].int())
    for name, tensor in detector.learned().items():
        assert torch.equal(published[name], tensor)
    anomalyclip = tmp_path / "anomalyclip.pth"
    AnomalyCLIP.write_untrained({"learned": anomalyclip}, AnomalyCLIP.presets["mini"], seed=4)
    with pytest.raises(ValueError, match=r"anomalyclip\.pth.*compound_prompt_projections"):
        Crane.load({**files, "learned": anomalyclip}, **MINI)
    own = tmp_path / "own.safetensors"
    Crane.write_untrained({"learned": own}, OPTIONS, seed=4)
    assert set(states.read(own)) == set(detector.learned())
    with pytest.raises(ValueError, match=r"prompts\.pth"):
        Crane.load(files, **{**MINI, "n_ctx": 8})


def test_dinov2_is_a_file_beside_clips(
    files: dict[str, Path], images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dinov2.VARIANTS, "tiny", TINY)
    monkeypatch.setattr(crane, "_DINO", "tiny")
    path = tmp_path / "tiny.pth"
    Crane.write_untrained({"dino": path}, PLUS, seed=4)
    assert {"register_tokens", "mask_token", "norm.bias"} < set(states.read(path))
    loaded = Crane.load({**files, "dino": path}, **PLUS)
    begun = Crane.begin({"vision": files["vision"], "dino": path}, 1, **PLUS)
    assert torch.equal(loaded.encode(images[:1])["patches"], begun.encode(images[:1])["patches"])
    with pytest.raises(ValueError, match=r"clip\.pt"):
        Crane.load({**files, "dino": files["vision"]}, **PLUS)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"eattn_layers": 7}, "eattn_layers"),
        ({"eattn_layers": -1}, "eattn_layers"),
        ({"n_ctx": 72}, "n_ctx must be at most 71"),
        ({"t_n_ctx": 0}, "t_n_ctx"),
        ({"backbone": "ViT-L"}, "ViT-L"),
        ({"dattn": True}, "DINOv2"),
    ],
)
def test_impossible_options_are_refused(files: dict[str, Path], options: dict[str, Any], word: str) -> None:
    resolved = {**MINI, **options}
    with pytest.raises(ValueError, match=word):
        model = clip.load("mini", files["vision"], quick_gelu=True)
        Crane(model, Crane.fresh(Crane.resolve(resolved), model.state_dict(), 1), **resolved)


def test_a_size_that_leaves_a_remainder_is_refused_with_dinov2(plus: Crane) -> None:
    assert plus.dino is not None
    with pytest.raises(ValueError, match="multiples of 14, not 150 x 150"):
        Crane(plus.model, plus.learned(), plus.dino, **{**PLUS, "image_size": 150})
    with pytest.raises(ValueError, match="DINOv2"):
        Crane(plus.model, plus.learned(), plus.dino, **MINI)


# --- images ----------------------------------------------------------------------------------------------


def test_batches_and_names_change_nothing_with_dinov2(plus: Crane, images: Tensor) -> None:
    with torch.inference_mode():
        scores, maps, _ = plus(images, NAMES)
        alone = [plus(images[n : n + 1], ["another name"]) for n in range(4)]
    torch.testing.assert_close(torch.cat([each.scores for each in alone]), scores, rtol=0, atol=2e-5)
    torch.testing.assert_close(torch.cat([each.maps for each in alone]), maps, rtol=0, atol=2e-5)


def test_self_correlations_are_summed_and_projected_once(detector: Crane) -> None:
    block = clip.vision_blocks(detector.model)[3]
    states_of = torch.randn(3, 2, 4, 6, 32, generator=torch.Generator().manual_seed(0))
    weights = sum((each @ each.mT / 32**0.5).softmax(dim=-1) for each in states_of)
    assert torch.allclose(weights.sum(dim=-1), torch.tensor(3.0))
    want = block.attn.out_proj((weights @ states_of[2]).transpose(1, 2).flatten(2))
    torch.testing.assert_close(self_correlation(block, *states_of), want, rtol=0, atol=1e-5)


def test_dattn_keeps_what_is_more_alike_than_the_image_is_on_average() -> None:
    patches = torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(1))
    patches[1] += 1  # another mean similarity
    weights = affinities(7 * patches)
    for row, each in zip(weights, patches, strict=True):
        unit = each / each.norm(dim=-1, keepdim=True)
        similarity = unit @ unit.T
        above = 3 * (similarity - 1.2 * similarity.mean())
        want = torch.where(above < 0, 0.0, above.exp())
        assert (want == 0).any() and (want > 0).sum() > 12
        torch.testing.assert_close(row, want / want.sum(dim=-1, keepdim=True), rtol=0, atol=1e-6)
    assert affinities(patches.bfloat16()).dtype == torch.float32


def test_patches_that_are_all_alike_keep_themselves(plus: Crane, images: Tensor) -> None:
    torch.testing.assert_close(affinities(torch.ones(1, 9, 4))[0], torch.eye(9))
    plain = torch.zeros_like(images[:1])
    with torch.inference_mode():
        prediction = plus(plain, NAMES[:1])
    assert prediction.scores.isfinite().all() and prediction.maps.isfinite().all()


def test_dinov2_gets_the_same_picture_normalised_for_it(plus: Crane, images: Tensor) -> None:
    pixels = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    torch.testing.assert_close(clip.pixels((pixels - mean) / deviation), pixels, rtol=0, atol=1e-6)
    assert clip.pixels(images * 99).aminmax() == (torch.tensor(0.0), torch.tensor(1.0))
    assert plus.dino is not None
    with torch.inference_mode():
        want = plus.dino(dinov2.normalise(clip.pixels(images)))[1]
        assert torch.equal(plus.dino_patches(images), want) and want.shape == (4, 100, 24)


def test_the_second_map_of_crane_plus_stands_first(plus: Crane, detector: Crane, images: Tensor) -> None:
    with torch.inference_mode():
        both, one = plus.encode(images)["patches"], detector.encode(images)["patches"]
    assert both.shape == (4, 2, 100, 64) and one.shape == (4, 1, 100, 64)
    torch.testing.assert_close(both[:, 1:], one)
    assert (both[:, 0] - one[:, 0]).abs().max() > 1e-2


def test_the_image_score_looks_at_the_patches(detector: Crane, images: Tensor) -> None:
    with torch.inference_mode():
        features = detector.encode(images)
        before = detector.score(features, NAMES).scores
        text = detector.text_features()
        moved = {**features, "patches": text[1].expand_as(features["patches"])}
        after = detector.score(moved, NAMES).scores
        torch.testing.assert_close(detector.pooled(moved, text), text[1].expand(4, -1))
    assert (after > before).all()


def test_without_a_local_path_patches_are_the_ordinary_ones(files: dict[str, Path], images: Tensor) -> None:
    plain = Crane.load(files, **{**MINI, "eattn_layers": 0})
    blocks = clip.vision_blocks(plain.model)
    with torch.inference_mode():
        hidden = clip.embed_image(plain.model, images, plain.positions)
        for block in blocks:
            hidden = block(hidden)
        want = F.normalize(clip.project(plain.model, hidden), dim=-1)
        features = plain.encode(images)
    torch.testing.assert_close(features["patches"][:, 0], want[:, 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(features["image"], want[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["detector", "plus"])
def test_maps_are_averaged_before_or_after_the_softmax(
    kind: str, images: Tensor, request: pytest.FixtureRequest
) -> None:
    model: Crane = request.getfixturevalue(kind)
    model.options["sigma"] = 0.0
    with torch.inference_mode():
        features = model.encode(images)
        text = model.text_features()
        grids = model.patch_logits(features, text).unflatten(2, model.grid).movedim(-1, 2)
        large = [F.interpolate(each, size=SIZE, mode="bilinear") for each in grids.unbind(1)]
        soft = [F.interpolate(each.softmax(1), size=SIZE, mode="bilinear")[:, 1] for each in grids.unbind(1)]
        for setting, want in (
            (True, sum(soft) / len(soft)),
            (False, (sum(large) / len(large)).softmax(dim=1)[:, 1]),
        ):
            model.options["soft_mean"] = setting
            torch.testing.assert_close(model.score(features, NAMES).maps, want, rtol=0, atol=1e-5)


# --- texts and training ----------------------------------------------------------------------------------


def test_the_image_is_a_word_behind_the_learned_ones(detector: Crane, images: Tensor) -> None:
    with torch.inference_mode():
        image = detector.encode(images[:2])["image"]
        got = detector.conditioned(image)
        for row, each in enumerate(image):
            for state, ids in enumerate(prompt_tokens(12)):
                embedded = detector.model.token_embedding(ids[None])
                words = (detector.ctx_pos, detector.ctx_neg)[state][0]
                sentence = torch.cat([embedded[:, :1], words, each[None, None], embedded[:, 13:-1]], dim=1)
                end = int(ids.argmax()) + 1
                hidden = sentence + detector.model.positional_embedding
                for index, block in enumerate(detector.model.transformer.resblocks):
                    if 1 <= index <= 5:
                        hidden[:, 1:5] = (
                            detector.learned()[f"compound_prompts_text.{index - 1}"].half().float()
                        )
                    hidden = block(hidden, attn_mask=detector.model.attn_mask)
                text = detector.model.ln_final(hidden[:, end]) @ detector.model.text_projection
                torch.testing.assert_close(got[row, state], F.normalize(text[0], dim=-1), rtol=0, atol=1e-5)


def test_texts_depend_on_the_image_where_that_is_asked_for(files: dict[str, Path], images: Tensor) -> None:
    plain, conditioned = Crane.load(files, **MINI), Crane.load(files, **MINI, image_context=True)
    with torch.inference_mode():
        features = plain.encode(images)
        assert "image_context" not in (Crane.encoder_options or ())
        swapped = {**features, "image": features["image"].flip(0)}
        one, other = (plain.score(each, NAMES).maps for each in (features, swapped))
        assert torch.equal(one, other)
        one, other = (conditioned.score(each, NAMES).maps for each in (features, swapped))
        assert (one - other).abs().max() > 1e-4


def _batch() -> TrainingBatch:
    masks = torch.zeros(4, SIZE, SIZE, dtype=torch.uint8)
    masks[1::2, 30:70, 30:61] = 1
    return TrainingBatch(NAMES, torch.tensor([0, 1, 0, 1]), masks)


def test_cranes_one_map_counts_four_times(plus: Crane, detector: Crane, images: Tensor) -> None:
    features = detector.encode(images)
    twice = {**features, "patches": features["patches"].expand(-1, 2, -1, -1)}
    with torch.no_grad():
        one, two = detector.loss(features, _batch()), plus.loss(twice, _batch())
        text = detector.conditioned(features["image"])
        grid = detector.patch_logits(features, text).softmax(-1)[:, 0, :, 1].unflatten(1, detector.grid)
    for name in ("focal", "dice"):
        torch.testing.assert_close(one[name], 2 * two[name])
    torch.testing.assert_close(one["image"], two["image"])
    cosines = (detector.fused(features, text)[:, None] * text).sum(dim=-1)
    torch.testing.assert_close(one["image"], F.cross_entropy(cosines / 0.01, _batch().labels))
    blocks = grid.repeat_interleave(14, dim=1).repeat_interleave(14, dim=2)
    masks = _batch().masks.float()
    overlap = (2 * (blocks * masks).sum((1, 2)) + 1) / (blocks.sum((1, 2)) + masks.sum((1, 2)) + 1)
    torch.testing.assert_close(one["dice"], 4 * (1 - overlap.mean()))


def test_the_weights_of_the_fusion_carry_gradients_to_the_prompts(detector: Crane, images: Tensor) -> None:
    features = detector.encode(images)
    detector.pooled(features, detector.conditioned(features["image"])).sum().backward()
    assert detector.ctx_neg.grad is not None and detector.ctx_neg.grad.any()
