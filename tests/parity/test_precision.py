"""What lower precision of the image encoder does on the golden files' networks, some of them of true size.

Each file's network answers for the file's pictures in float32 and in lower precision. How far scores and maps
move is printed at the end; `--write-drift` keeps it in results/ and docs/precision.md.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from bench.run.precision import GoldenDrift
from benchmarks.precision import name_of
from methods.base import Prediction, ZeroShotDetector, joined
from parity import (
    test_aaclip,
    test_adaclip,
    test_anomalyclip,
    test_cops,
    test_crane,
    test_faprompt,
    test_mrad,
    test_musc,
    test_tipsomaly,
    test_vand,
    test_vcpclip,
    test_visualad,
    test_winclip,
)
from tests.imitated_cuda import CUDA, imitated_cuda

BOUNDS = {"bfloat16": 0.1, "float16": 0.02}
"""Of the largest score, and of the range of the maps."""


def _described(module: Any) -> Callable[[Any], ZeroShotDetector]:
    return lambda golden: module._detector(golden.about)


def _adaclip(golden: Any) -> ZeroShotDetector:
    options = golden.about["options"]
    several = all(isinstance(value, dict) for value in options.values())
    return test_adaclip._detector(golden.about, next(iter(options.values())) if several else options)


def _mrad(golden: Any) -> ZeroShotDetector:
    detector = test_mrad._detector(golden.about, "clip")
    detector.remember(*test_mrad._source(golden, detector))
    return detector


BUILT: dict[str, Callable[[Any], ZeroShotDetector]] = {
    "aaclip": _described(test_aaclip),
    "adaclip": _adaclip,
    "anomalyclip": _described(test_anomalyclip),
    "cops": _described(test_cops),
    "crane": _described(test_crane),
    "faprompt": _described(test_faprompt),
    "mrad": _mrad,
    "musc": _described(test_musc),
    "tipsomaly": test_tipsomaly._built,
    "vand": _described(test_vand),
    "vcpclip": _described(test_vcpclip),
    "visualad": _described(test_visualad),
    "winclip": test_winclip._detector,
}


def _pictures(golden: Any) -> list[Image.Image]:
    found = golden.arrays.get("images_u8")
    return test_adaclip._pictures(golden) if found is None else [Image.fromarray(each) for each in found]


def _prompts(golden: Any, count: int) -> list[str]:
    names = golden.about.get("class_names")
    names = names if isinstance(names, list) else ["object"]
    given = golden.arrays.get("class_index", golden.arrays.get("class_ids", range(count)))
    return [names[int(place) % len(names)] for place in given]


def _answer(model: ZeroShotDetector, images: torch.Tensor, prompts: list[str]) -> Prediction:
    if model.transductive:  # the set is divided as the files are, not as their features are
        return joined(list(model.judge(test_musc._AsGiven(model.encoded(images)), prompts[0])))
    answer: Prediction = model(images, prompts)
    return answer._replace(scores=model.finish(answer.also)) if model.class_normalised else answer


def _asked(golden: Any) -> tuple[ZeroShotDetector, torch.Tensor, list[str]]:
    model = BUILT[golden.path.parent.name](golden).eval()
    images = torch.stack([model.preprocess(picture) for picture in _pictures(golden)])
    return model, images, _prompts(golden, len(images))


@torch.inference_mode()
def test_lower_precision_moves_answers_by_little(answering_case: Any, drifts: list[GoldenDrift]) -> None:
    model, images, prompts = _asked(answering_case)
    exact = _answer(model, images, prompts)
    for precision in BOUNDS:
        model.encoder_precision = precision
        lower = _answer(model, images, prompts)
        drifts.append(
            GoldenDrift(
                answering_case.path.parent.name,
                precision,
                name_of(images.device),
                answering_case.path.stem,
                answering_case.width,
                len(images),
                float((lower.scores - exact.scores).abs().max() / exact.scores.abs().max()),
                float((lower.maps - exact.maps).abs().max() / (exact.maps.max() - exact.maps.min())),
            )
        )
    for drift in drifts[-len(BOUNDS) :]:
        assert max(drift.score, drift.map) > 0, "the encoder did not run in it"
        assert max(drift.score, drift.map) <= BOUNDS[drift.precision], drift


@torch.no_grad()
def test_a_network_that_no_small_model_has_answers_on_an_imitated_gpu(dino_case: Any) -> None:
    model, images, prompts = _asked(dino_case)
    exact = _answer(model, images, prompts)
    model.encoder_precision = "bfloat16"
    with imitated_cuda():
        lower = _answer(model.to(CUDA), images.to(CUDA), prompts)
        maps = lower.maps.cpu()
    assert lower.maps.is_cuda
    moved = (maps - exact.maps).abs().max() / (exact.maps.max() - exact.maps.min())
    assert 0 < moved <= BOUNDS["bfloat16"]
