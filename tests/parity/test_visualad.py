"""VisualAD against golden files made by its official code, and on DINOv2 by an assembly of official parts."""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from methods.backbones import clip, dinov2
from methods.base import TrainingBatch
from methods.fill import filled
from methods.learned_tensors import blank
from methods.learning import dice, focal
from methods.visualad import VisualAD
from parity.clip_cases import masks, pictures, strided, tolerance

TOKENS = ("anomaly_token", "normal_token")
INPUTS = {"images_u8", "masks_u8", "labels"}


def _factor(about: dict[str, Any]) -> float:
    """Return what the tokens and the class token's position are multiplied by, so that clipping matters."""
    return about.get("scaled", {}).get("factor", 1.0)


def _stand_in(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return filled tensors, tokens and positions large enough to matter: filled as one row, as rows."""
    rows = {
        name: (1, *shape) if name in TOKENS else shape[1:] if name.endswith("pos_encoding") else shape
        for name, shape in shapes.items()
    }
    return {name: tensor.reshape(shapes[name]) for name, tensor in filled(blank(rows), seed).items()}


def _network(about: dict[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """Return the network that the golden file describes, and its weights."""
    if about["backbone"] == "dinov2":
        given = dict(about["dinov2"])
        assert (given["layer_norm_eps"], given["mlp_ratio"]) == (1e-6, 4)
        variant = dinov2.Variant(
            given["width"],
            given["layers"],
            given["heads"],
            patch=given["patch_size"],
            grid=given["image_size"] // given["patch_size"],
            registers=given["registers"],
        )
        state = filled(dinov2.blank(variant), about["seed"])
        state["pos_embed"][0, 0] *= _factor(about)
        return dinov2.build(variant, state), state
    state = filled(clip.blank(about["clip"]), about["seed"])
    state["visual.positional_embedding"][0] *= _factor(about)
    return clip.build(about["clip"], state, quick_gelu=about["activation"].startswith("QuickGELU")), state


def _detector(about: dict[str, Any], norm: str = "pretrained") -> VisualAD:
    options = {**about["options"], "norm": norm}
    model, state = _network(about)
    learned = _stand_in(VisualAD.learned_shapes(VisualAD.resolve(options), state), about["seed"])
    for name in TOKENS:
        learned[name] *= _factor(about)
    if "labels" in about["keys"]:
        start = VisualAD.fresh(VisualAD.resolve(options), state, seed=0)
        learned |= {name: start[name] for name in ("ln_post_weight", "ln_post_bias")}
    return VisualAD(model, learned, **options)


def _check(golden: Any, deviations: Any, got: dict[str, Tensor], prefix: str = "") -> None:
    """Compare all arrays but the inputs, or those whose names begin with `prefix`."""
    for name in sorted(set(golden.arrays) - INPUTS - {"grad_norms"}):
        if not name.startswith(prefix):
            continue
        quantity, stride = strided(name.removeprefix(prefix))
        assert quantity in got, f"{golden.path.name}: nothing here checks {name}"
        mine = got[quantity]
        mine = mine[..., ::stride, ::stride] if stride > 1 else mine
        allowed = tolerance(golden.about, quantity)
        deviations.check(golden, quantity.partition(".")[0], mine, golden.arrays[name], allowed)


def test_visualad(visualad_case: Any, deviations: Any) -> None:
    if "losses" in visualad_case.arrays:
        _train(visualad_case, deviations)
        return
    norms = visualad_case.about["options"]["norm"]
    several = not isinstance(norms, str)
    for norm in norms if several else [norms]:
        prefix = f"{norm}__" if several else ""
        detector = _detector(visualad_case.about, norm)
        images = torch.stack([detector.preprocess(picture) for picture in pictures(visualad_case)])
        got = {"preprocessed": images, **_seen(detector, images)}
        assert any(name.startswith(f"{prefix}anomaly_maps") for name in visualad_case.arrays)
        _check(visualad_case, deviations, got, prefix)
    prefixes = tuple(f"{norm}__" for norm in norms) if several else ("",)
    assert all(name.startswith(prefixes) for name in set(visualad_case.arrays) - INPUTS)


@torch.inference_mode()
def _seen(detector: VisualAD, images: Tensor) -> dict[str, Tensor]:
    seen = detector.look(images, detector.options["norm"])
    prediction = detector(images, ["anything"] * len(images))
    anomaly, normal, of_class = seen.last.unbind(1)
    return {
        "anomaly_feature": anomaly,
        "normal_feature": normal,
        "class_feature": of_class,
        "tokens": seen.tokens,
        "adapted_anomaly": seen.adapted[:, :, 0],
        "adapted_normal": seen.adapted[:, :, 1],
        "saf_features": seen.patches,
        "patch_scores": seen.scores,
        "raw_map": detector.layer_maps(seen.scores).sum(dim=1),
        "anomaly_maps": prediction.maps,
        "image_scores": prediction.scores,
    }


def _batches(golden: Any, detector: VisualAD) -> list[tuple[Tensor, TrainingBatch]]:
    images = torch.stack([detector.preprocess(picture) for picture in pictures(golden)])
    truth, labels = masks(golden, detector.image_size), golden.tensor("labels")
    size = golden.about["batch_size"]
    return [
        (part, TrainingBatch(["anything"] * len(part), label, mask))
        for part, label, mask in zip(images.split(size), labels.split(size), truth.split(size), strict=True)
    ]


def _train(golden: Any, deviations: Any) -> None:
    about = golden.about
    got = _steps(golden, _detector(about), dropout=0.0)
    got["losses_dropout"] = _steps(golden, _detector(about), dropout=VisualAD.defaults["dropout"])["losses"]
    # Relative, beside an absolute share for gradients near zero.
    relative, absolute = map(float, re.findall(r"\d[\d.]*e-\d+", about["suggested_tolerance"]["grad_norms"]))
    want = golden.tensor("grad_norms")
    off = (got["grad_norms"] - want) / (want + absolute / relative)
    deviations.check(golden, "grad_norms (relative)", off, torch.zeros_like(want), relative)
    for name, values in got.items():
        if name.endswith(".pos_encoding") and name in golden.arrays:
            got[name] = values[:, : golden.arrays[name].shape[1]]
    _check(golden, deviations, got)


def _steps(golden: Any, detector: VisualAD, dropout: float) -> dict[str, Tensor]:
    """Take the steps of the golden file; return what it stores of them."""
    about, learned = golden.about, detector.learned()
    detector.options["dropout"] = dropout
    stage = replace(
        detector.recipe.stages[0],
        rates={"*_token": about["learning_rate"]},
        epochs=about["epochs"],
        batch_size=about["batch_size"],
    )
    optimiser = stage.make_optimiser(learned)
    assert optimiser is not None
    names = {id(each): name for name, each in learned.items()}
    batches, got, steps = _batches(golden, detector), {}, {}
    for step in range(about["epochs"] * len(batches)):
        images, batch = batches[step % len(batches)]
        stage.set_rates(optimiser, step, len(batches), about["epochs"])
        rates = {
            names[id(each)].endswith("_token"): group["lr"]
            for group in optimiser.param_groups
            for each in group["params"]
        }
        if not dropout:
            _look_closer(detector, images, batch, steps)
        torch.manual_seed(about["dropout_seed"] + step)
        terms = detector.loss(detector.encode(images), batch)
        total = stage.minimised(terms)
        losses = [total, terms["focal"] + terms["dice"], terms["image"], terms["relation"]]
        optimiser.zero_grad()
        total.backward()
        gradients = {name: each.grad for name, each in learned.items()}
        norms = [gradients[name].norm() for name in about["grad_norm_names"]]
        stage.clip_gradients(learned)
        if step == 0:
            got |= {f"grad_step1.{name}": each.clone() for name, each in gradients.items()}
        optimiser.step()
        got |= {f"after_{step + 1}.{name}": each.detach().clone() for name, each in learned.items()}
        for name, value in {
            "losses": torch.stack(losses).detach(),
            "grad_norms": torch.stack(norms),
            "learning_rates": torch.tensor([rates[True], rates[False]], dtype=torch.float64),
        }.items():
            steps.setdefault(name, []).append(value)
    got |= {f"final.{name}": each.detach().clone() for name, each in learned.items()}
    got["gt"] = torch.cat([batch.masks for _, batch in batches])
    return got | {name: torch.stack(values) for name, values in steps.items()}


@torch.no_grad()
def _look_closer(
    detector: VisualAD, images: Tensor, batch: TrainingBatch, steps: dict[str, list[Tensor]]
) -> None:
    seen = detector.look(images, "trained")
    layers = detector.layer_maps(seen.scores).sigmoid().unbind(1)
    both = [torch.stack([1 - layer, layer], dim=1) for layer in layers]
    of_last = torch.cosine_similarity(*seen.adapted[:, -1].unbind(1), dim=-1)
    steps.setdefault("focal", []).append(torch.stack([focal(each, batch.masks) for each in both]))
    steps.setdefault("dice", []).append(torch.stack([dice(each, batch.masks) for each in layers]))
    steps.setdefault("token_cosine", []).append(of_last)
