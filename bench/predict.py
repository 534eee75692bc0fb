"""A method on pictures of your own: a score, a map and a picture of it, without dataset or metrics.

from bench.predict import load_method

detect = load_method("tipsomaly", weights_root="weights")
answer = detect("photo.jpg", "metal nut")
print(answer.score)
answer.overlay().save("overlay.png")
"""

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bench.errors import BenchError
from bench.grouped import grouped
from bench.run.library import Library
from bench.run.machine import ahead, batches, choose_device, on_device
from bench.run.protocol import MethodRequest, parse_methods, setup
from bench.show.pictures import side_by_side, tinted
from bench.store.digests import DigestCache
from datasets.images import read_image
from methods.base import ZeroShotDetector
from methods.sharing import input_of
from methods.source import Source

Picture = str | Path | Image.Image | np.ndarray
"""A file, a PIL image or an array; `as_rgb` says how each is read."""
_Item = tuple[Picture, str]
_Ready = tuple[Picture, str, Tensor]
_Read = tuple[Picture, str, Tensor | Exception]


def as_rgb(picture: Picture) -> Image.Image:
    """Return a picture as RGB, 8 bit, upright as its EXIF orientation says.

    Files are read as the datasets are. Grey is repeated, palettes are looked up, transparency is dropped.
    Arrays are (H, W) or (H, W, 1 to 4), grey or RGB with or without alpha, and mean by their dtype: uint8 as
    they are; bool black and white; uint16 their upper 8 bits; floats 0 (black) to 1 (white), so do PIL's
    float images; its 32-bit integer images hold 16 bits, as in files.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a picture, or its values have no known scale; says what to do.
    """
    if isinstance(picture, str | Path):
        return ImageOps.exif_transpose(read_image(Path(picture)))
    if not isinstance(picture, Image.Image):
        return _from_array(np.asarray(picture))
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F" or upright.mode.startswith("I"):
        values = np.asarray(upright)
        if values.dtype == np.int32 and values.min() >= 0 and values.max() <= 65535:
            values = values.astype(np.uint16)
        return _from_array(values)
    return upright.convert("RGB")


def _from_array(values: np.ndarray) -> Image.Image:
    if values.ndim not in (2, 3) or 0 in values.shape or values.shape[2:] > (4,):
        raise ValueError(
            f"array of shape {values.shape}: a picture is (H, W) or (H, W, 1 to 4), channels last"
        )
    if values.dtype.kind == "f":
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
            raise ValueError(
                f"floating-point picture from {values.min():g} to {values.max():g}: scale it to 0..1"
            )
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype.kind == "b":
        values = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype.kind == "u" and values.dtype.itemsize == 2:
        values = (values >> 8).astype(np.uint8)
    elif values.dtype != np.uint8:
        raise ValueError(f"{values.dtype} picture has no known scale: convert it to uint8, uint16 or 0..1")
    if values.ndim == 3:
        values = values[..., :1].repeat(3, axis=2) if values.shape[2] < 3 else values[..., :3]
    return Image.fromarray(np.ascontiguousarray(values)).convert("RGB")


@dataclass(frozen=True)
class Answer:
    """A method's answer for one picture. The picture itself is not kept: it is read again when asked for."""

    picture: Picture
    name: str
    """What the method was told the picture shows."""
    score: float | None
    """Higher is more anomalous; the scale is the method's own. None: it needs all images of a class."""
    map: np.ndarray
    """Anomaly map (S, S), float32, at the method's input size."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further image scores of the method, by name."""

    @property
    def image(self) -> Image.Image:
        """The picture as RGB, upright."""
        return as_rgb(self.picture)

    def overlay(self, low: float | None = None, high: float | None = None) -> Image.Image:
        """Return the map in colour over the picture, at the picture's size.

        `low` and `high` end the colour scale (default: this map's own extremes); give several pictures
        the same ends to compare them.
        """
        return tinted(self.image, self.map, *self._scale(low, high))

    def side_by_side(
        self, low: float | None = None, high: float | None = None, contour: float | None = None
    ) -> Image.Image:
        """Return the picture with an outline where the map reaches `contour`, and the map beside it.

        `low` and `high` are as for `overlay`; `contour` is by default the middle between them. Panels
        are at most 1024 pixels long.
        """
        low, high = self._scale(low, high)
        return side_by_side(self.image, self.map, low, high, (low + high) / 2 if contour is None else contour)

    def _scale(self, low: float | None, high: float | None) -> tuple[float, float]:
        return (
            float(self.map.min()) if low is None else low,
            float(self.map.max()) if high is None else high,
        )

    def _repr_png_(self) -> bytes:
        """Show itself in a notebook: side by side."""
        buffer = io.BytesIO()
        self.side_by_side().save(buffer, "PNG")
        return buffer.getvalue()


