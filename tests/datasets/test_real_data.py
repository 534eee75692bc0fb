"""Parts of KolektorSDD and ISIC 2016 as published, where `--real-data` gives them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.check import check
from datasets.images import read_mask
from datasets.meta import open_dataset
from datasets.prepare import prepare


@pytest.fixture
def real(request: pytest.FixtureRequest) -> Path:
    folder = request.config.getoption("--real-data")
    if folder is None:
        pytest.skip("no real images: give --real-data DIR")
    return Path(folder)


def archive(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {folder}")
    return found[0]


def test_ksdd(real: Path, tmp_path: Path) -> None:
    raw = archive(real, "KolektorSDD*.zip")
    whole = open_dataset(prepare("ksdd", raw, tmp_path, "whole"))
    thirds = open_dataset(prepare("ksdd", raw, tmp_path))
    train = open_dataset(thirds.root, split="train")
    (images,), (test,), (rest,) = whole.classes, thirds.classes, train.classes
    strips = test.normal + test.anomalous + rest.normal
    assert strips == 3 * (images.normal + images.anomalous)
    assert test.normal == -(-(test.normal + rest.normal) // 4)
    assert test.anomalous >= images.anomalous > 0
    # Every defective pixel is in exactly one strip.
    area = sum(int(read_mask(sample.mask).sum()) for sample in images.samples if sample.mask)
    assert area == sum(int(read_mask(sample.mask).sum()) for sample in test.samples if sample.mask)
    for folder in (whole, thirds):
        report = check(folder)
        assert report.ok
        assert report.complete == (images.normal + images.anomalous == 399)
    sample = next(it for it in test.samples if it.label)
    stem, part = sample.image.stem.rsplit("_", 1)
    with Image.open(whole.root / f"{stem.replace('_', '/')}.jpg") as image:
        pixels = np.asarray(image)
    edges = [len(pixels) * index // 3 for index in range(4)]
    with Image.open(sample.image) as strip:
        np.testing.assert_array_equal(np.asarray(strip), pixels[edges[int(part)] : edges[int(part) + 1]])


def test_isic(real: Path, tmp_path: Path) -> None:
    folder = open_dataset(prepare("isic", archive(real, "ISIC2016*.zip"), tmp_path))
    report = check(folder)
    assert report.ok
    assert folder.classes[0].normal == 0
    assert folder.classes[0].has_pixel_level and folder.classes[0].no_image_level
    assert report.complete == (folder.classes[0].anomalous == 379)
