"""AnomalyCLIP: one pair of learned texts for everything, and two paths through the image tower."""

from pathlib import Path

import pytest
import torch

from methods import states
from methods.anomalyclip import AnomalyCLIP
from methods.backbones import clip
from methods.learned_prompts import tokens as prompt_tokens
from tests.methods.conftest import noisy_inputs

MINI = AnomalyCLIP.presets["mini"]
OPTIONS = AnomalyCLIP.resolve(MINI)
SIZE = OPTIONS["image_size"]
NAMES = ["bottle", "metal_nut", "01", "bottle", "zipper"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    paths = {"vision": root / "clip.pt", "learned": root / "prompts.pth"}
    AnomalyCLIP.write_untrained(paths, OPTIONS, seed=4)
    return paths


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return noisy_inputs(5, SIZE)


@pytest.fixture
def detector(files: dict[str, Path]) -> AnomalyCLIP:
    return AnomalyCLIP.load(files, **MINI)


def test_the_local_path_makes_the_map_and_nothing_else(files: dict[str, Path], images: torch.Tensor) -> None:
    def run(**options: object) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            return AnomalyCLIP.load(files, **{**MINI, **options})(images[:2], NAMES[:2])[:2]

    scores, maps = run()
    for options in ({"dpam_layer": 1}, {"dpam_layer": 7}, {"layers": (3, 6)}, {"sigma": 0.0}):
        other_scores, other_maps = run(**options)
        torch.testing.assert_close(other_scores, scores, rtol=0, atol=1e-6)
        assert (other_maps - maps).abs().max() > 1e-4, options
    # Maps of several layers are summed, in any order.
    (_, first), (_, second), (_, both) = run(layers=(3,)), run(layers=(6,)), run(layers=(6, 3))
    torch.testing.assert_close(both, first + second, rtol=0, atol=1e-5)


def test_the_clip_behind_it_stays_as_it_was(detector: AnomalyCLIP, images: torch.Tensor) -> None:
    assert type(detector.model.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
    before = {name: tensor.clone() for name, tensor in detector.model.state_dict().items()}
    with torch.inference_mode():
        plain = detector.model.encode_image(images[:1])
        detector(images, NAMES)
        assert torch.equal(detector.model.encode_image(images[:1]), plain)
    after = detector.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_texts_are_encoded_once_for_a_state_of_the_prompts(
    detector: AnomalyCLIP, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    once = clip.text_pass
    monkeypatch.setattr(clip, "text_pass", lambda *args, **more: calls.append(1) or once(*args, **more))
    with torch.inference_mode():
        features = detector.encode(images)
        before = detector.score(features, NAMES).scores
        detector.score(features, ["other", "names", "for", "them", "all"])
    assert len(calls) == 1
    with torch.no_grad():
        detector.ctx_neg.neg_()
        after = detector.score(features, NAMES).scores
    assert len(calls) == 2 and (after - before).abs().min() > 1e-4


def test_training_begins_with_small_noise(files: dict[str, Path]) -> None:
    learned = AnomalyCLIP.begin({"vision": files["vision"]}, seed=5, **MINI).learned()
    assert sum(tensor.numel() for tensor in learned.values()) == (2 * 12 + 5 * 4) * 64
    assert 0.015 < torch.cat([tensor.flatten() for tensor in learned.values()]).std() < 0.025


def test_published_and_own_files_hold_the_same_prompts(
    files: dict[str, Path], detector: AnomalyCLIP, tmp_path: Path
) -> None:
    published = states.read(files["learned"])["prompt_learner"]
    assert published["token_suffix_pos"].shape == (1, 1, 64, 64)
    assert torch.equal(published["tokenized_prompts_neg"][0, 0], prompt_tokens(12)[1].int())
    assert published["compound_prompt_projections.4.weight"].shape == (896, 64)
    AnomalyCLIP.write_untrained({"learned": tmp_path / "untrained.safetensors"}, OPTIONS, seed=4)
    untrained = states.read(tmp_path / "untrained.safetensors")
    for name, tensor in detector.learned().items():
        assert torch.equal(untrained[name], tensor)


def test_prompts_that_do_not_fit_are_refused_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    good = states.read(files["learned"])["prompt_learner"]
    path = tmp_path / "bad.pth"
    words = good["tokenized_prompts_pos"].clone()
    words[0, 0, 13] = 13568
    for change in (
        {"ctx_pos": torch.zeros(1, 1, 11, 64)},
        {"tokenized_prompts_pos": words},
        {"surprise": torch.zeros(1)},
        {"compound_prompts_text.4": None},
    ):
        state = {name: tensor for name, tensor in {**good, **change}.items() if tensor is not None}
        states.write({"prompt_learner": state}, path)
        with pytest.raises(ValueError, match=r"bad\.pth"):
            AnomalyCLIP.load({**files, "learned": path}, **MINI)
    with pytest.raises(ValueError, match=r"prompts\.pth"):
        AnomalyCLIP.load(files, **{**MINI, "n_ctx": 8})


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"layers": (13,)}, "layers"),
        ({"dpam_layer": 14}, "dpam_layer"),
        ({"dpam_layer": 0}, "dpam_layer"),
        ({"n_ctx": 73}, "n_ctx"),
        ({"t_n_ctx": 0}, "t_n_ctx"),
        ({"backbone": "ViT-L"}, "ViT-L"),
        ({"image_size": 9}, "image_size"),
    ],
)
def test_impossible_options_are_refused(
    files: dict[str, Path], options: dict[str, object], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        AnomalyCLIP.load(files, **{**MINI, **options})


def test_an_unknown_option_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(TypeError, match="features_list"):
        AnomalyCLIP.load(files, **MINI, features_list=[24])


def test_files_say_what_they_were_trained_on() -> None:
    options = AnomalyCLIP.resolve({})
    assert AnomalyCLIP.source_for("mvtec", options) == "visa"
    assert AnomalyCLIP.source_for("visa", options) == AnomalyCLIP.source_for("headct", options) == "mvtec"
    files = AnomalyCLIP.files(options, "mvtec")
    assert "trained_on_mvtec" in files["learned"].name
    assert files["learned"].url and "/9_12_4_multiscale_visa/epoch_15.pth" in files["learned"].url
    assert files["learned"].git_sha1 and files["vision"] == clip.file("ViT-L-14-336")
    own = AnomalyCLIP.files(options, "btad")["learned"]
    assert own.trained_here and own.name.endswith("trained_on_btad.safetensors")
    other = AnomalyCLIP.files({**options, "n_ctx": 8}, "mvtec")["learned"]
    assert other.url is None and other.name != AnomalyCLIP.files(options, "mvtec")["learned"].name
