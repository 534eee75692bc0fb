"""CoPS against golden files made by its official code."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import TrainingBatch
from methods.cops import CoPS
from methods.fill import filled
from methods.learned_tensors import blank
from parity.clip_cases import clip_of, compare_kept, masks, pictures

INPUTS = {"images_u8", "masks_u8", "labels", "noise"}
MAPS = ("focal", "dice_abnormal", "dice_normal")
RENAMED = {"features_list": "layers", "recon_weight": "recon"}
# The exact gradient of the key's bias is zero; Adam turns what rounding leaves of it into whole steps.
WITHOUT_GRADIENT = "extractor.attn.in_proj_bias"


def _detector(about: dict[str, Any]) -> CoPS:
    model = clip_of(about)
    given = {**about["constants"], **about["options"], **about["rule"]}
    options = {RENAMED.get(name, name): value for name, value in given.items()}
    options = {name: value for name, value in options.items() if name in CoPS.defaults}
    learned = filled(blank(CoPS.learned_shapes(CoPS.resolve(options), model.state_dict())), about["seed"])
    for name in learned:
        if name.startswith("vae_encoder."):
            learned[name] *= np.float32(0.3)
    return CoPS(model, learned, **options)


def test_cops(cops_case: Any, deviations: Any) -> None:
    detector = _detector(cops_case.about)
    images = torch.stack([detector.preprocess(picture) for picture in pictures(cops_case)])
    features = detector.encode(images)
    if cops_case.about["kind"] == "train":
        unchecked = set(cops_case.arrays) - INPUTS - _train(cops_case, deviations, detector, features)
        assert not unchecked, f"{cops_case.path.name}: nothing here checks {sorted(unchecked)}"
    else:
        _infer(cops_case, deviations, detector, features, images)


@torch.no_grad()
def _infer(golden: Any, deviations: Any, detector: CoPS, features: dict[str, Tensor], images: Tensor) -> None:
    detector.noise = golden.tensor("noise")
    prediction = detector.score(features, ["anything"] * len(images))
    patches, classes = detector.pooled(features), detector.vae_decoder["net"](detector.noise)
    prototypes = detector.prototypes(patches)
    samples = detector.texts(prototypes, classes)
    texts = F.normalize(samples.mean(dim=2), dim=-1)
    weights = detector.weights(detector.distances(patches, prototypes))
    cosines = {
        name: F.normalize(of, dim=-1) @ texts.mT
        for name, of in (("patch_similarity", patches), ("image_similarity", features["image"][:, None]))
    }
    got = {
        "tokens": _all_ids(detector),
        "preprocessed": images,
        "class_bias": classes,
        "image_features": features["image"],
        "patch_features": features["patches"],
        "pooled_features": patches,
        "prototypes": prototypes,
        "text_samples": samples,
        "text_features": texts,
        "patch_similarity": cosines["patch_similarity"],
        "image_similarity": cosines["image_similarity"][:, 0],
        "patch_weighted": detector.logits(patches, texts).softmax(dim=-1)[..., 1] * weights,
        "image_scores": prediction.scores,
        "anomaly_maps": prediction.maps,
    }
    compare_kept(golden, deviations, got, INPUTS, partial(_tolerance, golden))


def _all_ids(detector: CoPS) -> Tensor:
    """Return the ids (2, 77) of both prompts, which are the same."""
    ids = torch.zeros(2, 77, dtype=torch.int64)
    ids[:, : detector.tokens.shape[1]] = detector.tokens
    return ids


def _tolerance(golden: Any, name: str) -> float:
    told = golden.about["suggested_tolerance"]
    (entry,) = [value for names, value in told.items() if name in names.split(", ")]
    if isinstance(entry, str):
        assert entry.startswith("exact")
        return 0.0
    return float(entry)


def _train(golden: Any, deviations: Any, detector: CoPS, features: dict[str, Tensor]) -> set[str]:
    about = golden.about
    constants, options = about["constants"], about["options"]
    (stage,) = detector.recipe.stages
    losses = {**stage.losses, **dict.fromkeys(MAPS, float(constants["lambda_patch"]))}
    betas = tuple(constants["betas"])
    stage = replace(stage, learning_rate=options["learning_rate"], betas=betas, losses=losses)
    truth = masks(golden, detector.image_size)
    labels, learned = golden.tensor("labels"), detector.learned()
    assert set(learned) == set(about["gradient_norms"][0])
    optimiser, checked = stage.make_optimiser(learned), set()

    def check(name: str, quantity: str, mine: Tensor, want: Tensor, tolerance: float) -> None:
        deviations.check(golden, quantity, mine, want, tolerance)
        checked.add(name)

    with torch.no_grad():
        noise = golden.tensor("noise")[0]
        hidden = detector.vae_encoder["net"](features["image"])
        mean, log_var = (detector.vae_encoder[name](hidden) for name in ("mean", "log_var"))
        classes = detector.vae_decoder["net"](mean + (log_var / 2).exp() * noise)[:, None]
        texts = detector.texts(detector.prototypes(detector.pooled(features)), classes)
        for name, mine in (("first_mean", mean), ("first_log_var", log_var), ("first_text_samples", texts)):
            check(name, name, mine, golden.tensor(name), _tolerance(golden, name))
    for step, noise in enumerate(golden.tensor("noise")):
        detector.training_noise = lambda count, noise=noise: noise  # type: ignore[method-assign]
        terms = detector.loss(features, TrainingBatch(["anything"] * 9, labels, truth))
        total = stage.minimised(terms)
        patch = sum(terms[name] for name in MAPS)
        row = [terms["image"], patch, *(terms[name] for name in ("gather", "scatter", "kl", "recon")), total]
        want = golden.tensor("losses")[step]
        mine = torch.stack([torch.as_tensor(value) for value in row]).detach().double()
        check("losses", "losses, relative", (mine - want) / want.abs().clamp_min(1e-30), 0 * want, 1e-5)
        optimiser.zero_grad()
        total.backward()
        for name, norm in about["gradient_norms"][step].items():
            rough, gradient = name.startswith("compound"), learned[name].grad
            off = gradient.norm() / norm - 1
            deviations.check(golden, f"gradient norm{_kind(name)}", off, 0.0, 1e-3 if rough else 1e-4)
            if step == 0:
                key = f"grad1/{name}"
                mine, want = _kept(name, gradient), _masked(name, golden.tensor(key))
                scale = 5e-3 if rough else 5e-5
                check(key, f"gradient{_kind(name)}", (mine - want) / want.abs().max(), 0 * want, scale)
        optimiser.step()
    for name, parameter in learned.items():
        key = f"after2/{name}"
        off = (_kept(name, parameter.detach()) - _masked(name, golden.tensor(key))).abs().flatten()
        check(key, f"parameters, 99 %{_kind(name)}", off.quantile(0.99), torch.zeros(()), 5e-6)
        check(key, f"parameters, furthest{_kind(name)}", off.max(), torch.zeros(()), 4.1e-3)
    return checked


def _kind(name: str) -> str:
    return " (compound prompts)" if name.startswith("compound") else ""


def _kept(name: str, tensor: Tensor) -> Tensor:
    """Return what the golden file keeps of a tensor."""
    cut = tensor.dim() == 2 and tensor.numel() > 4096
    return _masked(name, tensor[::7, ::5] if cut else tensor)


def _masked(name: str, tensor: Tensor) -> Tensor:
    """Return the tensor, the key's bias left out."""
    return torch.cat([tensor.chunk(3)[0], tensor.chunk(3)[2]]) if name == WITHOUT_GRADIENT else tensor
