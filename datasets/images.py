"""Pixels and masks: every file format of the datasets as RGB, and masks as published codes resize them."""

import io
import logging
import os
import struct
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from datasets.files import escaped_name, images_in

# Its remarks on broken files would add lines to our one; they still reach whoever sets up logging.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
# Half the limit below; a picture in between is in order.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
"""Other decoders never see a file, whatever its name: some start programs (EPS), some are seldom tested."""
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_SLIVER = 4096
"""A 16-bit picture whose values stay below this has 12 bits at most: cut to 8, it would be nearly black."""
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(path: Path) -> Image.Image:
    """Read a picture as RGB, 8 bit, whatever its format, mode and extension.

    Grey is repeated, palettes are looked up, transparency is dropped, 16 bit is cut to its upper 8. The
    orientation noted by a camera is not applied: masks are drawn on the stored pixels, and the published
    codes do not apply it either.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a picture (PNG, JPEG, BMP, TIFF, WebP, GIF, PPM), is cut off, is larger than the
            limit (179 million pixels, or ZSAD_MAX_PIXELS), or its values have no known scale: floats, more
            than 16 bit, 16 bit of which the upper 4 are unused; names the file.
    """
    image, cut = decode(path)
    if image.mode in _DEEP:
        values = _sixteen_bit(image, path)
        _refuse_sliver(int(values.max()), path)
        image = Image.fromarray((values >> 8).astype(np.uint8))
    rgb = image.convert("RGB")
    if cut:
        _refuse_sliver(int(np.asarray(rgb).max()) << 8 | 0xFF, path)
    return rgb


def read_mask(path: Path, threshold: int = 0) -> NDArray[np.uint8]:
    """Read a mask: 1 where its grey value, of 0..255, is above `threshold`, else 0; uint8 (H, W).

    Palettes are looked up and colours turned to grey first. 0 is the published rule, and the only one for
    masks that hold small class indices (VisA); 127 suits JPEG and anti-aliased masks. A folder stands for
    all the masks in it: 1 where one of them is (MVTec LOCO).

    Raises:
        FileNotFoundError, ValueError: As `read_image`; the parts differ in size, or there are none.
    """
    if path.is_dir():
        return join_parts([read_mask(part, threshold) for part in images_in(path)], path)
    return binarise(decode(path)[0], threshold, path)


def join_parts(parts: list[NDArray[np.uint8]], path: Path) -> NDArray[np.uint8]:
    """Return the union of the masks in folder `path`."""
    if len({part.shape for part in parts}) != 1:
        raise ValueError(f"{path}: holds {len(parts)} masks that have not one size; replace them")
    union: NDArray[np.uint8] = np.maximum.reduce(parts)
    return union


def binarise(image: Image.Image, threshold: int, path: Path) -> NDArray[np.uint8]:
    """Return the decoded mask of `path` as `read_mask` does."""
    if image.mode in _DEEP:
        return (_sixteen_bit(image, path) > threshold * 257).astype(np.uint8)
    return (np.asarray(image.convert("L")) > threshold).astype(np.uint8)


def resize_mask(mask: NDArray[np.uint8], size: int, *, nearest: bool = False) -> NDArray[np.uint8]:
    """Resize a mask (H, W) to the evaluation square (size, size) as the published codes do; values 0, 1.

    Non-zero becomes 255, the grey picture is resized bilinearly with Pillow's anti-aliasing (torchvision's
    default on a picture), and what is above half is foreground. Thin defects may vanish. `nearest` takes
    Pillow's nearest neighbour instead.
    """
    picture = Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8))
    resized = picture.resize((size, size), Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR)
    return (np.asarray(resized) > 127).astype(np.uint8)


