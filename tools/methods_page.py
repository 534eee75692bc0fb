"""Write docs/methods.md: one table of all methods, from their classes. Run `python -m tools.methods_page`.

Parameters and arithmetic are counted on tensors without storage: no weights are needed. The arithmetic is
that of one image at the method's own size after the texts of its class are known, multiply-adds counted as
two; steps on the host (k-means) are not in it.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.run.protocol import MethodRequest, setup
from bench.store.marks import BASELINES
from datasets.catalog import GROUPS
from methods import registry
from methods.backbones import clip, mini
from methods.backbones.tips import TipsTokenizer
from methods.backbones.tips_weights import VARIANTS
from methods.base import ZeroShotDetector
from methods.clip_based import ClipBased
from methods.tipsomaly import Tipsomaly

TARGET = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
_HEAD = """\
# The methods

Made from the classes in `methods/` by `python -m tools.methods_page`; a test holds it to them. *Text*: what
the method says about the object. *Learned*: values trained on the source beside frozen encoders. *Weights*:
whether somebody published what is learned. *TFLOP*: arithmetic for one image at the method's own size, texts
known.
"""


def row(key: str) -> dict[str, str]:
    """Return what the table says of a method."""
    detector, request = registry.find(key), MethodRequest(key)
    files = {
        target: setup(request, target).files.get("learned") for target in GROUPS["all"] if detector.sources
    }
    published = {file is not None and not file.trained_here for file in files.values()}
    words = {True: "published", False: "to be trained"}
    counts = _counts(detector)
    return {
        "method": f"[{detector.title}]({detector.paper})" if "://" in detector.paper else detector.title,
        "key": f"`{key}`",
        "backbone": str(detector.defaults.get("backbone", "-")),
        "size": str(detector.defaults["image_size"]),
        "text": detector.prompting,
        "sees": _setting(detector),
        "trained on": _sources(detector),
        "weights": "-" if not files else " / ".join(words[each] for each in sorted(published, reverse=True)),
        "learned": _millions(counts.get("learned")),
        "parameters": _millions(counts.get("parameters")),
        "TFLOP": "-" if "flops" not in counts else f"{counts['flops'] / 1e12:.2f}",
        "licence": detector.licence or "-",
    }


def _setting(detector: type[ZeroShotDetector]) -> str:
    if detector.transductive:
        return "all images of the class"
    return "one image, range of the class" if detector.class_normalised else "one image"


def _sources(detector: type[ZeroShotDetector]) -> str:
    if not detector.sources:
        return "-"
    others = [f"{source} for {target}" for target, source in detector.sources.items() if target != "*"]
    return "; ".join([detector.sources["*"], *others])


def _millions(count: int | None) -> str:
    return "-" if not count else f"{count / 1e6:.2f} M"


def _counts(detector: type[ZeroShotDetector]) -> dict[str, int]:
    """Return the numbers of parameters and of operations of an image; empty where the method has no model."""
    options = detector.resolve({})
    model = _without_storage(detector, options)
    if model is None:
        return {}
    images = torch.empty(1, 3, model.image_size, model.image_size, device="meta")
    with torch.no_grad():
        _run(model, images)  # the texts are known from then on
        with FlopCounterMode(display=False) as counter:
            _run(model, images)
    learned = sum(each.numel() for each in model.learned().values())
    return {
        "learned": learned,
        "parameters": sum(each.numel() for each in model.parameters()),
        "flops": counter.get_total_flops(),
    }


def _run(model: nn.Module, images: Tensor) -> None:
    # What needs values comes after what is counted. There is no autocast without a device.
    without = patch.object(torch, "autocast", lambda *_, **__: nullcontext())
    with without, suppress(NotImplementedError, RuntimeError, TypeError):
        model(images, ["object"])


def _without_storage(detector: type[ZeroShotDetector], options: dict[str, Any]) -> ZeroShotDetector | None:
    if issubclass(detector, Tipsomaly):
        variant = VARIANTS[options["backbone"]]
        prompts = [torch.zeros(options["n_prompt"], variant.width) for _ in range(2)]
        with torch.device("meta"):
            vision, text = variant.vision(), variant.text()
        return detector(vision, text, TipsTokenizer(mini.HERE / mini.TOKENIZER), prompts).to("meta")
    if not issubclass(detector, ClipBased):
        return None
    model = clip.skeleton(options["backbone"], quick_gelu=False)
    shapes = detector.learned_shapes(options, model.state_dict())
    built = detector(model, {name: torch.zeros(shape) for name, shape in shapes.items()}, **options)
    return built.to("meta")


def page() -> str:
    """Return the whole page."""
    everything = sorted(set(registry.keys()) - set(BASELINES))
    table = tabulate(
        [row(key) for key in everything], headers="keys", tablefmt="github", disable_numparse=True
    )
    notes = [f"* **{card.title}**: {card.notes}" for card in map(registry.card, everything) if card.notes]
    return f"{_HEAD}\n{table}\n\n## Notes\n\n" + "\n".join(notes) + "\n"


def main() -> None:
    """Write the page."""
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
