"""Pixels as stored, whatever the format; masks as the published codes make them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from torchvision.transforms import Resize

from datasets.images import read_image, read_mask, resize_mask
from tests.datasets.imitation import pixels, write_image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    stored = Image.fromarray(pixels(tmp_path)).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    stored.save(path, quality=100, subsampling=0) if mode == "CMYK" else stored.save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    with Image.open(path) as reopened:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(reopened.convert("RGB")))


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    write_image(tmp_path / "188.png", "PNG", "RGBA")
    expected = pixels(tmp_path / "188.png", 4)[..., :3]
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "188.png")), expected)


def test_the_content_decides_not_the_extension(tmp_path: Path) -> None:
    write_image(tmp_path / "no.jpg", "PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "no.jpg")), pixels(tmp_path / "no.jpg"))
    tif = tmp_path / "tif.png"
    tifffile.imwrite(tif.with_suffix(".tif"), pixels(tif), photometric="minisblack", planarconfig="contig")
    tif.with_suffix(".tif").rename(tif)
    np.testing.assert_array_equal(np.asarray(read_image(tif)), pixels(tif))


def test_sixteen_bit_keeps_its_upper_byte(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 97, dtype=np.uint16)[:640].reshape(20, 32)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        grey = np.asarray(read_image(tmp_path / name))
        for channel in range(3):
            np.testing.assert_array_equal(grey[..., channel], values >> 8)
    colour = np.stack([values, values[::-1], values.T.reshape(20, 32)], axis=-1)
    tifffile.imwrite(tmp_path / "c.tif", colour, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "c.tif")), colour >> 8)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_colours_of_tifs_tagged_as_grey(tmp_path: Path, planar: str, photometric: str) -> None:
    colours = pixels(tmp_path / "1.tif")
    stored = np.moveaxis(colours, -1, 0) if planar == "separate" else colours
    tifffile.imwrite(tmp_path / "1.tif", stored, photometric=photometric, planarconfig=planar)
    read = np.asarray(read_image(tmp_path / "1.tif"))
    np.testing.assert_array_equal(read, colours)
    assert (read[..., 0] != read[..., 1]).any()


def test_orientation_noted_by_the_camera_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(tmp_path)).save(tmp_path / "a.JPG", format="JPEG", exif=exif)
    assert read_image(tmp_path / "a.JPG").size == (16, 31)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
@pytest.mark.parametrize("kept", [0, 3, 20, 0.5])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if kept < 1 else int(kept)])
    for read in (read_image, read_mask):
        with pytest.raises(ValueError, match=name) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_truncated_mistagged_tif_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "1.tif", "TIFF", "RGB")
    whole = (tmp_path / "1.tif").read_bytes()
    (tmp_path / "1.tif").write_bytes(whole[:-400])
    with pytest.raises(ValueError, match=r"1\.tif"):
        read_image(tmp_path / "1.tif")


def test_values_without_a_known_scale_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="floating-point"):
        read_image(tmp_path / "f.tif")
    Image.fromarray(np.full((4, 4), 1 << 20, dtype=np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(ValueError, match="exceed 16 bit"):
        read_image(tmp_path / "i.tif")


def test_an_absent_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_image(tmp_path / "gone.png")


def test_masks_of_small_indices_survive_and_thresholds_apply(tmp_path: Path) -> None:
    values = np.array([[0, 1, 3], [127, 128, 255]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), [[0, 1, 1], [1, 1, 1]])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", threshold=127), [[0, 0, 0], [0, 1, 1]])
    assert read_mask(tmp_path / "m.png").dtype == np.uint8


def test_palettes_are_looked_up_in_masks(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2, 3]], dtype=np.uint8), mode="P")
    image.putpalette([0, 0, 0, 85, 85, 85, 255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "Part4_label.bmp")
    np.testing.assert_array_equal(read_mask(tmp_path / "Part4_label.bmp"), [[0, 1, 1, 0]])
    np.testing.assert_array_equal(read_mask(tmp_path / "Part4_label.bmp", threshold=127), [[0, 0, 1, 0]])


@pytest.mark.parametrize("colours", [2, 3, 256])
@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif"])
def test_short_palettes(tmp_path: Path, colours: int, suffix: str) -> None:
    # Pillow 13 reads its own 8-bit BMP with two colours as all black.
    values = (np.random.default_rng(0).random((9, 13)) < 0.4).astype(np.uint8)
    image = Image.fromarray(values, mode="P")
    image.putpalette(([0, 0, 0] + [255, 255, 255] * 255)[: 3 * colours])
    path = (tmp_path / "m").with_suffix(suffix)
    image.save(path)
    np.testing.assert_array_equal(read_mask(path), values)
    np.testing.assert_array_equal(np.asarray(read_image(path))[..., 1], values * 255)


def test_sixteen_bit_masks(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 32639, 32640, 65535]], dtype=np.uint16)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), [[0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", threshold=127), [[0, 0, 0, 1, 1]])


def test_jpeg_masks_ring(tmp_path: Path) -> None:
    values = np.zeros((32, 32), dtype=np.uint8)
    values[9:21, 9:21] = 255
    Image.fromarray(values).save(tmp_path / "0000.jpg", quality=60)
    loose, firm = read_mask(tmp_path / "0000.jpg"), read_mask(tmp_path / "0000.jpg", threshold=127)
    assert loose.sum() > firm.sum() == 144


@pytest.mark.parametrize("shape", [(131, 97), (37, 53), (70, 70), (300, 200)])
@pytest.mark.parametrize("size", [64, 70, 224])
def test_masks_are_resized_as_torchvision_does(shape: tuple[int, int], size: int) -> None:
    rng = np.random.default_rng(shape[0] * size)
    mask = (rng.random(shape) < 0.3).astype(np.uint8) * rng.integers(1, 256, shape, dtype=np.uint8)
    picture = Resize((size, size))(Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8)))
    expected = np.asarray(picture, dtype=np.float32) / 255 > 0.5
    resized = resize_mask(mask, size)
    np.testing.assert_array_equal(resized, expected)
    np.testing.assert_array_equal(resized, resize_mask((mask > 0).astype(np.uint8), size))
    assert resized.dtype == np.uint8


def test_golden_mask_sizes(request: pytest.FixtureRequest) -> None:
    path = request.config.getoption("--golden-dir") / "metrics" / "mask_resize.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path) as golden:
        outputs = [name for name in golden.files if name.startswith("out_")]
        for name in outputs:
            _, case, size = name.split("_")
            expected = np.unpackbits(golden[name])[: int(size) ** 2].reshape(int(size), int(size))
            np.testing.assert_array_equal(resize_mask(golden[f"in_{case}"], int(size)), expected, name)
        assert outputs