def _raise(picture: Picture, error: Exception) -> None:
    raise error


class LoadedMethod:
    """A method with its weights, ready to be asked about pictures."""

    def __init__(
        self,
        model: ZeroShotDetector,
        device: torch.device,
        *,
        untrained: bool,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        """Use `model` as it is; `untrained` says that its weights are stand-ins and its answers chance.

        `identity` says what its scores depend on, as JSON: method, version, source, options, weights.
        """
        self.model = model.to(device).eval().requires_grad_(False)
        self.device = device
        self.untrained = untrained
        self.identity = dict(identity or {})
        self.transductive: bool = model.transductive
        """Whether a picture's score depends on the other pictures of the same name."""
        self.class_normalised: bool = model.class_normalised
        """Whether the final image score needs all images of a class: loose pictures then have none."""

    def __call__(self, picture: Picture, name: str) -> Answer:
        """Return the method's answer for one picture; `name` is what it shows, such as "metal nut"."""
        return self.many([picture], name)[0]

    def many(self, pictures: Sequence[Picture], name: str, batch_size: int = 8) -> list[Answer]:
        """Return the answers for pictures of the same kind of thing; raises for one that cannot be read."""
        return list(self.stream(((picture, name) for picture in pictures), batch_size))

    def stream(
        self,
        pictures: Iterable[_Item],
        batch_size: int = 8,
        failed: Callable[[Picture, Exception], None] = _raise,
    ) -> Iterator[Answer]:
        """Yield an answer for each (picture, name), holding one batch in memory.

        A picture that cannot be read or answered is given to `failed` with its error (default: raise it)
        and left out. A transductive method judges all pictures of one name together: they are collected
        first, and come in the order of the names. It raises `ValueError` for fewer than it needs.
        """
        sets: Iterable[list[_Read]]
        if self.transductive:
            named = grouped(pictures, lambda item: item[1])
            sets = ([self._read(item) for item in items] for items in named.values())
        else:
            sets = batches(ahead(pictures, self._read, 1, batch_size), batch_size)
        for batch in sets:
            ready: list[_Ready] = []
            for picture, name, tensor in batch:
                if isinstance(tensor, Exception):
                    failed(picture, tensor)
                else:
                    ready.append((picture, name, tensor))
            if ready:
                yield from self._answers(ready, failed)

    def _read(self, item: _Item) -> _Read:
        picture, name = item
        try:
            return picture, name, input_of(self.model).resize(as_rgb(picture))
        except Exception as error:  # also what a decoder stumbles over, and pictures too large for the memory
            return picture, name, error

    def _answers(
        self, ready: Sequence[_Ready], failed: Callable[[Picture, Exception], None]
    ) -> Iterator[Answer]:
        try:
            with torch.inference_mode():
                made = on_device([tensor for _, _, tensor in ready], self.device)
                images = input_of(self.model).normalise(made)
                prediction = self.model(images, [name for _, name, _ in ready])
            scores = prediction.scores.float().cpu().tolist()
            maps = prediction.maps.float().cpu().numpy()
            also = {key: values.float().cpu().tolist() for key, values in prediction.also.items()}
        except Exception as error:
            if len(ready) > 1 and not self.transductive:  # too many for the memory, or one that spoils all
                for item in ready:
                    yield from self._answers([item], failed)
                return
            for picture, _, _ in ready:
                failed(picture, error)
            return
        for index, (picture, name, _) in enumerate(ready):
            score = None if self.class_normalised else scores[index]
            if not (math.isfinite(score or 0) and np.isfinite(maps[index]).all()):
                failed(picture, ValueError(f"{picture}: the method's answer is not finite"))
                continue
            yield Answer(
                picture, name, score, maps[index], {key: values[index] for key, values in also.items()}
            )


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
    library = Library(Path(weights_root), DigestCache())
    trained_on = Source.parse(source) if source else None
    return load_request(request, library, choose_device(device), source=trained_on)


def load_request(
    request: MethodRequest,
    library: Library,
    device: torch.device,
    *,
    target: str | None = None,
    source: Source | None = None,
) -> LoadedMethod:
    """Load a method with the weights and options that the protocol gives `target` (None: any picture)."""
    detector = request.detector
    if detector.privileged:
        raise BenchError(f"{request.key} must be told the truth; it cannot be asked about pictures")
    options, trained_on, _ = setup(request, target or "*", source)
    found = library.find(request, options, trained_on)
    identity = {
        "method": request.key,
        "method_version": detector.version,
        "source": str(trained_on) if trained_on else None,
        "options": options,
        "weights": found.digests,
    }
    return LoadedMethod(
        detector.load(found.files, **options),
        device,
        untrained=found.untrained,
        identity=json.loads(json.dumps(identity)),  # as cells have it: lists for tuples
    )
