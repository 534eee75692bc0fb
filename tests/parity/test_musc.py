"""MuSc against golden files made by its official code."""

from typing import Any

import pytest
import torch
from torch import Tensor

from methods.backbones import dinov2
from methods.base import Features, joined
from methods.fill import filled
from methods.image_set import LoadedSet
from methods.musc import MuSc
from parity.clip_cases import compare, is_quick, network_inputs, small_clip

INPUTS = {"images_u8", "subset"}


def _detector(about: dict[str, Any]) -> MuSc:
    config = about["config"]
    options = {
        "image_size": config["img_size"],
        "layers": tuple(about["blocks_used"]),
        "degrees": tuple(about["r_list"]),
        "neighbours": tuple(about["k_list"]),
        "subsets": about["divide_num"],
    }
    if about["backbone"] == "clip":
        return MuSc(small_clip(about), quick_gelu=is_quick(about), **options)
    size, first = config["patch_size"], not about["backbone"].startswith("dinov2")
    network = dinov2.Variant(
        config["width"],
        config["layers"],
        config["heads"],
        patch=size,
        grid=config["base_size"] // size,
        second=not first,
    )
    state = filled(dinov2.blank(network), about["seed"])
    backbone = "dino_vitbase16" if first else "dinov2_vitb14"
    return MuSc(dinov2.build(network, state), backbone=backbone, **options)


class _AsGiven(LoadedSet):
    """Images in the golden file's order: what is divided by content is divided so."""

    def __init__(self, features: Features) -> None:
        super().__init__(features)
        self.digests = [f"{index:06}" for index in range(len(self.digests))]


def test_musc(musc_case: Any, deviations: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    about = musc_case.about
    detector = _detector(about)
    inputs, got = network_inputs(musc_case, detector)
    subset = musc_case.tensor("subset")
    subsets = [(subset == each).nonzero().flatten().tolist() for each in range(about["divide_num"])]
    monkeypatch.setattr(detector, "divide", lambda count: subsets)
    with torch.inference_mode():
        parts = [detector.encode(inputs[start : start + 4]) for start in range(0, len(inputs), 4)]
        features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        images, order = _AsGiven(features), list(range(len(inputs)))
        patches = detector.grid[0] * detector.grid[1]
        mutual = torch.empty(len(about["r_list"]), len(detector.levels), len(order), patches)
        for place, degree in enumerate(about["r_list"]):
            for row, level in enumerate(detector.levels):
                for members in subsets:
                    scores = detector.mutual_scores(images, members, level, degree)
                    mutual[place, row, members] = scores
        answer = joined(list(detector.judge(images, about["class_names"][0])))
        got |= _aggregated(about, detector, features)
        got |= {
            "image_features": features["image"],
            "mutual_scores": mutual,
            "patch_scores": detector.patch_scores(images, order),
            "map_maxima": answer.also["map_max"],
            "image_scores": answer.scores,
            "anomaly_map_first": answer.maps[0],
        }
    step = about["strides"]["map"]
    got["anomaly_maps_strided"] = answer.maps[:, ::step, ::step]
    compare(musc_case, deviations, got, INPUTS)


def _aggregated(about: dict[str, Any], detector: MuSc, features: Features) -> dict[str, Tensor]:
    kept, step = about["kept_images"], about["strides"]["patch"]
    tokens = torch.stack([features[level] for level in detector.levels], dim=1)
    stored = {"patch_tokens_mean": tokens.mean(dim=2), "patch_tokens_strided": tokens[:kept, :, ::step]}
    for degree in about["r_list"]:
        unit = [detector.aggregate(features[level][:kept], degree) for level in detector.levels]
        stored[f"aggregated_r{degree}"] = torch.stack(unit, dim=1)[:, :, ::step]
    return stored
