"""Does a method keep its contract? A report on generated data, for whoever writes one."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor

from bench.demo.standin import stand_in_folders
from bench.demo.untrained import write_untrained
from bench.run.protocol import MethodRequest, setup
from datasets.images import read_image
from datasets.samples import Folder
from methods.base import Features, Prediction, ZeroShotDetector, joined
from methods.image_set import LoadedSet

# One float32 rounding per operation: what another batch shape may change, and no more.
_BATCH_TOLERANCE = 1e-4
_MUCH, _SOME = 1 << 30, 1 << 20


@dataclass(frozen=True)
class Finding:
    """One line of the report; `ok` None is information."""

    what: str
    ok: bool | None
    found: str


def try_method(request: MethodRequest, work: Path) -> list[Finding]:
    """Run the method on generated pictures below `work` and return what was found.

    Uses the method's preset `mini` where it has one and no other was asked for, with untrained weights.
    """
    if request.preset is None and not request.overrides and "mini" in request.detector.presets:
        request = MethodRequest(request.key, "mini")
    folders = stand_in_folders(work / "data", keys=("mvtec", "isic"), scale="tiny")
    model, loaded = _load(request, work / "weights")
    images, prompts = _pictures(model, folders)
    findings = [loaded, *_contract(model, images, prompts)]
    started = time.perf_counter()
    _ask(model, images, prompts)
    seconds = time.perf_counter() - started
    findings.append(
        Finding("speed", None, f"{len(images) / seconds:.1f} images/s on the CPU, batch {len(images)}")
    )
    return findings


def _load(request: MethodRequest, weights_root: Path) -> tuple[ZeroShotDetector, Finding]:
    detector = request.detector
    options, _, files = setup(request, "*")
    write_untrained(request, ("*",), weights_root)
    model = detector.load({role: weights_root / file.name for role, file in files.items()}, **options)
    of = "no weights needed" if not files else f"{len(files)} untrained files"
    name = f"{request.key}:{request.preset}" if request.preset else request.key
    return model.eval().requires_grad_(False), Finding("load", True, f"{name}, {of}")


def _pictures(model: ZeroShotDetector, folders: Sequence[Folder]) -> tuple[Tensor, list[str]]:
    tensors, prompts = [], []
    for folder in folders:
        for data in folder.classes:
            for sample in data.samples[:4]:
                tensors.append(model.preprocess(read_image(sample.image)))
                prompts.append(data.prompt)
    return torch.stack(tensors[:8]), prompts[:8]


def _ask(model: ZeroShotDetector, images: Tensor, prompts: Sequence[str], at_once: int = 8) -> Prediction:
    """Return the answers for images, `at_once` in a batch, with the scores that they have as a class."""
    parts = [
        _ask_batch(model, images[start : start + at_once], prompts[start : start + at_once])
        for start in range(0, len(images), at_once)
    ]
    answer = joined(parts)
    return answer._replace(scores=model.finish(answer.also)) if model.class_normalised else answer


def _ask_batch(model: ZeroShotDetector, images: Tensor, prompts: Sequence[str]) -> Prediction:
    if model.privileged:
        size = model.image_size
        model.reveal(torch.zeros(len(images)), torch.zeros(len(images), size, size, dtype=torch.uint8))
    with torch.inference_mode():
        answer: Prediction = model(images, list(prompts))
    return answer


def _contract(model: ZeroShotDetector, images: Tensor, prompts: list[str]) -> list[Finding]:
    count, size = len(images), model.image_size
    answer = _ask(model, images, prompts)

    def shape(name: str, values: Tensor, expected: tuple[int, ...]) -> Finding:
        found = f"{tuple(values.shape)} {values.dtype}".replace("torch.", "")
        return Finding(f"{name} shape", tuple(values.shape) == expected, f"{found}, expected {expected}")

    def span(name: str, values: Tensor) -> Finding:
        finite = bool(torch.isfinite(values).all())
        return Finding(
            f"{name} range",
            finite,
            f"{values.min():.4g} to {values.max():.4g}" + ("" if finite else ", NaN or infinite"),
        )

    findings = [
        shape("input", images, (count, 3, size, size)),
        shape("scores", answer.scores, (count,)),
        shape("maps", answer.maps, (count, size, size)),
        span("scores", answer.scores),
        span("maps", answer.maps),
        Finding("maps differ between images", _vary(answer.maps), "" if _vary(answer.maps) else "all equal"),
    ]
    if all(finding.ok is not False for finding in findings[:3]):
        findings.append(_same("deterministic", answer, _ask(model, images, prompts), 0.0))
        together = _as_one_set if model.transductive else _each_by_itself
        findings += together(model, images, prompts, answer)
    other = _ask(model, images, ["zebra"] * count)
    uses = not torch.equal(other.scores, answer.scores) or not torch.equal(other.maps, answer.maps)
    findings.append(Finding("class names", None, "used" if uses else "not used"))
    return findings


def _vary(maps: Tensor) -> bool:
    return bool((maps != maps[0]).any())


def _each_by_itself(
    model: ZeroShotDetector, images: Tensor, prompts: list[str], answer: Prediction
) -> list[Finding]:
    turned = _turned(_ask(model, images.flip(0), prompts[::-1]))
    return [
        _same("batch of 1 as batch of all", answer, _ask(model, images, prompts, 1), _BATCH_TOLERANCE),
        _same("order of images", answer, turned, _BATCH_TOLERANCE),
    ]


def _as_one_set(
    model: ZeroShotDetector, images: Tensor, prompts: list[str], answer: Prediction
) -> list[Finding]:
    """Judge the set encoded in batches of 1 and of all, in both orders, with much and little memory."""
    with torch.inference_mode():
        rows = [model.encode(image[None]) for image in images]
        features = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        backwards = {name: tensor.flip(0) for name, tensor in features.items()}
        left_out = model.unsettled(LoadedSet(features))

        def judged(features: Features, budget: int) -> Prediction:
            return joined(list(model.judge(LoadedSet(features, budget), prompts[0])))

        others = {
            "encoded by 1 as all at once": judged(features, _MUCH),
            "order of images": _turned(_ask(model, images.flip(0), prompts)),
            "order of images encoded by 1": _turned(judged(backwards, _MUCH)),
            **{f"with {budget:,} bytes of memory": judged(features, budget) for budget in (_SOME, 0)},
        }
    findings = [_same(what, answer, other, _BATCH_TOLERANCE, left_out) for what, other in others.items()]
    if left_out:
        which = ", ".join(str(index + 1) for index in left_out)
        findings.append(Finding("image scores not compared", None, f"a rounding changes those of {which}"))
    return findings


def _same(
    what: str, one: Prediction, other: Prediction, tolerance: float, left_out: Sequence[int] = ()
) -> Finding:
    """Compare two answers; the scores of the images `left_out` (from 0) are not."""
    compared = [index for index in range(len(one.scores)) if index not in left_out]
    pairs = [(one.scores[compared], other.scores[compared]), (one.maps, other.maps)]
    pairs += [(one.also[name], other.also[name]) for name in one.also]
    deviation = max(float((a - b).abs().max()) for a, b in pairs if len(a))
    return Finding(what, deviation <= tolerance, f"largest difference {deviation:.2g}")


def _turned(answer: Prediction) -> Prediction:
    also = {name: values.flip(0) for name, values in answer.also.items()}
    return Prediction(answer.scores.flip(0), answer.maps.flip(0), also)


def report(request: MethodRequest, findings: Sequence[Finding]) -> str:
    """Return the findings as Markdown, to go with a pull request."""
    words = {True: "ok", False: "FAILED", None: ""}
    rows = [(finding.what, words[finding.ok], finding.found) for finding in findings]
    return f"### {request.detector.title} (`{request.key}`)\n\n" + tabulate(
        rows, headers=("check", "", "found"), tablefmt="github"
    )
