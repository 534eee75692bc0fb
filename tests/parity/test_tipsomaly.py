"""Tipsomaly and TIPS against the official code, on filled weights.

What a golden file holds decides what is checked. Every array must be recognised. The metric values that
some files also give belong to the metrics' own tests.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.images import resize_mask
from methods.backbones.tips import PATCH, TipsText, TipsTokenizer, TipsVision, sinusoids, swiglu_hidden
from methods.base import TrainingBatch
from methods.fill import fill, filled
from methods.maps import similarity_logits
from methods.tipsomaly import ENSEMBLES, LEARNING, Tipsomaly, read_prompts

INPUTS = {"images_u8", "masks_u8", "labels", "class_ids"}
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "_without_local": {"local_evidence": False},
    "_not_decoupled": {"decoupled": False},
    "_fixed_only": {"prompt_learning": "none"},
}


def test_tipsomaly(tipsomaly_case: Any, deviations: Any) -> None:
    arrays = set(tipsomaly_case.arrays)
    recognised: set[str] = set()
    for check in (_tokenizer, _preprocess, _vision, _text, _official_prompts, _end_to_end, _train):
        recognised |= check(tipsomaly_case, deviations)
    assert recognised, f"{tipsomaly_case.path.name}: nothing in it is of a known kind: {sorted(arrays)}"
    unknown = arrays - recognised - INPUTS
    assert not unknown, f"{tipsomaly_case.path.name}: nothing here checks {', '.join(sorted(unknown))}"


# What the files say of themselves


def _tolerance(case: Any, quantity: str) -> float:
    for words, value in case.about["tolerance"].items():
        if words.startswith("all") or quantity in words:
            return float(value)
    raise AssertionError(f"{case.path.name} gives no tolerance for {quantity}")


def _folder_file(case: Any, name: str) -> Path:
    path = case.path.parent / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def _tokenizer_of(case: Any) -> TipsTokenizer:
    return TipsTokenizer(_folder_file(case, case.about["backbone"]["tokenizer"].split()[0]))


def _vision_of(case: Any) -> TipsVision:
    backbone = case.about["backbone"]
    sizes, swiglu = backbone["vision"], backbone.get("ffn") == "swiglu"
    width, ratio = sizes["embed_dim"], sizes["mlp_ratio"]
    assert backbone["patch_size"] == PATCH
    vision = TipsVision(
        width,
        sizes["depth"],
        sizes["num_heads"],
        swiglu_hidden(width, ratio) if swiglu else int(width * ratio),
        swiglu=swiglu,
        grid=backbone["position_embedding_image_side"] // PATCH,
    )
    vision.load_state_dict(filled(vision.state_dict(), case.about["seed"]))
    return vision


def _text_of(case: Any) -> TipsText:
    sizes = case.about["backbone"]["text"]
    text = TipsText(
        sizes["hidden_size"],
        sizes["num_layers"],
        sizes["num_heads"],
        sizes["mlp_dim"],
        case.about["backbone"]["vocabulary"],
    )
    text.load_state_dict(filled(text.state_dict(), case.about["seed"]))
    if "temperature" in case.about:
        text.temperature.fill_(case.about["temperature"])
    return text


def _prompts_of(case: Any, width: int) -> list[torch.Tensor]:
    shape = (case.about.get("n_prompt", 8), width)
    scale = re.search(r"times ([\d.]+\d)", case.about.get("initial_prompts", ""))
    values = [fill(f"learnable_prompts.{state}", shape, case.about["seed"]) for state in (0, 1)]
    return [torch.from_numpy(each) * (float(scale.group(1)) if scale else 1.0) for each in values]


def _options(case: Any) -> dict[str, Any]:
    names = {
        "image_size": "image_size",
        "sigma": "sigma",
        "n_prompt": "n_prompt",
        "fixed_prompt_type": "prompt_type",
        "prompt_learn_method": "prompt_learning",
        "decoupled_prompt": "decoupled",
        "aggregate_local2global": "local_evidence",
    }
    return {ours: case.about[theirs] for theirs, ours in names.items() if theirs in case.about}


def _texts_only(case: Any, prompts: list[torch.Tensor], **options: Any) -> Tipsomaly:
    """A method of which only the text side is used."""
    text = _text_of(case)
    vision = TipsVision(text.width, 0, 1, 1, grid=1)
    given = {name: value for name, value in _options(case).items() if name == "n_prompt"}
    return Tipsomaly(vision, text, _tokenizer_of(case), prompts, **{**given, **options})


def _hollow(case: Any, **options: Any) -> Tipsomaly:
    """A method that can only preprocess."""
    tokenizer = TipsTokenizer(_folder_file(case, "tokenizer.model"))
    vision, text = TipsVision(2, 0, 1, 1, grid=1), TipsText(2, 0, 1, 1)
    return Tipsomaly(vision, text, tokenizer, prompt_learning="none", **options)


def _unpacked(stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if stored.shape == shape:
        return stored
    return np.unpackbits(stored, count=int(np.prod(shape))).reshape(shape)


def _same(deviations: Any, case: Any, quantity: str, got: Any, name: str, tolerance: float) -> set[str]:
    deviations.check(case, quantity, got, case.arrays[name], tolerance)
    return {name}


# One check for each kind of content; each returns the arrays it knows


@torch.no_grad()
def _tokenizer(case: Any, deviations: Any) -> set[str]:
    if "strings" not in case.about:
        return set()
    ids, paddings = TipsTokenizer(_folder_file(case, "tokenizer.model"))(case.about["strings"])
    return _same(deviations, case, "token ids", ids, "ids", 0) | _same(
        deviations, case, "padding masks", paddings, "paddings", 0
    )


def _preprocess(case: Any, deviations: Any) -> set[str]:
    known: set[str] = set()
    for name, stored in case.arrays.items():
        found = re.fullmatch(r"(resized|mask)_(\w+)_(\d+)", name)
        if not found:
            continue
        kind, which, size = found[1], found[2], int(found[3])
        if kind == "resized":
            image = Image.fromarray(case.arrays[f"image_{which}"])
            pixels = _input(_hollow(case, image_size=size), image)
            deviations.check(case, "network input, 0 to 255", pixels, stored, 0)
            known |= {name, f"image_{which}"}
        else:
            mask = resize_mask(case.arrays[f"mask_{which}"], size)
            deviations.check(case, "resized masks", mask, _unpacked(stored, (size, size)), 0)
            known |= {name, f"mask_{which}"}
    return known


def _input(method: Tipsomaly, image: Image.Image) -> np.ndarray:
    """The network input (S, S, 3) times 255, exactly whole numbers."""
    tensor = method.preprocess(image)
    pixels = (tensor * 255).round()
    assert torch.equal(pixels / 255, tensor)
    return pixels.permute(1, 2, 0).numpy()


@torch.no_grad()
def _vision(case: Any, deviations: Any) -> set[str]:
    sizes = [name.removeprefix("input_u8_") for name in case.arrays if name.startswith("input_u8_")]
    if not sizes:
        return set()
    vision, known, tolerance = _vision_of(case), set(), _tolerance(case, "float")
    for size in sizes:
        pixels = case.tensor(f"input_u8_{size}")
        tokens, patches = vision(pixels.permute(0, 3, 1, 2).float() / 255)
        grid = (pixels.shape[1] // PATCH, pixels.shape[2] // PATCH)
        got = {
            "position_embedding": vision.position_embedding(grid),
            "cls1": tokens[:, 0],
            "cls2": tokens[:, 1],
            "patches": patches,
        }
        known.add(f"input_u8_{size}")
        for quantity, value in got.items():
            if f"{quantity}_{size}" in case.arrays:
                known |= _same(deviations, case, f"vision {quantity}", value, f"{quantity}_{size}", tolerance)
    return known


@torch.no_grad()
def _text(case: Any, deviations: Any) -> set[str]:
    known: set[str] = set()
    types = "|".join(ENSEMBLES)
    learned = rf"learned_({'|'.join(LEARNING)})(?:_({types}|deep))?"
    for name, stored in case.arrays.items():
        if name == "sentence_embeddings":
            got = _text_of(case)(*_tokenizer_of(case)(case.about["sentences"]))
            known |= _same(deviations, case, "sentence embeddings", got, name, _tolerance(case, "float"))
        elif name == "position_embedding":
            known |= _same(
                deviations, case, "text positions", sinusoids(*stored.shape), name, _tolerance(case, "float")
            )
        elif found := re.fullmatch(rf"fixed_({types})", name):
            method = _texts_only(case, [], prompt_type=found[1], prompt_learning="none")
            got = method.fixed_features(case.about["class_names"]).reshape(stored.shape)
            known |= _same(deviations, case, "fixed text features", got, name, _tolerance(case, "float"))
        elif found := re.fullmatch(learned, name):
            # "deep" tokens do nothing in the official code, and are no option here.
            kind = found[2] if found[2] in ENSEMBLES else "industrial"
            width = case.about["backbone"]["text"]["hidden_size"]
            prompts = _prompts_of(case, width)
            method = _texts_only(case, prompts, prompt_type=kind, prompt_learning=found[1])
            got = method.learned_features().reshape(stored.shape)
            known |= _same(deviations, case, "learned text features", got, name, _tolerance(case, "float"))
    return known


@torch.no_grad()
def _official_prompts(case: Any, deviations: Any) -> set[str]:
    known: set[str] = set()
    for name in case.arrays:
        found = re.fullmatch(rf"(\w+)_epoch(\d+)_({'|'.join(ENSEMBLES)})", name)
        if not found:
            continue
        path = f"official_prompts/trained_on_{found[1]}/learnable_params_{found[2]}.pth"
        width = case.about["backbone"]["text"]["hidden_size"]
        prompts = read_prompts(_folder_file(case, path), case.about["n_prompt"], width)
        method = _texts_only(case, prompts, prompt_type=found[3])
        got = method.learned_features()
        known |= _same(
            deviations, case, "official prompts' features", got, name, _tolerance(case, "features")
        )
    return known


def _built(case: Any, **options: Any) -> Tipsomaly:
    text = _text_of(case)
    prompts = _prompts_of(case, text.width)
    return Tipsomaly(
        _vision_of(case), text, _tokenizer_of(case), prompts, **{**_options(case), **options}
    ).eval()


def _images(case: Any, method: Tipsomaly) -> torch.Tensor:
    return torch.stack([method.preprocess(Image.fromarray(pixels)) for pixels in case.arrays["images_u8"]])


def _names(case: Any) -> list[str]:
    return [case.about["class_names"][each] for each in case.arrays["class_ids"]]


@torch.no_grad()
def _end_to_end(case: Any, deviations: Any) -> set[str]:
    if not any(name.startswith(("image_scores", "anomaly_maps")) for name in case.arrays):
        return set()
    method, names, tolerance = _built(case), _names(case), _tolerance(case, "float")
    images = _images(case, method)
    features = method.encode(images)
    size, known = method.image_size, set()
    text = method.learned_features() if method.learned() else method.fixed_features(names)
    side = size // PATCH
    patches = similarity_logits(features["patches"], text, method.text.temperature).softmax(-1)[..., 1]
    got = {
        "fixed_text_features": lambda: method.fixed_features(case.about["class_names"]),
        "learned_text_features": lambda: method.learned_features()[None],
        "cls1_features": lambda: features["cls"][:, 0],
        "cls2_features": lambda: features["cls"][:, 1],
        "patch_features": lambda: features["patches"],
        "patch_abnormal_probability": lambda: patches.reshape(-1, side, side),
    }
    for name in got.keys() & case.arrays.keys():
        known |= _same(deviations, case, name.replace("_", " "), got[name](), name, tolerance)
    for suffix, options in VARIANTS.items():
        scores, maps = f"image_scores{suffix}", f"anomaly_maps{suffix}"
        if scores not in case.arrays and maps not in case.arrays:
            continue
        answer = _built(case, **options).score(features, names)
        if scores in case.arrays:
            both = torch.stack([answer.also["cls1"], answer.also["cls2"]], dim=1)
            known |= _same(deviations, case, "image scores", both, scores, tolerance)
            assert torch.equal(answer.scores, both[:, method.options["cls_token"] - 1])
        if maps in case.arrays:
            pixels = _stored_pixels(case, maps, size)
            known |= _same(deviations, case, "anomaly maps", answer.maps[:, pixels, pixels], maps, tolerance)
    if "preprocessed_u8" in case.arrays:
        pixels = np.stack([_input(method, Image.fromarray(each)) for each in case.arrays["images_u8"]])
        known |= _same(deviations, case, "network input, 0 to 255", pixels, "preprocessed_u8", 0)
    if "masks_resized" in case.arrays:
        masks = np.stack([resize_mask(mask, size) for mask in case.arrays["masks_u8"]])
        stored = _unpacked(case.arrays["masks_resized"], masks.shape)
        deviations.check(case, "resized masks", masks, stored, 0)
        known.add("masks_resized")
    return known


def _stored_pixels(case: Any, name: str, size: int) -> slice:
    """Large maps are stored on a grid of their pixels, which the file describes."""
    meaning = case.about["keys"][name]["meaning"] + case.about["keys"].get("anomaly_maps", {}).get(
        "meaning", ""
    )
    thinned = re.search(r"every (\d+)\w* pixel from index (\d+)", meaning)
    if case.arrays[name].shape[-1] == size or not thinned:
        return slice(None)
    return slice(int(thinned[2]), None, int(thinned[1]))


def _train(case: Any, deviations: Any) -> set[str]:
    if "losses" not in case.arrays:
        return set()
    about, method = case.about, _built(case).train()
    images, names, known = _images(case, method), _names(case), {"losses"}
    masks = np.stack([resize_mask(mask, method.image_size) for mask in case.arrays["masks_u8"]])
    labels, truth = case.tensor("labels"), torch.from_numpy(masks)
    weights = dict(Tipsomaly.recipe.stages[0].losses) if about["cls_seg_los"] in ("seg", "both") else {}
    if about["cls_seg_los"] in ("cls", "both"):
        weights["class_tokens"] = 1.0
    number = r"([\d.]+\d)"
    rate = re.search(rf"lr {number}", about["optimizer"])
    betas = re.search(rf"betas \({number}, {number}\)", about["optimizer"])
    assert rate and betas and about["optimizer"].startswith("Adam,")
    recipe = replace(
        Tipsomaly.recipe.stages[0],
        epochs=about["epochs"],
        batch_size=about["batch_size"],
        learning_rate=float(rate[1]),
        betas=(float(betas[1]), float(betas[2])),
        losses={**weights, "l1": about["l1_lambda"]},
    )
    learned = method.learned()
    for parameter in learned.values():
        parameter.requires_grad_(True)
    optimiser = recipe.make_optimiser(learned)
    with torch.no_grad():
        features = method.encode(images)
    losses = []
    for epoch in range(1, recipe.epochs + 1):
        for start in range(0, len(images), recipe.batch_size):
            batch = slice(start, start + recipe.batch_size)
            part = {name: values[batch] for name, values in features.items()}
            terms = method.loss(part, TrainingBatch(names[batch], labels[batch], truth[batch]))
            total = recipe.minimised(terms)
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            order = ("class_tokens", "focal", "dice_abnormal", "dice_normal")
            losses.append([terms[name].item() for name in order] + [total.item(), terms["l1"].item()])
        for state, rows in enumerate(method.learnable_prompts):
            name = f"prompts_epoch{epoch}_{state}"
            if name in case.arrays:
                known |= _same(
                    deviations, case, "prompts after an epoch", rows, name, _tolerance(case, "prompts")
                )
    deviations.check(case, "training losses", losses, case.arrays["losses"], _tolerance(case, "losses"))
    return known
