"""Crane and Crane+ against golden files made by its official code."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from methods import crane
from methods.backbones import dinov2
from methods.base import TrainingBatch
from methods.crane import Crane
from methods.fill import filled
from methods.learned_prompts import tokens as prompt_tokens
from methods.learned_tensors import blank
from parity.clip_cases import clip_of, compare_kept, masks, pictures, tolerance
from parity.test_anomalyclip import INPUTS, SHARE, stacked

# What the golden files call otherwise, or tell of the official programs without a choice.
NAMED = {
    "features_list",
    "dino_model",
    "attn_type",
    "both_eattn_dattn",
    "use_scorebase_pooling",
    "context_type",
}
STEPS = ("", "second_", "third_")
TRAINING = {"batch_size", "epochs", "interpolation", "learning_rate", "betas", "image_temperature", "weights"}


def _detector(about: dict[str, Any]) -> Crane:
    told, model = dict(about["options"]), clip_of(about)
    assert (told["attn_type"], told["context_type"]) == ("qq+kk+vv", "pad_suffix")
    assert told["both_eattn_dattn"] and told["use_scorebase_pooling"]
    assert (
        max(told["features_list"]) == about["model"]["vision"]["layers"]
    )  # whichever they are, the last is what comes out
    options = {name: value for name, value in told.items() if name not in NAMED | TRAINING}
    options["dattn"] = told["dino_model"] != "none"
    learned = filled(blank(Crane.learned_shapes(Crane.resolve(options), model.state_dict())), about["seed"])
    return Crane(model, learned, _dino(about) if options["dattn"] else None, **options)


def _dino(about: dict[str, Any]) -> Any:
    given = about["vfm"]
    assert about["options"]["dino_model"] == "dinov2" and given["mlp_ratio"] == 4
    variant = dinov2.Variant(
        width=given["width"],
        depth=given["layers"],
        heads=given["heads"],
        patch=given["patch_size"],
        grid=given["image_size"] // given["patch_size"],
        registers=given["registers"],
    )
    return dinov2.build(variant, filled(dinov2.blank(variant), about["seed"]))


def test_crane(crane_case: Any, deviations: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    about = crane_case.about
    detector = _detector(about)
    monkeypatch.setattr(crane, "IMAGE_TEMPERATURE", about["options"].get("image_temperature", 0.01))
    images = torch.stack([detector.preprocess(picture) for picture in pictures(crane_case)])
    with torch.no_grad():
        features = detector.encode(images)
    training = "losses" in crane_case.arrays
    got = _train(crane_case, detector, features) if training else _infer(detector, images, features)
    got |= {"preprocessed": images, "tokens": prompt_tokens(detector.options["n_ctx"])}

    def allowed(quantity: str) -> float:
        return 2e-5 if quantity in SHARE else tolerance(about, quantity)

    compare_kept(crane_case, deviations, got, INPUTS, allowed, SHARE)


def _infer(detector: Crane, images: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        given = detector.options["image_context"]
        text = detector.conditioned(features["image"]) if given else detector.text_features()
        prediction = detector.score(features, ["anything"] * len(images))
        similar = detector.patch_logits(features, text).softmax(dim=-1)[..., 1]
        found = {"vfm_features": detector.dino_patches(images)} if detector.options["dattn"] else {}
    return found | {
        "text_features": text,
        "image_features": features["image"],
        "patch_features": features["patches"],
        "patch_similarity": similar.unflatten(-1, detector.grid),
        "pooled_features": detector.pooled(features, text),
        "fused_features": detector.fused(features, text),
        "image_scores": prediction.scores,
        "anomaly_maps": prediction.maps,
    }


def _train(golden: Any, detector: Crane, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the official steps, whose batches are the stored samples in order."""
    options = golden.about["options"]
    assert options["interpolation"] == "nearest" and options["epochs"] == 1 and options["image_context"]
    weights = {name: float(value) for name, value in options["weights"].items()}
    stage = replace(
        detector.recipe.stages[0],
        learning_rate=options["learning_rate"],
        betas=tuple(options["betas"]),
        losses=weights,
    )
    truth = masks(golden, detector.image_size)
    labels, learned = golden.tensor("labels"), detector.learned()
    optimiser = stage.make_optimiser(learned)
    assert optimiser is not None
    rows: dict[str, list[Tensor]] = {"losses": [], "image_logits": []}
    size, maps = options["batch_size"], len(golden.arrays["focal"][0])
    got = {"gt": truth}
    for step in range(len(golden.arrays["losses"])):
        rows_of = slice(step * size, (step + 1) * size)
        part = {name: each[rows_of] for name, each in features.items()}
        batch = TrainingBatch(["anything"] * size, labels[rows_of], truth[rows_of])
        terms = detector.loss(part, batch)
        total = stage.minimised(terms)
        rows["losses"].append(torch.stack([*(terms[name] for name in weights), total]).detach())
        with torch.no_grad():
            text = detector.conditioned(part["image"])
            rows["image_logits"].append(
                torch.einsum("bd,bcd->bc", detector.fused(part, text), text) / crane.IMAGE_TEMPERATURE
            )
            for name in ("focal", "dice"):
                rows.setdefault(name, []).append(_each_map(detector, part, batch, name, maps))
        optimiser.zero_grad()
        total.backward()
        gradients = {name: tensor.grad for name, tensor in learned.items()}
        got |= {f"{STEPS[step]}grad_{name}": value for name, value in stacked(gradients).items()}
        optimiser.step()
    got["image_logits"] = torch.cat(rows.pop("image_logits"))
    return got | stacked(learned) | {name: torch.stack(each) for name, each in rows.items()}


def _each_map(
    detector: Crane, features: dict[str, Tensor], batch: TrainingBatch, name: str, maps: int
) -> Tensor:
    """Return a loss term of every official map (Crane's are the same four times)."""
    own = features["patches"].shape[1]
    times = maps // own
    found = []
    for index in range(own):
        single = {**features, "patches": features["patches"][:, index : index + 1]}
        found += [detector.loss(single, batch)[name] / (1 if detector.options["dattn"] else 4)] * times
    return torch.stack(found)
