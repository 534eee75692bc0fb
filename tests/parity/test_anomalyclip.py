"""AnomalyCLIP against golden files made by its official code."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.anomalyclip import AnomalyCLIP
from methods.base import TrainingBatch
from methods.fill import filled
from methods.learned_prompts import tokens as prompt_tokens
from methods.learned_tensors import blank
from parity.clip_cases import clip_of, compare_kept, masks, pictures

INPUTS = {"images_u8", "masks_u8", "labels"}
TOLERANCES = {
    "preprocessed": 1e-5,
    "tokens": 0.0,
    "gt": 0.0,
    "text_features": 1e-5,
    "image_features": 1e-5,
    "patch_features": 1e-5,
    "patch_similarity": 2e-5,
    "image_scores": 2e-5,
    "anomaly_maps": 5e-5,
    "losses": 1e-4,
    "grad_ctx_pos": 1e-4,
    "grad_ctx_neg": 1e-4,
    "grad_compound_prompts_text": 5e-3,  # gradients pass through float16
    "ctx_pos": 1e-5,
    "ctx_neg": 1e-5,
    "compound_prompts_text": 2e-5,
}
# Where a gradient is zero in float16 for one and not for the other, Adam's steps differ by the whole rate.
SHARE = {"compound_prompts_text": 0.99}


def _detector(about: dict[str, Any]) -> AnomalyCLIP:
    model, seed = clip_of(about), about["seed"]
    names = {name: "layers" if name == "features_list" else name for name in about["options"]}
    options = {
        names[name]: value for name, value in about["options"].items() if names[name] in AnomalyCLIP.defaults
    }
    learned = filled(
        blank(AnomalyCLIP.learned_shapes(AnomalyCLIP.resolve(options), model.state_dict())), seed
    )
    return AnomalyCLIP(model, learned, **options)


def test_anomalyclip(anomalyclip_case: Any, deviations: Any) -> None:
    detector = _detector(anomalyclip_case.about)
    images = torch.stack([detector.preprocess(picture) for picture in pictures(anomalyclip_case)])
    with torch.no_grad():
        features = detector.encode(images)
    check = _train if "losses" in anomalyclip_case.arrays else _infer
    got = {"preprocessed": images, "tokens": prompt_tokens(detector.options["n_ctx"])}
    got |= check(anomalyclip_case, detector, features)
    compare_kept(anomalyclip_case, deviations, got, INPUTS, TOLERANCES.__getitem__, SHARE)


def _infer(golden: Any, detector: AnomalyCLIP, features: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        text = detector.text_features()
        prediction = detector.score(features, ["anything"] * len(features["image"]))
        similarity = detector.patch_probabilities(features, text)[..., 1].unflatten(-1, detector.grid)
    return {
        "text_features": text,
        "image_features": features["image"],
        "patch_features": features["patches"],
        "patch_similarity": similarity,
        "image_scores": prediction.scores,
        "anomaly_maps": prediction.maps,
    }


def _train(golden: Any, detector: AnomalyCLIP, features: dict[str, Tensor]) -> dict[str, Tensor]:
    options = golden.about["options"]
    local = {name: float(options["lambda_local"]) for name in ("focal", "dice_abnormal", "dice_normal")}
    assert {**local, "image": 1.0} == detector.recipe.stages[0].losses or options["lambda_local"] != 4
    recipe = replace(
        detector.recipe.stages[0],
        learning_rate=options["learning_rate"],
        betas=tuple(options["betas"]),
        losses={**local, "image": 1.0},
    )
    truth = masks(golden, detector.image_size)
    labels, learned = golden.tensor("labels"), detector.learned()
    optimiser = recipe.make_optimiser(learned)
    got, losses = {"gt": truth}, []
    for step in range(len(golden.arrays["losses"])):
        terms = detector.loss(features, TrainingBatch(["anything"] * len(labels), labels, truth))
        total = recipe.minimised(terms)
        weighted = [terms[name] for name in local] + [total - terms["image"], terms["image"], total]
        losses.append(torch.stack(weighted).detach())
        optimiser.zero_grad()
        total.backward()
        if step == 0:
            gradients = {name: tensor.grad for name, tensor in learned.items()}
            got |= {f"grad_{name}": value for name, value in stacked(gradients).items()}
        optimiser.step()
    assert np.isfinite(golden.arrays["losses"]).all()
    return got | stacked(learned) | {"losses": torch.stack(losses)}


def stacked(named: dict[str, Any]) -> dict[str, Tensor]:
    deep = [tensor for name, tensor in named.items() if name.startswith("compound_prompts_text.")]
    found = {name: named[name].detach().clone() for name in ("ctx_pos", "ctx_neg")}
    return found | {"compound_prompts_text": torch.stack(deep).detach().clone()}
