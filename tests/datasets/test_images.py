"""Pixels as stored, whatever the format; masks as the published codes make them."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from torchvision.transforms import Resize

from datasets.images import _pixel_limit, head, read_image, read_mask, resize_mask
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


def test_no_program_is_started_whatever_a_file_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.write_text(f"#!/bin/sh\necho called >> {tmp_path / 'called'}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "x.png").write_text(text)
    for read in (read_image, read_mask, head):
        with pytest.raises(ValueError, match=r"x\.png: not a picture of a format that is read"):
            read(tmp_path / "x.png")
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("format", ["PCX", "TGA", "ICO", "SGI", "JPEG2000"])
def test_formats_of_no_dataset_are_not_opened(tmp_path: Path, format: str) -> None:
    Image.new("L", (32, 32), 9).save(tmp_path / "x.png", format=format)
    with pytest.raises(ValueError, match="not a picture of a format"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_formats_are_told_by_content(tmp_path: Path, format: str) -> None:
    Image.new("RGB", (8, 6), (10, 20, 30)).save(tmp_path / "x.dat", format=format)
    assert read_image(tmp_path / "x.dat").size == (8, 6)
    assert head(tmp_path / "x.dat") == ((8, 6), 1)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    (tmp_path / "y.png").mkdir()
    for path in (tmp_path / "x.png", tmp_path / "y.png", Path("/dev/zero")):
        with pytest.raises(ValueError, match="a folder, pipe or device, not a picture"):
            read_image(path)


@pytest.fixture
def no_limit_remembered() -> Iterator[None]:
    _pixel_limit.cache_clear()
    yield
    _pixel_limit.cache_clear()


@pytest.mark.usefixtures("no_limit_remembered")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", ["a.png", "a.tif", "mistagged.tif"])
def test_pictures_beyond_the_limit_are_refused_until_it_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "mistagged.tif":
        write_image(tmp_path / name, "TIFF", "RGB")
    else:
        Image.new("RGB", (16, 31)).save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16 * 31 // 2 - 1)
    with pytest.raises(ValueError, match=rf"{name}: more than 494 pixels .*ZSAD_MAX_PIXELS") as caught:
        read_image(tmp_path / name)
    assert "replace the file" not in str(caught.value)
    monkeypatch.setenv("ZSAD_MAX_PIXELS", "496")
    _pixel_limit.cache_clear()
    assert read_image(tmp_path / name).size == (16, 31)
    monkeypatch.setenv("ZSAD_MAX_PIXELS", "many")
    _pixel_limit.cache_clear()
    with pytest.raises(ValueError, match="ZSAD_MAX_PIXELS=many: write a number of pixels"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("highest", [1, 255, 4095, 4096, 65535])
@pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "int32.tif", "colour.tif", "mistagged.tif"])
def test_twelve_bits_in_sixteen_are_refused(tmp_path: Path, highest: int, kind: str) -> None:
    values = np.zeros((4, 4) if kind[0] in "gi" else (4, 4, 3), np.int32 if kind[0] == "i" else np.uint16)
    values[1, 1] = highest
    if kind.endswith(".png"):
        Image.fromarray(values).save(tmp_path / kind)
    else:
        photometric = "rgb" if kind.startswith("colour") else "minisblack"
        planar = {"planarconfig": "contig"} if values.ndim == 3 else {}
        tifffile.imwrite(tmp_path / kind, values, photometric=photometric, **planar)
    if highest < 4096:
        with pytest.raises(ValueError, match="12-bit camera"):
            read_image(tmp_path / kind)
    else:
        assert np.asarray(read_image(tmp_path / kind)).max() == highest >> 8


def test_a_black_grey_picture_of_16_bit_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "x.png")
    assert not np.asarray(read_image(tmp_path / "x.png")).any()


def test_a_folder_of_masks_is_their_union(tmp_path: Path) -> None:
    for index in range(2):
        part = np.zeros((6, 8), np.uint8)
        part[index * 3, 2:5] = 200 + index
        Image.fromarray(part).save(tmp_path / f"{index:03}.png")
    mask = read_mask(tmp_path)
    assert mask.sum() == 6 and mask[0, 2:5].all() and mask[3, 2:5].all()
    Image.new("L", (3, 3)).save(tmp_path / "002.png")
    with pytest.raises(ValueError, match="holds 3 masks that have not one size"):
        read_mask(tmp_path)
