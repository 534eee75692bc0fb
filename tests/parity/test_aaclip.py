"""AA-CLIP against golden files made by its official code: inference, both stages, augmentation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.images import resize_mask
from methods.aaclip import ENSEMBLE, AAClip, description
from methods.backbones import clip
from methods.backbones.blocks import Hook, run_blocks
from methods.base import TrainingBatch
from methods.fill import filled
from methods.learned_tensors import blank
from methods.learning import Milestones, dice, focal
from methods.maps import similarity_logits
from parity.clip_cases import compare, names, network_inputs, pictures, small_clip

INPUTS = {"images_u8", "masks_u8", "labels", "class_index"}
NAMES = {"levels": "layers", "img_size": "image_size"}


def _detector(about: dict[str, Any]) -> AAClip:
    options = {NAMES.get(name, name): value for name, value in about["options"].items()}
    options["surgery_until_layer"] = about.get("surgery_until_layer", min(20, about["config"]["layers"]))
    if about["domain"] == "Medical":  # blur and fusion follow the domain
        options |= AAClip.target_options["tn3k"]
    model, learned = small_clip(about), filled(blank(about["learned"]), about["seed"])
    return AAClip(model, learned, **options)


def test_aaclip(aaclip_case: Any, deviations: Any) -> None:
    about = aaclip_case.about
    got = {"infer": _infer, "train": _train, "augment": _augment}[about["kind"]](aaclip_case)
    assert (
        about.get("real_names", {}).items()
        <= {name: description(name) for name in about["class_names"]}.items()
    )
    compare(aaclip_case, deviations, got, INPUTS)


def _masks(golden: Any, size: int) -> Tensor:
    nearest = AAClip.training_masks == "nearest"
    masks = [resize_mask(mask, size, nearest=nearest) for mask in golden.arrays["masks_u8"]]
    return torch.from_numpy(np.stack(masks))


@torch.inference_mode()
def _infer(golden: Any) -> dict[str, Tensor]:
    detector = _detector(golden.about)
    images, got = network_inputs(golden, detector)
    prompts, classes = names(golden), golden.about["class_names"]
    entering: list[Tensor] = []
    hidden: list[Tensor] = []

    def watched(tower: str, kept: list[Tensor]) -> Hook:
        adapt, last = detector.adapters(tower), detector.options[f"{tower}_adapt_until"]

        def after(index: int, state: Tensor) -> Tensor:
            state = adapt(index, state)
            if index < last:
                kept.append(state)
            return state

        return after

    normal, abnormal = ENSEMBLE.sentences(description(classes[0]))
    ids = clip.trimmed(clip.tokenize(normal[:2]), at_least=8)
    clip.text_pass(detector.model, ids, after=watched("text", hidden))
    embedded = clip.embed_image(detector.model, images, detector.positions)
    _, taps = run_blocks(
        clip.vision_blocks(detector.model),
        embedded,
        taps=detector.options["layers"],
        after=watched("image", entering),
    )
    patches, image = detector.look(images)
    text = detector.text_features(prompts)
    prediction = detector.score(detector.encode(images), prompts)
    scores, peaks, ranges = torch.zeros(len(images)), torch.zeros(len(images)), []
    for index in range(len(classes)):
        rows = torch.from_numpy(golden.arrays["class_index"] == index)
        also = {name: values[rows] for name, values in prediction.also.items()}
        scores[rows] = detector.finish(also)
        low, high = also["map_min"].min(), also["map_peak"].max()
        peaks[rows] = (also["map_peak"] - low) / (high - low)
        ranges.append(torch.stack([low, high, *also["image_cosine"].aminmax()]))
    return got | {
        "gt": _masks(golden, detector.image_size),
        "text_hidden": hidden[-1][:, :8],
        "sentence_embeddings": detector.encode_text([*normal, *abnormal]),
        "text_features": detector.text_features(classes),
        "entering_mean": torch.stack([each.mean(dim=1) for each in (embedded, *entering)], dim=1),
        "level_tokens_mean": torch.stack([each[:, 1:].mean(dim=1) for each in taps], dim=1),
        "seg_tokens": torch.stack(patches, dim=1),
        "seg_tokens_mean": torch.stack([each.mean(dim=1) for each in patches], dim=1),
        "det_feature": image,
        "similarity": torch.stack([similarity_logits(each, text, 0.01) for each in patches], dim=1),
        "image_cosine": prediction.also["image_cosine"],
        "anomaly_maps": prediction.maps,
        "class_stats": torch.stack(ranges),
        "map_peak": peaks,
        "image_scores": scores,
    }


def _train(golden: Any) -> dict[str, Tensor]:
    about, detector = golden.about, _detector(golden.about)
    images, got = network_inputs(golden, detector)
    masks, labels, prompts = _masks(golden, detector.image_size), golden.tensor("labels"), names(golden)
    learned, stride = detector.learned().items(), about["token_stride"]
    texts, image = detector.recipe.stages
    weighed = {**texts.losses, "orthogonal": about["text_norm_weight"]}
    betas = tuple(about["betas"])
    assert isinstance(image.schedule, Milestones)
    stages = (
        replace(texts, learning_rate=about["text_lr"], betas=betas, losses=weighed),
        replace(
            image,
            learning_rate=about["image_lr"],
            betas=betas,
            schedule=Milestones(tuple(about["milestones"]), about["gamma"]),
        ),
    )
    for stage in stages:
        detector.requires_grad_(False)
        for parameter in stage.trained(detector.learned()).values():
            parameter.requires_grad_(True)
        optimiser = stage.make_optimiser(detector.learned())
        assert optimiser is not None
        batches = about[f"{stage.name}_batches"]
        told: list[dict[str, Tensor]] = []
        if stage.name == "image":
            got["image.texts"] = detector.text_features(about["class_names"])
        for step, rows in enumerate(batches, start=1):
            batch = TrainingBatch([prompts[row] for row in rows], labels[rows], masks[rows], stage.name)
            parts = _parts(detector, images[rows], batch)
            stage.set_rates(optimiser, step - 1, len(batches), 1)
            terms = detector.loss(detector.encode(images[rows]), batch)
            loss = stage.minimised(terms)
            told.append({name: parts.pop(name) for name in ("focal", "dice_normal", "dice_abnormal")})
            told[-1]["losses"] = loss.detach()
            if stage.name == "text":
                parts["orthogonal"] = terms["orthogonal"].detach()[None]
            else:
                told[-1]["cross_entropy"] = terms["image"].detach()
            patches = parts.pop("patches")
            parts["patches_mean"], parts["patches_last"] = patches.mean(dim=2), patches[:, -1, ::stride]
            got |= {f"{stage.name}.{name}_step{step}": value for name, value in parts.items()}
            optimiser.zero_grad()
            loss.backward()
            for name, each in stage.trained(detector.learned()).items():
                assert each.grad is not None
                got[f"{stage.name}.grad_step{step}.{name}"] = each.grad.clone()
            optimiser.step()
        for name in told[0]:
            got[f"{stage.name}.{name}"] = torch.stack([each[name] for each in told])
        got |= {f"{stage.name}.final.{name}": each.detach().clone() for name, each in learned}
    return got | {"gt": masks}


@torch.no_grad()
def _parts(detector: AAClip, images: Tensor, batch: TrainingBatch) -> dict[str, Tensor]:
    """Return a step's features, and its loss terms layer by layer."""
    parts, masks = {"texts": detector.text_features(batch.prompts)}, batch.masks
    if batch.stage == "text":
        patches = detector.look_across(images, detector.options["layers"])
    else:
        patches, parts["det"] = detector.look(images)
    layers = list(detector.probabilities(patches, parts["texts"]))
    return parts | {
        "patches": torch.stack(patches, dim=1),
        "focal": torch.stack([focal(each, masks) for each in layers]),
        "dice_normal": torch.stack([dice(each[:, 0], 1 - masks) for each in layers]),
        "dice_abnormal": torch.stack([dice(each[:, 1], masks) for each in layers]),
    }


def _augment(golden: Any) -> Mapping[str, Tensor]:
    """Draw for each picture as the official data set does, here from a generator of its own."""
    about = golden.about
    detector = AAClip.__new__(AAClip)  # no network: augmentation and preprocessing need the options alone
    torch.nn.Module.__init__(detector)
    detector.options = AAClip.resolve({"image_size": about["options"]["img_size"]})
    changed, targets = [], []
    for stage in AAClip.recipe.stages:
        assert stage.augments
        for index, image in enumerate(pictures(golden)):
            generator = torch.Generator().manual_seed(about["seed"] + index)
            mask = (golden.arrays["masks_u8"][index] > 0).astype(np.uint8)
            coloured, mask = detector.augment(image, mask, stage.name, generator)
            resized = resize_mask(mask, detector.image_size, nearest=AAClip.training_masks == "nearest")
            tensor, target = detector.augment_input(
                detector.preprocess(coloured), resized, stage.name, generator
            )
            changed.append(tensor)
            targets.append(torch.from_numpy(target))
    return {"augmented": torch.stack(changed), "augmented_gt": torch.stack(targets)}
