"""FAPrompt: ten abnormal prompts, texts twice, and a prior from ten patches."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from methods import states
from methods.backbones import clip
from methods.base import TrainingBatch
from methods.faprompt import FAPrompt
from methods.fill import filled
from methods.learned_tensors import blank
from methods.maps import gaussian_smooth, upsample
from tests.methods.conftest import noisy_inputs

MINI = FAPrompt.presets["mini"]
OPTIONS = FAPrompt.resolve(MINI)
SIZE = OPTIONS["image_size"]
NAMES = ["bottle", "metal_nut", "01"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    paths = {"vision": root / "clip.pt", "learned": root / "prompts.pth"}
    FAPrompt.write_untrained(paths, OPTIONS, seed=4)
    return paths


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return noisy_inputs(3, SIZE)


@pytest.fixture
def detector(files: dict[str, Path]) -> FAPrompt:
    return FAPrompt.load(files, **MINI)


def test_the_prior_sees_the_first_patches_or_the_most_abnormal_ones(
    files: dict[str, Path], detector: FAPrompt
) -> None:
    patches = F.normalize(torch.randn(2, 100, 64, generator=torch.Generator().manual_seed(1)), dim=-1)
    probabilities = torch.rand(2, 100, generator=torch.Generator().manual_seed(2))
    top = FAPrompt.load(files, **MINI, prior="top")
    by_rank = probabilities.argsort(dim=1, descending=True)[:, :10]
    chosen = torch.stack([patches[n, by_rank[n]].flatten() for n in range(2)])
    with torch.no_grad():
        first = detector.prior_of(patches, probabilities)
        assert torch.equal(first, detector.patch_meta_net(patches[:, :10].reshape(2, 640)))
        torch.testing.assert_close(top.prior_of(patches, probabilities), top.patch_meta_net(chosen))
    assert first.shape == (2, 64)


def test_the_prior_shifts_the_words_of_the_abnormal_prompts_only(detector: FAPrompt) -> None:
    prior = 0.1 * torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = detector.text_features()
        shifted = detector.abnormal_texts(prior)
        assert shifted.shape == (2, 10, 64) and plain.shape == (11, 64)
        detector.ctx_neg.add_(prior[1])
        by_hand = detector.text_features()
    torch.testing.assert_close(by_hand[1:], shifted[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(by_hand[0], plain[0], rtol=0, atol=1e-6)
    assert (shifted - plain[1:]).abs().amax(dim=(1, 2)).min() > 1e-2


def test_abnormal_prompts_begin_with_the_words_of_the_normal_one(detector: FAPrompt) -> None:
    with torch.no_grad():
        plain = detector.text_features()
        detector.ctx_pos[..., -1, :].neg_()  # behind the positions that compound prompts overwrite
        other = detector.text_features()
    assert ((other - plain).abs().amax(dim=1) > 1e-3).all()


def test_scores_and_maps_are_means_of_both_passes(detector: FAPrompt, images: torch.Tensor) -> None:
    with torch.inference_mode():
        features = detector.encode(images)
        passes, prediction = detector.passes(features), detector.score(features, NAMES)
        raw, shifted = detector.text_features(), detector.abnormal_texts(passes.prior)
    normal = F.normalize(raw[0], dim=-1)
    first = F.normalize(raw[1:].mean(dim=0), dim=-1)
    second = F.normalize(shifted.mean(dim=1), dim=-1)
    patches, image = features["patches"][:, 0], features["image"]
    difference = (patches @ first - patches @ normal) / 0.07
    p1 = difference.sigmoid()
    p2 = (((patches * second[:, None]).sum(-1) - patches @ normal) / 0.07).sigmoid()
    q = (((image * second).sum(-1) - image @ normal) / 0.07).sigmoid()
    want = 0.5 * (q + (2 * p1.amax(dim=1) + p2.amax(dim=1)) / 3)
    torch.testing.assert_close(prediction.scores, want, rtol=0, atol=1e-5)
    mean = ((p1 + p2) / 2).reshape(3, 1, 10, 10)
    maps = gaussian_smooth(upsample(mean, SIZE, align_corners=False)[:, 0], 10.0)
    torch.testing.assert_close(prediction.maps, maps, rtol=0, atol=1e-5)


def test_the_loss_terms_are_the_papers_codes(detector: FAPrompt, images: torch.Tensor) -> None:
    features, labels = detector.encode(images), torch.tensor([0, 1, 0])
    masks = torch.zeros(3, SIZE, SIZE)
    masks[1, 30:60, 30:60] = 1
    with torch.no_grad():
        terms = detector.loss(features, TrainingBatch(NAMES, labels, masks))
        passes = detector.passes(features)
    by_image = passes.prior.square().mean(dim=1)
    torch.testing.assert_close(terms["prior"], by_image[0] + by_image[2])
    pairs = [
        F.cosine_similarity(passes.abnormal_texts[j], passes.abnormal_texts[k], dim=0).abs()
        for j in range(10)
        for k in range(j)
    ]
    torch.testing.assert_close(terms["orthogonality"], torch.stack(pairs).sum(), rtol=1e-5, atol=0)
    right = torch.where(labels == 1, passes.scores.sigmoid(), 1 - passes.scores.sigmoid())
    focal = ((1 - right) ** 2 * -right.log()).mean()
    torch.testing.assert_close(terms["image_score"], focal)
    all_abnormal = detector.loss(features, TrainingBatch(NAMES, torch.ones(3), masks))
    assert all_abnormal["prior"].item() == 0


def test_training_begins_as_told(files: dict[str, Path]) -> None:
    learned = FAPrompt.begin({"vision": files["vision"]}, seed=5, **MINI).learned()
    words = torch.cat([each.flatten() for name, each in learned.items() if "meta" not in name])
    assert words.numel() == (5 + 10 * 2 + 5 * 4) * 64 and 0.019 < words.std() < 0.021
    for layer in (1, 2):
        weight, bias = (learned[f"patch_meta_net.linear{layer}.{kind}"] for kind in ("weight", "bias"))
        bound = weight.shape[1] ** -0.5
        assert 0.9 * bound < weight.abs().max() <= bound and 0 < bias.abs().max() <= bound


def test_published_files_hold_tokens_too(files: dict[str, Path], detector: FAPrompt) -> None:
    published = states.read(files["learned"])["prompt_learner"]
    assert published["token_suffix_pos"].shape == (1, 1, 71, 64)
    assert published["token_suffix_neg"].shape == (1, 10, 69, 64)
    assert published["compound_prompt_projections.4.weight"].shape == (896, 64)
    normal, abnormal = published["tokenized_prompts_pos"][0, 0], published["tokenized_prompts_neg"][0, 9]
    assert normal[:10].tolist() == [49406, *[333] * 5, 14115, 269, 49407, 0]
    assert abnormal[:13].tolist() == [49406, *[333] * 5, 320, 320, 13568, 14115, 269, 49407, 0]
    assert all(torch.equal(published[name], tensor) for name, tensor in detector.learned().items())


def test_what_does_not_fit_is_refused_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    good = states.read(files["learned"])["prompt_learner"]
    path = tmp_path / "bad.pth"
    words = good["tokenized_prompts_neg"].clone()
    words[0, 4, 8] = 269
    for change in (
        {"ctx_neg": torch.zeros(1, 10, 1, 64)},
        {"tokenized_prompts_neg": words},
        {"surprise": torch.zeros(1)},
        {"patch_meta_net.linear2.bias": None},
    ):
        state = {name: tensor for name, tensor in {**good, **change}.items() if tensor is not None}
        states.write({"prompt_learner": state}, path)
        with pytest.raises(ValueError, match=r"bad\.pth"):
            FAPrompt.load({**files, "learned": path}, **MINI)
    first_upload = {**MINI, "n_ctx_neg": 1}
    FAPrompt.write_untrained({"learned": path}, FAPrompt.resolve(first_upload), seed=1)
    assert FAPrompt.load({**files, "learned": path}, **first_upload).ctx_neg.shape == (1, 10, 1, 64)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"k": 101}, "k is 101"),
        ({"k": 0}, "k must"),
        ({"num_p": 0}, "num_p"),
        ({"prior": "last"}, "prior"),
        ({"n_ctx_pos": 40, "n_ctx_neg": 33}, "n_ctx_neg"),
        ({"dpam_layer": 20}, "dpam_layer"),
        ({"depth": 0}, "depth"),
    ],
)
def test_impossible_options_are_refused(
    files: dict[str, Path], options: dict[str, object], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        FAPrompt.begin({"vision": files["vision"]}, 1, **{**MINI, **options})


def test_the_options_are_those_of_the_official_scripts() -> None:
    assert FAPrompt.resolve({}) == {
        "backbone": "ViT-L-14-336",
        "image_size": 518,
        "n_ctx_pos": 5,
        "n_ctx_neg": 2,
        "num_p": 10,
        "k": 10,
        "prior": "first",
        "depth": 9,
        "t_n_ctx": 4,
        "dpam_layer": 20,
        "sigma": 10,
        "temperature": 0.07,
    }
    assert FAPrompt.preset("top-prior").options == {"prior": "top"}


def test_one_prompt_and_one_patch_are_enough(files: dict[str, Path], images: torch.Tensor) -> None:
    options = {**MINI, "num_p": 1, "k": 1, "n_ctx_pos": 1, "n_ctx_neg": 1}
    detector = FAPrompt.begin({"vision": files["vision"]}, 1, **options)
    with torch.inference_mode():
        assert detector(images, NAMES).scores.isfinite().all()


def test_features_and_words_have_to_be_equally_wide() -> None:
    config = {**clip.architecture("mini"), "embed_dim": 48}
    model = clip.build(config, filled(clip.blank(config), 1), quick_gelu=True)
    learned = filled(blank(FAPrompt.learned_shapes(OPTIONS, model.state_dict())), 1)
    with pytest.raises(ValueError, match="48 values cannot enter words of 64"):
        FAPrompt(model, learned, **MINI)


def test_files_say_what_they_were_trained_on_and_how() -> None:
    options = FAPrompt.resolve({})
    assert FAPrompt.source_for("mvtec", options) == "visa"
    assert FAPrompt.source_for("visa", options) == FAPrompt.source_for("headct", options) == "mvtec"
    usual = FAPrompt.files(options, "mvtec")["learned"]
    assert usual.name == "faprompt/ViT-L-14-336/trained_on_mvtec.safetensors"
    assert usual.trained_here and usual.url is None
    names = {usual.name}
    for name in FAPrompt.shaping:
        other = "top" if name == "prior" else options[name] - 1
        names.add(FAPrompt.files({**options, name: other}, "mvtec")["learned"].name)
    assert len(names) == 1 + len(FAPrompt.shaping)
    assert FAPrompt.files({**options, "sigma": 4.0}, "mvtec")["learned"] == usual
