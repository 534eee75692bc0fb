"""VCP-CLIP against golden files made by its official code."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbones import clip
from methods.backbones.blocks import run_blocks
from methods.base import Features, TrainingBatch
from methods.fill import filled
from methods.learned_tensors import blank
from methods.learning import dice, focal
from methods.vcpclip import VcpClip
from parity.clip_cases import compare, masks, names, network_inputs, small_clip

INPUTS = {"images_u8", "masks_u8", "labels", "class_index"}


def _detector(about: dict[str, Any]) -> VcpClip:
    model, config, given = small_clip(about), about["config"], about["options"]
    options = {
        "image_size": config["img_size"],
        "layers": tuple(config["features_list"]),
        "context_length": given["prompt_len"],
        "text_tokens": given["deep_prompt_len"],
        "visual_context": given["use_global"],
    }
    shapes = VcpClip.learned_shapes(VcpClip.resolve(options), model.state_dict())
    learned, special = filled(blank(shapes), about["seed"]), about["special"]
    for name, factor in special["factors"].items():
        learned[name] = learned[name] * factor
    learned |= {name: torch.tensor(value) for name, value in special["values"].items()}
    return VcpClip(model, learned, **options)


def test_vcpclip(vcpclip_case: Any, deviations: Any) -> None:
    detector = _detector(vcpclip_case.about)
    images, got = network_inputs(vcpclip_case, detector)
    features = detector.encode(images)
    check = _train if "losses" in vcpclip_case.arrays else _infer
    compare(vcpclip_case, deviations, got | check(vcpclip_case, detector, images, features), INPUTS)


@torch.no_grad()
def _infer(golden: Any, detector: VcpClip, images: Tensor, features: Features) -> dict[str, Tensor]:
    text = detector.text_features(features["image"])
    levels = [F.normalize(level, dim=-1) for level in features["levels"][:, :, 1:].unbind(1)]
    linear, adapted = (
        torch.stack(each, dim=1) for each in zip(*detector.patch_logits(features, text), strict=True)
    )
    maps, prediction = detector.branch_maps(features, text), detector.score(features, names(golden))
    hidden = clip.embed_image(detector.model, images, detector.positions)
    _, whole = run_blocks(clip.vision_blocks(detector.model), hidden, taps=detector.options["layers"])
    return {
        "image_features": features["image"],
        "block_tokens_mean": torch.stack([each.mean(dim=1) for each in whole], dim=1),
        "context": detector.context(features["image"]),
        "text_features": text,
        "adapted_text": torch.stack([detector.adapted_text(level, text) for level in levels], dim=1),
        "logits_linear": linear,
        "logits_adapted": adapted,
        "map_linear": maps[0],
        "map_adapted": maps[1],
        "anomaly_maps": prediction.maps,
        "image_scores": prediction.scores,
    }


def _train(golden: Any, _: VcpClip, images: Tensor, features: Features) -> dict[str, Tensor]:
    about, got = golden.about, {}
    truth = masks(golden, images.shape[-1])
    for run, dropout in (("", 0.0), ("_dropout", 0.1)):
        detector = _detector(about)
        detector.options["dropout"] = dropout
        steps = _steps(golden, detector, features, truth, seed=about["dropout_seed"] if dropout else None)
        got |= {f"losses{run}": steps.pop("losses"), **({} if run else steps)}
    return got | {"gt": truth}


def _steps(
    golden: Any, detector: VcpClip, features: Features, truth: Tensor, seed: int | None
) -> dict[str, Tensor]:
    about, learned = golden.about, detector.learned()
    (stage,) = detector.recipe.stages
    temperatures = tuple(stage.rates)
    stage = replace(
        stage,
        learning_rate=about["learning_rate"],
        rates=dict.fromkeys(temperatures, about["temperature_learning_rate"]),
        betas=tuple(about["betas"]),
    )
    optimiser = stage.make_optimiser(learned)
    got: dict[str, Tensor] = {}
    told: dict[str, list[Tensor]] = {
        name: [] for name in ("losses", "focal", "dice", "grad_norms", "temperatures")
    }
    size, count = about["batch_size"], len(truth)
    batches = [slice(start, start + size) for start in range(0, count, size)] * about["epochs"]
    for step, batch in enumerate(batches):
        part = {name: tensor[batch] for name, tensor in features.items()}
        with _seeded(seed, step), torch.no_grad():
            text = detector.text_features(part["image"], dropout=detector.options["dropout"])
            by_branch = list(zip(*detector.probabilities(part, text), strict=True))
        terms = {
            "focal": torch.tensor([[focal(each, truth[batch]) for each in maps] for maps in by_branch]),
            "dice": torch.tensor([[dice(each[:, 1], truth[batch]) for each in maps] for maps in by_branch]),
        }
        with _seeded(seed, step):
            labels = truth[batch].amax(dim=(1, 2))
            found = detector.loss(part, TrainingBatch(names(golden)[batch], labels, truth[batch]))
        total = stage.minimised(found)
        branches = sum(terms.values()).sum(dim=1)
        told["losses"].append(torch.stack([total.detach(), *branches]))
        for name, each in terms.items():
            told[name].append(each.flip(0))
        optimiser.zero_grad()
        total.backward()
        told["grad_norms"].append(
            torch.stack([learned[name].grad.norm() for name in about["grad_norm_names"]])
        )
        if step == 0:
            got |= {f"grad_step1.{name}": each.grad for name, each in _with_gradient(learned)}
        optimiser.step()
        told["temperatures"].append(torch.stack([learned[name].detach().clone() for name in temperatures]))
        if step == 1:
            got |= {f"after_2.{name}": each.detach().clone() for name, each in learned.items()}
    got |= {f"final.{name}": each.detach() for name, each in learned.items()}
    return got | {name: torch.stack(values) for name, values in told.items()}


def _with_gradient(learned: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, each) for name, each in learned.items() if each.grad is not None]


@contextmanager
def _seeded(seed: int | None, step: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=()):
        if seed is not None:
            torch.manual_seed(seed + step)
        yield
