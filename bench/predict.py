"""A method on pictures of your own: a score, a map and an overlay, without dataset or metrics.

from bench.predict import load_method

detect = load_method("tipsomaly", weights_root="weights")
answer = detect("photo.jpg", "metal nut")
print(answer.score)
answer.overlay().save("overlay.png")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.errors import BenchError
from bench.run.collect import choose_device
from bench.run.protocol import MethodRequest, chosen_source, parse_methods
from datasets.images import read_image
from methods import weights
from methods.base import ZeroShotDetector

# Dark blue over orange to pale yellow: brightness rises throughout, so it also reads in grey.
_COLOURS = np.array(
    [(0, 0, 40), (60, 20, 110), (150, 40, 110), (220, 80, 60), (250, 160, 40), (252, 250, 180)],
    dtype=np.float32,
)


@dataclass(frozen=True)
class Answer:
    """What a method says of one picture."""

    image: Image.Image
    score: float
    """Higher is more anomalous; the scale is the method's own."""
    map: np.ndarray
    """Anomaly map (S, S), float32, at the method's input size."""

    def overlay(self, low: float | None = None, high: float | None = None) -> Image.Image:
        """Return the map in colour over the picture, at the picture's size.

        `low` and `high` end the colour scale (default: this map's own extremes); give several pictures
        the same ends to compare them.
        """
        low = float(self.map.min()) if low is None else low
        high = float(self.map.max()) if high is None else high
        level = np.clip((self.map - low) / max(high - low, 1e-12), 0, 1)
        steps = np.linspace(0, 1, len(_COLOURS))
        colours = np.stack([np.interp(level, steps, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
        heat = Image.fromarray(colours.astype(np.uint8)).resize(self.image.size, Image.Resampling.BILINEAR)
        opacity = Image.fromarray((80 + 120 * level).astype(np.uint8)).resize(self.image.size)
        return Image.composite(heat, self.image, opacity)


class LoadedMethod:
    """A method with its weights, ready to be asked about pictures."""

    def __init__(self, model: ZeroShotDetector, device: torch.device, *, untrained: bool) -> None:
        """Use `model` as it is; `untrained` says that its weights are stand-ins and its answers chance."""
        self.model = model.to(device).eval().requires_grad_(False)
        self.device = device
        self.untrained = untrained

    def __call__(self, picture: str | Path | Image.Image, name: str) -> Answer:
        """Return the method's answer for one picture; `name` is what it shows, such as "metal nut"."""
        return self.many([picture], name)[0]

    def many(self, pictures: Sequence[str | Path | Image.Image], name: str) -> list[Answer]:
        """Return the answers for a batch of pictures of the same kind of thing."""
        images = [
            picture.convert("RGB") if isinstance(picture, Image.Image) else read_image(Path(picture))
            for picture in pictures
        ]
        batch = torch.stack([self.model.preprocess(image) for image in images]).to(self.device)
        with torch.inference_mode():
            prediction = self.model(batch, [name] * len(images))
        maps = prediction.maps.float().cpu().numpy()
        scores = prediction.scores.float().cpu().tolist()
        return [Answer(image, score, amap) for image, score, amap in zip(images, scores, maps, strict=True)]


def load_method(
    method: str,
    *,
    weights_root: str | Path = "weights",
    source: str | None = None,
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> LoadedMethod:
    """Load `method` (`key` or `key:preset`) with its published weights.

    `source` says what they were trained on (default: the protocol's choice for unknown targets).
    Raises `BenchError` for a misspelt method or option and for missing weights.
    """
    (request,) = parse_methods([method], {})
    request = MethodRequest(request.key, request.preset, {**request.overrides, **(options or {})})
    chosen = request.options(None)
    detector = request.detector
    trained_on = chosen_source(request, "*", source)
    root = Path(weights_root)
    paths: dict[str, Path] = {}
    for role, file in detector.files(chosen, trained_on).items():
        path = weights.locate(file, root)
        if path is None:
            raise BenchError(
                f"weights missing: {root / file.name}. Get them with "
                f"`run_bench.py weights --methods {request.key} --fetch`"
            )
        weights.verify(path, file, root)
        paths[role] = path
    untrained = any(weights.untrained(path, root) for path in paths.values())
    return LoadedMethod(detector.load(paths, **chosen), choose_device(device), untrained=untrained)
