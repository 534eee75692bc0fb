"""CoPS: prompts made anew for every image, from crossed prototypes and a decoder's class vectors."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from bench.run.protocol import MethodRequest
from methods import states
from methods.base import TrainingBatch
from methods.cops import CoPS
from methods.maps import neighbourhood_mean
from methods.source import Source
from tests.methods.conftest import noisy_inputs

MINI = CoPS.preset("mini").options
OPTIONS = CoPS.resolve(MINI)
SIZE = OPTIONS["image_size"]
NAMES = ["bottle", "metal_nut", "01"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    paths = {"vision": root / "clip.pt", "learned": root / "prompts.pth"}
    CoPS.write_untrained(paths, OPTIONS, seed=4)
    return paths


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return noisy_inputs(3, SIZE)


@pytest.fixture
def detector(files: dict[str, Path]) -> CoPS:
    return CoPS.load(files, **MINI)


@pytest.fixture
def trainee(files: dict[str, Path]) -> CoPS:
    return CoPS.begin({"vision": files["vision"]}, seed=5, **MINI)


def made(count: int, *shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def batch(labels: list[int]) -> TrainingBatch:
    masks = torch.zeros(len(labels), SIZE, SIZE, dtype=torch.uint8)
    for n, label in enumerate(labels):
        masks[n, 30:61, 42:60] = label
    return TrainingBatch(NAMES, torch.tensor(labels), masks)


def test_noise_is_drawn_once_on_the_cpu_and_can_be_replaced_for_each_image(
    files: dict[str, Path], detector: CoPS, images: torch.Tensor
) -> None:
    want = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(detector.noise, want)
    torch.manual_seed(1)
    assert torch.equal(CoPS.load(files, **MINI).noise, want)
    other = CoPS.load(files, **MINI, noise_seed=1)
    assert not torch.equal(other.noise, want)
    with torch.inference_mode():
        shared = detector(images, NAMES)
        moved = other(images, NAMES)
        detector.noise = torch.stack([want, other.noise, want])
        each = detector(images, NAMES)
    assert (moved.scores - shared.scores).abs().min() > 1e-6
    torch.testing.assert_close(each.scores[[0, 2]], shared.scores[[0, 2]], rtol=0, atol=1e-6)
    torch.testing.assert_close(each.scores[1], moved.scores[1], rtol=0, atol=1e-6)
    assert "noise" not in detector.learned() and "noise" not in detector.state_dict()


def test_patches_are_averaged_with_zeros_beyond_the_border() -> None:
    tokens = made(2, 12, 3)
    grid = tokens.reshape(2, 3, 4, 3)
    mean = neighbourhood_mean(tokens, (3, 4), 3)
    torch.testing.assert_close(mean[:, 5], grid[:, 0:3, 0:3].sum(dim=(1, 2)) / 9)
    torch.testing.assert_close(mean[:, 0], grid[:, 0:2, 0:2].sum(dim=(1, 2)) / 9)
    assert torch.equal(neighbourhood_mean(tokens, (3, 4), 1), tokens)


def test_prototypes_are_one_block_of_attention_over_the_patches(detector: CoPS) -> None:
    patches, block = made(2, 100, 64), detector.extractor
    assert block.attn.num_heads == 4
    with torch.no_grad():
        got = detector.prototypes(patches)
        for side, queries in enumerate((detector.t_n, detector.t_a)):
            asked = queries.expand(2, -1, -1)
            seen = block.ln_1(patches)
            hidden = asked + block.attn(block.ln_1(asked), seen, seen, need_weights=False)[0]
            inner = block.mlp.c_fc(block.ln_2(hidden))
            want = hidden + block.mlp.c_proj(inner * torch.sigmoid(1.702 * inner))
            torch.testing.assert_close(got[:, side], want, rtol=1e-4, atol=1e-5)
        distances = detector.distances(patches, got)
    nearest = F.cosine_similarity(patches[:, None, :, None], got[:, :, None], dim=-1).amax(dim=-1)
    torch.testing.assert_close(distances, 1 - nearest, rtol=0, atol=1e-5)


def test_prototypes_are_crossed_and_class_vectors_shared(detector: CoPS) -> None:
    prototypes, classes = made(1, 2, 6, 64, seed=2), made(1, 3, 64, seed=3)
    with torch.no_grad():
        texts = detector.texts(prototypes, classes)
        assert texts.shape == (1, 2, 3, 64)
        for side, words in enumerate((detector.ctx_pos, detector.ctx_neg)):
            for draw in range(3):
                by_hand = words[0].clone()
                by_hand[:, 6:12] += prototypes[:, 1 - side]
                by_hand[:, 12:] += classes[:, draw]
                want = F.normalize(detector.encode_words(detector.tokens[:1], by_hand), dim=-1)
                torch.testing.assert_close(texts[:, side, draw], want, rtol=0, atol=1e-5)
    assert detector.tokens.tolist() == [[49406, *[343] * 14, 269, 49407]]  # the same for both


def test_scores_and_maps_follow_from_patches_and_prototypes(
    files: dict[str, Path], images: torch.Tensor
) -> None:
    options = {**MINI, "alpha": 0.3, "beta": 0.8}
    detector = CoPS.load(files, **options)
    with torch.inference_mode():
        features = detector.encode(images)
        prediction = detector.score(features, NAMES)
        patches = detector.pooled(features)
        prototypes = detector.prototypes(patches)
        classes = detector.vae_decoder["net"](detector.noise).expand(3, -1, -1)
        texts = F.normalize(detector.texts(prototypes, classes).mean(dim=2), dim=-1)
        distances = detector.distances(patches, prototypes)
        plain = CoPS.load(files, **options, weighted=False).score(features, NAMES)
    for n in range(3):
        normal, abnormal = texts[n]
        unit = F.normalize(patches[n], dim=-1)
        p = torch.sigmoid((unit @ abnormal - unit @ normal) / 0.07)
        d = [(each - each.min()) / (each.max() - each.min()) for each in distances[n]]
        q = p * (0.3 * d[0] + 0.7 * (1 - d[1]))
        image = F.normalize(features["image"][n], dim=0)
        of_image = torch.sigmoid((image @ abnormal - image @ normal) / 0.07)
        for want, got in ((q, prediction), (p, plain)):
            torch.testing.assert_close(got.scores[n], 0.8 * of_image + 0.2 * want.max(), rtol=0, atol=1e-5)
            squares = np.kron(want.reshape(10, 10).numpy(), np.ones((14, 14), np.float32))
            smooth = torch.from_numpy(gaussian_filter(squares, 4))
            torch.testing.assert_close(got.maps[n], smooth, rtol=0, atol=1e-5)


def test_equal_distances_give_numbers(detector: CoPS) -> None:
    weights = detector.weights(torch.full((2, 2, 9), 0.25))
    assert torch.equal(weights, torch.full((2, 9), 1 - 0.26))


def test_loss_terms_of_the_autoencoder(trainee: CoPS, images: torch.Tensor) -> None:
    features, noise = trainee.encode(images), made(3, 64)
    trainee.training_noise = lambda count: noise  # type: ignore[method-assign]
    with torch.no_grad():
        for parameter in trainee.vae_encoder.parameters():
            parameter.mul_(20)
        terms = trainee.loss(features, batch([0, 1, 0]))
        image, encoder = features["image"], trainee.vae_encoder
        hidden = F.linear(image, encoder["net"][0].weight, encoder["net"][0].bias).relu()
        mean, log_var = encoder["mean"](hidden), encoder["log_var"](hidden)
        decoded = trainee.vae_decoder["net"](mean + torch.exp(log_var / 2) * noise)
    kl = torch.stack([-0.5 * (1 + v - m**2 - v.exp()).sum() for m, v in zip(mean, log_var, strict=True)])
    torch.testing.assert_close(terms["kl"], kl.mean())
    pairs = [(image[j] - decoded[i]).square().mean() for i in range(3) for j in range(3)]
    torch.testing.assert_close(terms["recon"], torch.stack(pairs).mean())
    assert (terms["recon"] - (image - decoded).square().mean()).abs() > 1e-5


def test_training_draws_standard_normal_noise(trainee: CoPS) -> None:
    torch.manual_seed(3)
    drawn = trainee.training_noise(5)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.randn(5, 64))


def test_features_are_kept_as_they_are(detector: CoPS, images: torch.Tensor) -> None:
    lengths = [each.norm(dim=-1) for each in detector.encode(images).values()]
    assert all((each - 1).abs().min() > 1e-2 for each in lengths)


def test_loss_terms_of_the_prototypes(trainee: CoPS, images: torch.Tensor) -> None:
    features = trainee.encode(images)
    with torch.no_grad():
        terms = trainee.loss(features, batch([0, 1, 1]))
        patches = trainee.pooled(features)
        normal, abnormal = trainee.distances(patches, trainee.prototypes(patches)).unbind(1)
        all_normal = trainee.loss(features, batch([0, 0, 0]))
    touched = torch.zeros(3, 10, 10, dtype=torch.bool)
    touched[1:, 2:5, 3:5] = True  # pixels 30 to 60 and 42 to 59
    touched = touched.flatten(1)
    torch.testing.assert_close(terms["gather"], normal[~touched].mean())
    torch.testing.assert_close(terms["scatter"], abnormal[touched].mean())
    assert all_normal["scatter"].item() == 0
    torch.testing.assert_close(all_normal["gather"], normal.mean())


def test_texts_teach_the_words_and_the_autoencoder_but_no_prototype(
    trainee: CoPS, images: torch.Tensor
) -> None:
    terms = trainee.loss(trainee.encode(images), batch([0, 1, 0]))
    learned = trainee.learned()

    def moved_by(*names: str) -> set[str]:
        trainee.zero_grad()
        torch.stack([terms[name] for name in names]).sum().backward(retain_graph=True)
        found = {name for name, each in learned.items() if each.grad is not None and each.grad.any()}
        return {name.partition(".")[0] for name in found}

    words = {"ctx_pos", "ctx_neg", "compound_prompts_text", "vae_encoder", "vae_decoder"}
    assert moved_by("image") == moved_by("focal", "dice_abnormal", "dice_normal") == words
    assert moved_by("gather", "scatter") == {"t_n", "t_a", "extractor"}
    assert moved_by("kl") == {"vae_encoder"} and moved_by("recon") == {"vae_encoder", "vae_decoder"}


def test_training_begins_as_told(trainee: CoPS) -> None:
    bound = (6 / (4 * 64)) ** 0.5  # Xavier's, for the packed matrix (3 x 64, 64)
    for name, tensor in trainee.learned().items():
        if name.endswith("in_proj_weight"):
            assert 0.95 * bound < tensor.abs().max() <= bound
        elif name.endswith("bias"):
            assert not tensor.any()
        elif ".ln_" in name:
            assert (tensor == 1).all()
        else:
            assert 0.015 < tensor.std() < 0.025, name


def test_the_options_are_those_of_the_official_scripts() -> None:
    assert CoPS.resolve({}) == {
        "backbone": "ViT-L-14-336",
        "image_size": 518,
        "layers": (24,),
        "n_ctx": 12,
        "depth": 8,
        "t_n_ctx": 4,
        "dpam": 24,
        "heads": 12,
        "neighbours": 5,
        "alpha": 0.26,
        "beta": 0.9,
        "weighted": True,
        "recon": 1,
        "samples": 10,
        "noise_seed": 0,
        "sigma": 4,
        "temperature": 0.07,
    }
    assert CoPS.preset("global-only").options == {"beta": 1}
    assert CoPS.preset("no-distance").options == {"weighted": False}


def test_what_a_source_and_a_target_change() -> None:
    request, (mvtec, visa, btad) = MethodRequest("cops"), map(Source, [("mvtec",), ("visa",), ("btad",)])

    def told(target: str | None, source: Source) -> tuple[int, float, float, float]:
        options = request.options(target, source)
        return tuple(options[name] for name in ("neighbours", "recon", "alpha", "beta"))

    assert told(None, mvtec) == (3, 1, 0.26, 0.9)
    assert told(None, visa) == (5, 0, 0.26, 0.9)
    assert told(None, btad) == (5, 1, 0.26, 0.9)
    assert told("visa", mvtec) == (3, 1, 0.35, 1)
    assert told("mvtec", visa) == (5, 0, 0.26, 0.9)
    assert told("btad", mvtec) == (3, 1, 0.26, 0.9)
    first = MethodRequest("cops", "april-12")
    kept = [first.options(target, visa) for target in ("btad", "mvtec")]
    assert [(each["alpha"], each["beta"]) for each in kept] == [(0.35, 1.0), (0.26, 0.9)]
    assert CoPS.source_for("visa", {}) == "mvtec"
    assert CoPS.source_for("mvtec", {}) == CoPS.source_for("headct", {}) == "visa"


def test_published_files_lack_the_encoder_and_own_ones_hold_it(
    files: dict[str, Path], detector: CoPS, trainee: CoPS, images: torch.Tensor, tmp_path: Path
) -> None:
    published = states.read(files["learned"])["prompt_learner"]
    assert len(published) == 28 - 8 + 5 and not any("vae_encoder" in name for name in published)
    assert published.keys() == detector.learned().keys()
    assert all(torch.equal(published[name], each) for name, each in detector.learned().items())
    with pytest.raises(ValueError, match="begin"):
        detector.loss(detector.encode(images), batch([0, 1, 0]))
    own = tmp_path / "own.safetensors"
    states.write({name: tensor.detach() for name, tensor in trainee.learned().items()}, own)
    again = CoPS.load({**files, "learned": own}, **MINI)
    assert "vae_encoder.log_var.bias" in again.learned()
    with torch.inference_mode():
        assert torch.equal(again(images, NAMES).maps, trainee(images, NAMES).maps)


def test_what_does_not_fit_is_refused_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    good = states.read(files["learned"])["prompt_learner"]
    path = tmp_path / "bad.pth"
    for change in (
        {"ctx_neg": torch.zeros(1, 1, 12, 64)},
        {"projector.fc.0.bias": torch.zeros(64)},
        {"extractor.mlp.c_fc.bias": None},
        {"vae_encoder.mean.bias": torch.zeros(64)},
    ):
        state = {name: tensor for name, tensor in {**good, **change}.items() if tensor is not None}
        states.write({"prompt_learner": state}, path)
        with pytest.raises(ValueError, match=r"bad\.pth"):
            CoPS.load({**files, "learned": path}, **MINI)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"layers": (5, 6)}, "layers must name one"),
        ({"layers": (7,)}, "layers"),
        ({"n_ctx": 5}, "n_ctx must be at least 6"),
        ({"n_ctx": 73}, "n_ctx"),
        ({"neighbours": 4}, "neighbours must be odd"),
        ({"neighbours": 0}, "neighbours"),
        ({"samples": 0}, "samples"),
        ({"heads": 12}, "heads must divide the width 64"),
        ({"heads": 0}, "heads"),
        ({"dpam": 7}, "dpam must lie between 0 and 6"),
        ({"depth": -1}, "depth"),
    ],
)
def test_impossible_options_are_refused(
    files: dict[str, Path], options: dict[str, object], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        CoPS.begin({"vision": files["vision"]}, 1, **{**MINI, **options})


def test_files_say_what_they_were_trained_on() -> None:
    options = CoPS.resolve({})
    visa = CoPS.files(options, "visa")["learned"]
    assert visa.name == "cops/ViT-L-14-336/trained_on_visa_epoch_10.pth"
    assert visa.url and visa.url.endswith("74c0ad426e3/results/models/visa/epoch_10.pth")
    assert visa.git_sha1 == "9b658b4cf04d05b69af77c151d22b10b24786fc2"
    assert visa.digest_by_third_party
    mvtec = CoPS.files(options, "mvtec")["learned"]
    assert mvtec.name.endswith("trained_on_mvtec_epoch_5.pth") and mvtec.sha256 != visa.sha256
    for name in ("depth", "n_ctx", "t_n_ctx", "heads"):
        other = CoPS.files({**options, name: options[name] - 1}, "visa")["learned"]
        assert other.trained_here and other.name.endswith("/trained_on_visa.safetensors")
    assert CoPS.files({**options, "alpha": 0.1, "neighbours": 3}, "visa")["learned"] == visa
    assert CoPS.files(options, "btad")["learned"].trained_here
