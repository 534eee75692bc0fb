"""One picture to look at: images, masks and every method's heat maps side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.predict import Answer, LoadedMethod
from bench.run.collect import Machine
from bench.run.planner import Library
from bench.run.protocol import MethodRequest, chosen_source
from datasets.images import read_image, read_mask
from datasets.samples import Folder, Sample

_TILE, _GAP, _LABEL = 112, 6, 16
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True)
class Exhibit:
    """One row: an anomalous image with a mask, and what a text prompt calls it."""

    folder: Folder
    sample: Sample
    prompt: str


def choose_exhibits(folders: Sequence[Folder], count: int) -> list[Exhibit]:
    """Return one anomalous image with a mask from each of the first `count` datasets that have any."""
    found = []
    for folder in folders:
        for data in folder.classes:
            masked = [sample for sample in data.samples if sample.mask is not None]
            if data.has_pixel_level and masked:
                found.append(Exhibit(folder, masked[len(masked) // 2], data.prompt))
                break
    return found[:count]


def draw_gallery(
    exhibits: Sequence[Exhibit], requests: Sequence[MethodRequest], library: Library, machine: Machine
) -> Image.Image:
    """Return the grid: a row for each exhibit; image, mask, then a heat map for each method.

    Heat maps are scaled map by map: they show where, not how much.
    """
    columns = [_answers(exhibits, request, library, machine) for request in requests]
    titles = ["image", "mask", *(request.detector.title for request in requests)]
    width = len(titles) * (_TILE + _GAP) + _GAP + 90
    height = _LABEL + len(exhibits) * (_TILE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for column, title in enumerate(titles):
        pen.text((90 + _GAP + column * (_TILE + _GAP) + _TILE // 2, 2), title, _INK, font, anchor="ma")
    for row, exhibit in enumerate(exhibits):
        top = _LABEL + _GAP + row * (_TILE + _GAP)
        pen.text((84, top + _TILE // 2 - 8), exhibit.folder.title, _INK, font, anchor="rm")
        pen.text((84, top + _TILE // 2 + 8), exhibit.prompt[:14], (110, 110, 110), font, anchor="rm")
        tiles = [read_image(exhibit.sample.image), _mask(exhibit.sample)]
        tiles += [answers[row].overlay() for answers in columns]
        for column, tile in enumerate(tiles):
            square = tile.convert("RGB").resize((_TILE, _TILE), Image.Resampling.BILINEAR)
            sheet.paste(square, (90 + _GAP + column * (_TILE + _GAP), top))
    return sheet


def _answers(
    exhibits: Sequence[Exhibit], request: MethodRequest, library: Library, machine: Machine
) -> list[Answer]:
    answers = []
    loaded: dict[str, LoadedMethod] = {}
    for exhibit in exhibits:
        options, source = (
            request.options(exhibit.folder.target),
            chosen_source(request, exhibit.folder.target, None),
        )
        name = repr((source, sorted(options.items())))
        if name not in loaded:
            found = library.find(request, options, source)
            model = request.detector.load(found.files, **options)
            loaded[name] = LoadedMethod(model, machine.device, untrained=found.untrained)
        answers.append(loaded[name](exhibit.sample.image, exhibit.prompt))
    return answers


def _mask(sample: Sample) -> Image.Image:
    assert sample.mask is not None
    return Image.fromarray(read_mask(sample.mask) * np.uint8(255))
