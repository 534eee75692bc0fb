"""The same seed draws the same pixels: again, on other processors, and through the files' formats."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.standin import KEYS
from datasets.standin.files import GREY_PALETTE, File, png
from datasets.standin.generate import files
from tests.standin.drawn import digests

CARRIED = json.loads((Path(__file__).parent / "digests.json").read_text(encoding="utf-8"))
ROOT = Path(__file__).parents[2]


def test_pixels_are_those_of_every_other_machine() -> None:
    assert digests() == CARRIED


def test_pixels_do_not_depend_on_the_processor() -> None:
    config = np.__config__.CONFIG["SIMD Extensions"]  # type: ignore[attr-defined]
    if not config.get("found"):
        pytest.skip("numpy uses no optional instructions on this processor")
    run = subprocess.run(
        [sys.executable, "tests/standin/drawn.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NPY_DISABLE_CPU_FEATURES": " ".join(config["found"])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout) == CARRIED


@pytest.mark.parametrize("key", KEYS)
def test_files_hold_what_was_drawn(key: str, tiny: dict[str, Path]) -> None:
    for file in files(key, scale="tiny"):
        data = (tiny[key] / file.path).read_bytes()
        assert data == file.encode()
        if isinstance(file.content, bytes):
            continue
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == file.format
            assert (image.mode == "P") == bool(file.palette)
            read = np.asarray(image)
        if file.format == "JPEG":
            difference = np.abs(read.astype(int) - file.content)
            assert difference.mean() < 4 and difference.max() < 64, file.path
        else:
            np.testing.assert_array_equal(read, file.content, file.path)


@pytest.mark.parametrize("shape", [(5, 7), (200, 400), (160, 300, 3), (3, 4, 4)])
def test_png_is_read_as_written(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(png(pixels))) as image:
        image.verify()
    with Image.open(io.BytesIO(png(pixels))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_indexed_png_keeps_its_palette() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with Image.open(io.BytesIO(File("a.png", pixels, "PNG", GREY_PALETTE).encode())) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("L")), pixels)


def test_size_of_png_does_not_depend_on_content() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    assert len(png(noise)) == len(png(np.zeros_like(noise)))


def test_other_seeds_draw_other_pictures_of_the_same_layout() -> None:
    first, second = (list(files("mvtec", seed=seed, scale="tiny")) for seed in (0, 1))
    assert [file.path for file in first] == [file.path for file in second]
    for one, two in zip(first, second, strict=True):
        if isinstance(one.content, np.ndarray):
            assert not np.array_equal(one.content, two.content), one.path