def decode(path: Path) -> tuple[Image.Image, bool]:
    """Decode a file fully, in the mode it is stored in.

    Returns:
        The picture, and whether 16 bits a colour were cut to the upper 8 on the way.

    Raises:
        FileNotFoundError, ValueError: As `read_image`.
    """
    limit = _pixel_limit()
    name = escaped_name(str(path))
    if path.exists() and not path.is_file():
        raise ValueError(f"{name}: a folder, pipe or device, not a picture")
    try:
        with path.open("rb") as file:
            start = file.read(54)
            if start[:4] in _TIFF and (colour := _mistagged_colour(path, limit)) is not None:
                return colour
            file.seek(0)
            content = _with_full_palette(file.read()) if _is_two_colour_bmp(start) else file
            with Image.open(content, formats=_FORMATS) as image:
                cut = any(";16" in str(tile[3]) for tile in image.tile)
                image.load()
                if image.mode == "F":
                    raise ValueError("floating-point values have no known scale")
                return image.copy(), cut and image.mode not in _DEEP
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ValueError(
            f"{name}: not a picture of a format that is read ({', '.join(_FORMATS)}); convert or replace it"
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name}: more than {limit} pixels ({error}). If that is its true size, make it smaller, or "
            "raise the limit: ZSAD_MAX_PIXELS=NUMBER"
        ) from None
    except Exception as error:  # on broken files the decoders raise whatever they stumble over
        raise ValueError(
            f"{name}: cannot be decoded ({type(error).__name__}: {error}); replace the file"
        ) from error


def head(path: Path) -> tuple[tuple[int, int], int]:
    """Return width and height of a picture as stored, and its EXIF orientation (1: upright).

    Raises:
        FileNotFoundError, ValueError: As `read_image`.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.size, image.getexif().get(ExifTags.Base.Orientation, 1)
    except FileNotFoundError:
        raise
    except Exception:  # a TIFF that only `decode` reads, or a broken file: it says what is wrong
        return decode(path)[0].size, 1


@cache
def _pixel_limit() -> int:
    """Return the most pixels a picture may have: twice Pillow's bound, unless ZSAD_MAX_PIXELS is set."""
    if text := os.environ.get("ZSAD_MAX_PIXELS"):
        if not text.isdecimal() or int(text) == 0:
            raise ValueError(f"ZSAD_MAX_PIXELS={text}: write a number of pixels")
        Image.MAX_IMAGE_PIXELS = -(-int(text) // 2)
    return 2 * (Image.MAX_IMAGE_PIXELS or 2**62)


def _is_two_colour_bmp(start: bytes) -> bool:
    """Say whether a file starts like a BMP of 8 bits per pixel with a palette of just two colours.

    Pillow writes two-coloured masks so, but reads them as 1 bit per pixel: as nothing.
    """
    if len(start) < 54 or start[:2] != b"BM":
        return False
    (bits,), (colours,) = struct.unpack_from("<H", start, 28), struct.unpack_from("<I", start, 46)
    return bool(bits == 8 and colours == 2)


def _with_full_palette(content: bytes) -> io.BytesIO:
    """Fill the palette of such a BMP up to the usual 256 colours."""
    (pixels,), (header,) = struct.unpack_from("<I", content, 10), struct.unpack_from("<I", content, 14)
    end, added = 14 + header + 2 * 4, 254 * 4
    start = content[:10] + struct.pack("<I", pixels + added) + content[14:46] + struct.pack("<I", 256)
    return io.BytesIO(start + content[50:end] + bytes(added) + content[end:])


def _mistagged_colour(path: Path, limit: int) -> tuple[Image.Image, bool] | None:
    """Decode a TIFF that holds three samples per pixel but is tagged as grey; None if it is none.

    CVC-ClinicDB's official files are such: Pillow refuses them, and OpenCV repeats the red channel.
    """
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if page.photometric != tifffile.PHOTOMETRIC.MINISBLACK or page.samplesperpixel < 3:
            return None
        if page.imagewidth * page.imagelength > limit:
            raise Image.DecompressionBombError(f"{page.imagewidth} x {page.imagelength}")
        pixels = page.asarray()
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    cut = pixels.dtype == np.uint16
    if cut:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ValueError(f"TIFF of {pixels.dtype} with shape {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3])), cut


def _sixteen_bit(image: Image.Image, path: Path) -> NDArray[np.int64]:
    values = np.asarray(image).astype(np.int64)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ValueError(
            f"{escaped_name(str(path))}: values from {low} to {high} exceed 16 bit; convert the file to 8 bit"
        )
    return values


def _refuse_sliver(highest: int, path: Path) -> None:
    # Where its true scale ends no file says, and one scale for each picture would make dark ones bright.
    if 0 < highest < _SLIVER:
        raise ValueError(
            f"{escaped_name(str(path))}: 16 bit of which only values up to {highest} are used "
            "(12-bit camera?): cut to 8 bit it would be nearly black; convert all files to 8 bit by one rule"
        )
