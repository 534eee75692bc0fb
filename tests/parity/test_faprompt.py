"""FAPrompt against golden files made by its official code."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.base import TrainingBatch
from methods.faprompt import FAPrompt
from methods.fill import filled
from methods.learned_tensors import blank
from parity.clip_cases import clip_of, compare_kept, masks, pictures, tolerance

INPUTS = {"images_u8", "masks_u8", "labels"}
# Where a gradient is zero in float16 for one and not for the other, Adam's steps differ by the whole rate.
SHARE = {"compound_prompts_text": 0.99}
FIRST = ("focal", "dice_abnormal", "dice_normal")
SECOND = tuple(f"{name}_prior" for name in FIRST)
LOSSES = (*FIRST, *SECOND, "image", "image_score", "orthogonality", "prior")


def _detector(about: dict[str, Any]) -> FAPrompt:
    model = clip_of(about)
    options = {name: value for name, value in about["options"].items() if name in FAPrompt.defaults}
    shapes = FAPrompt.learned_shapes(FAPrompt.resolve(options), model.state_dict())
    return FAPrompt(model, filled(blank(shapes), about["seed"]), **options)


def test_faprompt(faprompt_case: Any, deviations: Any) -> None:
    golden, detector = faprompt_case, _detector(faprompt_case.about)
    images = torch.stack([detector.preprocess(picture) for picture in pictures(golden)])
    features = detector.encode(images)
    ids = [ids[:1] for ids, _ in detector.sentences(detector.options).values()]
    got = {"preprocessed": images, "tokens": torch.cat(ids)}
    got |= (_train if "losses" in golden.arrays else _infer)(golden, detector, features)
    allowed = partial(tolerance, golden.about)
    compare_kept(golden, deviations, got, INPUTS, allowed, SHARE)


@torch.no_grad()
def _infer(golden: Any, detector: FAPrompt, features: dict[str, Tensor]) -> dict[str, Tensor]:
    prediction = detector.score(features, ["anything"] * len(features["image"]))
    passes, raw = detector.passes(features), detector.text_features()
    abnormal = detector.abnormal_texts(passes.prior).mean(dim=1)
    second = torch.stack([raw[0].expand_as(abnormal), abnormal], dim=1)
    first = torch.stack([raw[0], raw[1:].mean(dim=0)])
    return {
        "text_features_raw": raw,
        "text_features": torch.nn.functional.normalize(first, dim=-1),
        "prior": passes.prior,
        "image_text_features": torch.nn.functional.normalize(second, dim=-1),
        "image_features": features["image"],
        "patch_features": features["patches"][:, 0],
        "patch_similarity": passes.probabilities[..., 1].unflatten(2, detector.grid),
        "image_probabilities": passes.image_logits.softmax(dim=-1)[:, 1],
        "image_scores": prediction.scores,
        "anomaly_maps": prediction.maps,
    }


def _train(golden: Any, detector: FAPrompt, features: dict[str, Tensor]) -> dict[str, Tensor]:
    options = golden.about["options"]
    weights = dict(options["weights"])
    losses = dict.fromkeys(FIRST, float(weights.pop("first_pass")))
    losses |= dict.fromkeys(SECOND, float(weights.pop("second_pass")))
    losses |= {name: float(value) for name, value in weights.items()}
    (stage,) = detector.recipe.stages
    betas = tuple(options["betas"])
    stage = replace(stage, learning_rate=options["learning_rate"], betas=betas, losses=losses)
    truth = masks(golden, detector.image_size)
    labels, learned = golden.tensor("labels"), detector.learned()
    optimiser = stage.make_optimiser(learned)
    got: dict[str, Tensor] = {"gt": truth}
    told: dict[str, list[Tensor]] = {name: [] for name in ("losses", "image_logits", "prior", "grad_norms")}
    for step in range(options["steps"]):
        now = slice(step * options["batch_size"], (step + 1) * options["batch_size"])
        batch = {name: values[now] for name, values in features.items()}
        passes = detector.passes(batch)
        terms = detector.loss(batch, TrainingBatch(["anything"] * 9, labels[now], truth[now]))
        total = stage.minimised(terms)
        told["losses"].append(torch.stack([*(terms[name] for name in LOSSES), total]).detach()[None])
        told["image_logits"].append(passes.image_logits)
        told["prior"].append(passes.prior)
        optimiser.zero_grad()
        total.backward()
        gradients = {name: learned[name].grad for name in learned}
        norms = [gradients[name].norm() for name in golden.about["grad_norm_names"]]
        told["grad_norms"].append(torch.stack(norms)[None])
        mark = "second_grad" if step else "grad"
        got |= {f"{mark}_{name}": value for name, value in _stacked(gradients).items() if step < 2}
        optimiser.step()
    assert np.isfinite(golden.arrays["losses"]).all()
    return got | _stacked(learned) | {name: torch.cat(parts) for name, parts in told.items()}


def _stacked(named: dict[str, Any]) -> dict[str, Tensor]:
    """Return copies, of the compound prompts in one tensor."""
    deep = "compound_prompts_text"
    found = {name: each.detach().clone() for name, each in named.items() if not name.startswith(deep)}
    prompts = [each.detach() for name, each in named.items() if name.startswith(deep)]
    return {**found, deep: torch.stack(prompts).clone()}
