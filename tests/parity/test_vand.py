"""VAND (April-GAN) against golden files made by its official code."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods.base import TrainingBatch
from methods.fill import filled
from methods.learning import dice, focal
from methods.vand import Vand
from parity.clip_cases import compare, is_quick, names, network_inputs, small_clip


def _detector(about: dict[str, Any]) -> Vand:
    config = about["config"]
    shapes = {"weight": (config["embed_dim"], config["width"]), "bias": (config["embed_dim"],)}
    blank = {name: torch.empty(shapes[name.rsplit(".", 1)[1]]) for name in about["linear_layer_keys"]}
    return Vand(
        small_clip(about),
        filled(blank, about["seed"]),
        image_size=config["img_size"],
        layers=tuple(config["features_list"]),
        quick_gelu=is_quick(about),
    )


def test_vand(vand_case: Any, deviations: Any) -> None:
    detector = _detector(vand_case.about)
    images, got = network_inputs(vand_case, detector)
    with torch.inference_mode():
        features = detector.encode(images)
    if "losses" in vand_case.arrays:
        _train(vand_case, deviations, detector, features, got)
    else:
        _infer(vand_case, deviations, detector, features, got)


def _infer(
    golden: Any, deviations: Any, detector: Vand, features: dict[str, Tensor], got: dict[str, Tensor]
) -> None:
    assert "anomaly_maps" in golden.arrays, f"{golden.path.name} is neither inference nor training"
    with torch.inference_mode():
        text = detector.text_features(names(golden), features["image"])
        prediction = detector.score(features, names(golden))
        got |= {
            "text_features": detector.text_features(golden.about["class_names"], features["image"]).mT,
            "image_features": torch.nn.functional.normalize(features["image"], dim=-1),
            "block_tokens_mean": features["levels"].mean(dim=2),
            "logits": torch.stack(list(detector.patch_logits(features, text)), dim=1),
            "image_scores": prediction.scores,
            "anomaly_maps": prediction.maps,
        }
    compare(golden, deviations, got, {"images_u8", "class_index"})


def _train(
    golden: Any, deviations: Any, detector: Vand, features: dict[str, Tensor], got: dict[str, Tensor]
) -> None:
    about, prompts = golden.about, names(golden)
    masks = torch.stack([_target(mask, detector.image_size) for mask in golden.arrays["masks_u8"]])
    features = {name: tensor.clone() for name, tensor in features.items()}  # out of inference mode
    betas = (about["betas"][0], about["betas"][1])
    recipe = replace(detector.recipe.stages[0], learning_rate=about["learning_rate"], betas=betas)
    optimiser = recipe.make_optimiser(detector.learned())
    steps: dict[str, list[Tensor]] = {"losses": [], "focal": [], "dice": []}
    for _ in range(about["epochs"]):
        for start in range(0, len(prompts), about["batch_size"]):
            batch = slice(start, start + about["batch_size"])
            part = {name: tensor[batch] for name, tensor in features.items()}
            with torch.no_grad():
                text = detector.text_features(prompts[batch], part["image"])
                levels = list(detector.probabilities(part, text))
                steps["focal"].append(torch.stack([focal(level, masks[batch]) for level in levels]))
                steps["dice"].append(torch.stack([dice(level[:, 1], masks[batch]) for level in levels]))
            labels = masks[batch].amax(dim=(1, 2))
            loss = recipe.minimised(detector.loss(part, TrainingBatch(prompts[batch], labels, masks[batch])))
            steps["losses"].append(loss.detach())
            optimiser.zero_grad()
            loss.backward()
            if len(steps["losses"]) == 1:
                got |= {f"grad_step1.{name}": each.grad.clone() for name, each in detector.learned().items()}
            optimiser.step()
    got |= {f"final.{name}": each for name, each in detector.learned().items()}
    got |= {name: torch.stack(values) for name, values in steps.items()}
    got["gt"] = masks
    compare(golden, deviations, got, {"images_u8", "masks_u8", "class_index"})


def _target(mask: np.ndarray, size: int) -> Tensor:
    resized = Image.fromarray(mask).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized) / 255 > 0.5).float()
