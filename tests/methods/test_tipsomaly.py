"""Tipsomaly: options, files, invariances, training. Numbers are checked in tests/parity."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from methods.tipsomaly import ENSEMBLES, Tipsomaly, fresh_prompts, read_prompts, write_prompts

MINI = Tipsomaly.presets["mini"]
SIZE = MINI["image_size"]
NAMES = ["metal_nut", "bottle", "metal_nut", "hazelnut"]
Build = Callable[..., Tipsomaly]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    paths = {role: root / file.name for role, file in Tipsomaly.files(MINI, "mvtec").items()}
    Tipsomaly.write_untrained(paths, MINI, seed=5)
    return paths


@pytest.fixture
def build(files: dict[str, Path]) -> Build:
    return lambda **options: Tipsomaly.load(files, **{**MINI, **options}).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def _masks() -> Tensor:
    masks = torch.zeros(4, SIZE, SIZE)
    masks[1:3, 20:60, 30:70] = 1
    return masks


# Answers


@torch.no_grad()
def test_each_option_does_what_it_says(build: Build, images: Tensor) -> None:
    usual = build()(images, NAMES)
    renamed = ["carpet"] * 4
    assert torch.equal(usual.scores, usual.also["cls2"])
    assert torch.equal(build(cls_token=1)(images, NAMES).scores, usual.also["cls1"])
    assert not torch.equal(usual.also["cls1"], usual.also["cls2"])

    # The name enters the image score alone; coupled, nothing; with fixed prompts, both.
    other = build()(images, renamed)
    assert torch.equal(other.maps, usual.maps)
    assert (other.scores - usual.scores).abs().min() > 1e-4
    coupled, recoupled = build(decoupled=False)(images, NAMES), build(decoupled=False)(images, renamed)
    assert torch.equal(coupled.scores, recoupled.scores)
    assert torch.equal(coupled.maps, usual.maps)
    fixed = build(prompt_learning="none")
    assert (fixed(images, NAMES).maps - fixed(images, renamed).maps).abs().max() > 1e-4

    for prompt_type in ("medical", "object_agnostic", "industrial_photo"):
        changed = build(prompt_type=prompt_type)(images, NAMES)
        assert (changed.maps - usual.maps).abs().max() > 1e-4  # learned features are built on its sentences
        assert (changed.scores - usual.scores).abs().min() > 1e-4


@torch.no_grad()
def test_local_evidence_is_the_largest_raw_patch_probability(build: Build, images: Tensor) -> None:
    method = build()
    features = method.encode(images)
    similar = features["patches"] @ method.learned_features().T / method.text.temperature
    evidence = similar.softmax(dim=-1)[..., 1].amax(dim=1)
    added = method.score(features, NAMES).scores - build(local_evidence=False).score(features, NAMES).scores
    torch.testing.assert_close(added, evidence)


@torch.no_grad()
def test_maps_are_smoothed_at_full_size_as_scipy_does(build: Build, images: Tensor) -> None:
    raw, smooth = build(sigma=0.0)(images, NAMES).maps, build(sigma=2.5)(images, NAMES).maps
    for got, sharp in zip(smooth, raw, strict=True):
        np.testing.assert_allclose(got, gaussian_filter(sharp.numpy(), sigma=2.5), atol=1e-5)


# Words


@pytest.mark.parametrize(
    ("prompt_type", "normal", "abnormal"),
    [("industrial", 28, 20), ("medical", 80, 64), ("object_agnostic", 1, 1), ("industrial_photo", 56, 40)],
)
def test_numbers_of_sentences(prompt_type: str, normal: int, abnormal: int) -> None:
    groups = ENSEMBLES[prompt_type].sentences("pill")
    assert [len(set(group)) for group in groups] == [normal, abnormal]
    assert all("pill" in sentence for group in groups for sentence in group)


@torch.no_grad()
def test_names_are_spoken(build: Build) -> None:
    method = build()
    features = method.fixed_features(["metal_nut", "metal-nut", "metal nut", "METAL NUT", "bottle"])
    assert (features[:4] == features[0]).all()
    assert not torch.equal(features[4], features[0])
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(5, 2))
    with pytest.raises(ValueError, match="needs a name"):
        method.fixed_features(["_"])


@pytest.mark.parametrize("learning", ["concat", "sumate", "entire_learnable"])
@pytest.mark.parametrize("count", [8, 64])
def test_any_number_of_learned_rows(files: dict[str, Path], learning: str, count: int) -> None:
    encoders = Tipsomaly.load(files, **{**MINI, "prompt_learning": "none"})
    width = encoders.text.width
    prompts = fresh_prompts(count, width, seed=1)
    options = {**MINI, "prompt_type": "object_agnostic", "prompt_learning": learning, "n_prompt": count}
    encoders.requires_grad_(True)
    method = Tipsomaly(encoders.vision, encoders.text, encoders.tokenizer, prompts, **options)
    assert {name for name, each in method.named_parameters() if each.requires_grad} == set(method.learned())
    with torch.no_grad():
        before = method.learned_features()
        method.learnable_prompts[0].add_(0.3 * torch.randn(count, width))
        after = method.learned_features()
    assert before.shape == (2, width)
    assert (before[0] - after[0]).abs().max() > 1e-4
    assert torch.equal(before[1], after[1])  # the normal rows go with the normal sentences only


def test_texts_are_encoded_once(build: Build, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    method, calls = build(), []
    encode = method.text.encode
    monkeypatch.setattr(method.text, "encode", lambda *args: calls.append(1) or encode(*args))
    with torch.inference_mode():
        method(images, NAMES)
        assert len(calls) == 2 * (1 + len(set(NAMES)))
        method(images, NAMES)
        assert len(calls) == 2 * (1 + len(set(NAMES)))
        features = method.encode(images)
        before = method.score(features, NAMES)
    with torch.no_grad():  # as an optimiser changes them
        method.learnable_prompts[1].neg_()
    with torch.inference_mode():
        after = method.score(features, NAMES)
    assert (before.maps - after.maps).abs().max() > 1e-3


def test_saliency_works_after_inference(build: Build, images: Tensor) -> None:
    method, pixels = build().requires_grad_(False), images[:1].clone().requires_grad_(True)
    with torch.inference_mode():
        method(images, NAMES)
    method(pixels, NAMES[:1]).scores.sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().max() > 0


# Options and files


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "l15"}, "backbone cannot be 'l15'; choose s14"),
        ({"prompt_type": "industry"}, "prompt_type"),
        ({"prompt_learning": "deep"}, "prompt_learning"),
        ({"cls_token": 3}, "cls_token cannot be 3; choose 1, 2"),
        ({"n_prompt": 0}, "n_prompt cannot be 0; choose 1 to 64"),
        ({"image_size": 224 + 1}, "image_size must be a multiple of 14, not 225"),
        ({"image_size": 0}, "image_size"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tipsomaly.resolve(options)


def test_published_prompts_serve_the_paper_s_protocol() -> None:
    assert Tipsomaly.source_for("visa", {}) == "mvtec"
    assert Tipsomaly.source_for("mvtec", {}) == "visa"
    learned = Tipsomaly.files({}, "visa")["learned"]
    assert learned.name == "tipsomaly/trained_on_visa/learnable_params_2.pth"
    assert learned.url == (
        "https://raw.githubusercontent.com/AlirezaSalehy/Tipsomaly/7eb43a7a5c1863166ea65efa7749e8c3b8d21ed6"
        "/workspaces/trained_on_visa_default/vegan-arkansas/checkpoints/learnable_params_2.pth"
    )
    assert learned.sha256 == "9758adc7e1303ffe991c0ab0052e26067d120b8036a864c9fd9aabc8212ac055"
    assert learned.size == 67738


def test_other_prompts_are_to_be_trained() -> None:
    names = set()
    for options, source in [
        ({}, "btad"),
        ({"backbone": "s14"}, "mvtec"),
        ({"backbone": "mini"}, "mvtec"),
        ({"n_prompt": 4}, "mvtec"),
        ({"prompt_learning": "sumate"}, "mvtec"),
    ]:
        learned = Tipsomaly.files(options, source)["learned"]
        assert learned.url is None
        assert learned.trained_here
        assert f"trained_on_{source}" in learned.name
        names.add(learned.name)
    assert len(names) == 5


def test_without_learned_prompts_no_source_is_needed(files: dict[str, Path], images: Tensor) -> None:
    options = {**MINI, "prompt_learning": "none"}
    assert Tipsomaly.source_for("visa", options) is None
    assert "learned" not in Tipsomaly.files(options, "mvtec")
    given = {role: path for role, path in files.items() if role != "learned"}
    assert not Tipsomaly.load(given, **options).learned()
    with pytest.raises(ValueError, match="needs learned prompts"):
        Tipsomaly.load(given, **MINI)


def test_untrained_files_follow_from_the_seed(files: dict[str, Path], tmp_path: Path) -> None:
    for seed, same in ((5, True), (6, False)):
        paths = {role: tmp_path / str(seed) / path.name for role, path in files.items()}
        Tipsomaly.write_untrained(paths, MINI, seed)
        first, second = Tipsomaly.load(files, **MINI), Tipsomaly.load(paths, **MINI)
        pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs) is same
        assert not list(tmp_path.rglob("*.part"))


def test_tokenizer_and_text_encoder_must_fit(files: dict[str, Path]) -> None:
    large = Path(__file__).parents[1] / "golden" / "tipsomaly" / "tokenizer.model"
    options = {**MINI, "prompt_learning": "none"}
    method = Tipsomaly.load({**files, "tokenizer": large}, **options)
    method.text.token_embedding = torch.nn.Embedding(999, method.text.width)
    with pytest.raises(ValueError, match="has 1000 pieces, the text encoder knows only 999"):
        Tipsomaly(method.vision, method.text, method.tokenizer, **options)


class _Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


def test_prompt_files_are_read_in_every_form(tmp_path: Path) -> None:
    prompts = fresh_prompts(8, 64, seed=0)
    parameters = nn.ParameterList(prompts)
    torch.save(parameters, tmp_path / "official.pth")
    torch.save({"learnable_prompts": parameters}, tmp_path / "newer.pth")
    write_prompts(tmp_path / "ours.pth", prompts)
    write_prompts(tmp_path / "ours.safetensors", prompts)
    for path in tmp_path.iterdir():
        for got, want in zip(read_prompts(path, 8, 64), prompts, strict=True):
            assert torch.equal(got, want)
            assert not got.requires_grad
    assert nn.ParameterList not in torch.serialization.get_safe_globals()


def test_prompt_files_that_do_not_fit(tmp_path: Path) -> None:
    prompts = fresh_prompts(8, 64, seed=0)
    contents = {
        "another width": nn.ParameterList(fresh_prompts(8, 32, seed=0)),
        "another count": nn.ParameterList(fresh_prompts(4, 64, seed=0)),
        "one too many": nn.ParameterList([*prompts, prompts[0]]),
        "empty": nn.ParameterList(),
        "no list": prompts[0],
        "words": {"learnable_prompts": ["normal", "abnormal"]},
        "other names": {"prompt_learner": prompts},
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        with pytest.raises(ValueError, match=f"{name}.pth does not hold two prompts of shape"):
            read_prompts(path, 8, 64)
    (tmp_path / "page.pth").write_text("<html>quota exceeded</html>")
    with pytest.raises(ValueError, match=r"page\.pth"):
        read_prompts(tmp_path / "page.pth", 8, 64)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        read_prompts(tmp_path / "none.pth", 8, 64)


def test_hostile_prompt_files_are_refused_unrun(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save(nn.ParameterList(), tmp_path / "harmless.pth")
    hostile = {"learnable_prompts": _Hostile(victim)}
    torch.save(hostile, tmp_path / "zip.pth")
    torch.save(hostile, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(hostile, protocol=2))
    for name in ("zip", "legacy", "plain"):
        with pytest.raises(ValueError, match=f"{name}.pth") as caught:
            read_prompts(tmp_path / f"{name}.pth", 8, 64)
        assert "\n" not in str(caught.value)
    assert not victim.exists()
    pickle.loads((tmp_path / "plain.pth").read_bytes())  # the check above could fail: it does run
    assert victim.exists()


# Training


def test_training_begins_with_small_noise(files: dict[str, Path]) -> None:
    begun = Tipsomaly.begin(files, **MINI)
    rows = torch.stack(list(begun.learned().values()))
    assert rows.shape == (2, 8, begun.text.width)
    assert float(rows.detach().std()) == pytest.approx(0.02, rel=0.1)
