"""WinCLIP against golden files made by its closest public re-implementation."""

from typing import Any

import torch

from methods.backbones import clip
from methods.winclip import WinClip, fuse
from parity.clip_cases import compare, names, network_inputs, small_clip

INPUTS = {"images_u8", "class_index"}


def _sides(golden: Any) -> tuple[int, ...]:
    return tuple(
        sorted(int(name[7:]) for name in golden.arrays if name[:7] == "windows" and name[7:].isdigit())
    )


def _detector(golden: Any) -> WinClip:
    about = golden.about
    options = {"image_size": about["config"]["image_size"], "temperature": about["temperature"]}
    return WinClip(small_clip(about), windows=_sides(golden), **options)


def test_winclip(winclip_case: Any, deviations: Any) -> None:
    about, sides, detector = winclip_case.about, _sides(winclip_case), _detector(winclip_case)
    assert sides, f"{winclip_case.path.name} holds no windows: not a file of WinCLIP"
    images, got = network_inputs(winclip_case, detector)
    with torch.inference_mode():
        features = detector.encode(images)
        prompts = names(winclip_case)
        text = detector.text_features(prompts, images)
        prediction = detector.score(features, prompts)
        scales = []
        for side in sides:
            scores = detector.probability(features[f"windows{side}"], text)
            scales.append(detector.scale_map(scores, side))
            got |= {
                f"windows{side}": detector.members(side),
                f"window_embeddings{side}": features[f"windows{side}"],
                f"window_scores{side}": scores,
                f"scale_map{side}": scales[-1].unflatten(1, detector.grid),
            }
        fused = fuse(scales, prediction.scores).unflatten(1, detector.grid)
        means = [
            torch.stack(
                [
                    clip.encode_text(detector.model, group).mean(dim=0)
                    for group in detector.ensemble.sentences(name)
                ]
            )
            for name in about["class_names"]
        ]
        got |= {
            "text_means": torch.stack(means),
            "text_features": detector.text_features(about["class_names"], images),
            "image_embedding": features["image"],
            "fused_map": fused,
            "image_scores": prediction.scores,
            "anomaly_maps": prediction.maps,
        }
    compare(winclip_case, deviations, got, INPUTS)
