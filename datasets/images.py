"""Pixels and masks: every file format of the data sets as RGB, and masks as published codes resize them."""

import io
import logging
import struct
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from datasets.files import images_in

# Its remarks on broken files would add lines to our one; they still reach whoever sets up logging.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(path: Path) -> Image.Image:
    """Read a picture as RGB, 8 bit, whatever its format, mode and extension.

    Grey is repeated, palettes are looked up, transparency is dropped, 16 bit is cut to its upper 8. The
    orientation noted by a camera is not applied: masks are drawn on the stored pixels, and the published
    codes do not apply it either.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a picture, is cut off, or its values have no known scale; names the file.
    """
    image = _open(path)
    if image.mode in _DEEP:
        image = Image.fromarray((_sixteen_bit(image, path) >> 8).astype(np.uint8))
    return image.convert("RGB")


def read_mask(path: Path, threshold: int = 0) -> NDArray[np.uint8]:
    """Read a mask: 1 where its grey value, of 0..255, is above `threshold`, else 0; uint8 (H, W).

    Palettes are looked up and colours turned to grey first. 0 is the published rule, and the only one for
    masks that hold small class indices (VisA); 127 suits JPEG and anti-aliased masks.

    A folder stands for all the masks in it: what is above the threshold in one of them (MVTec LOCO).

    Raises:
        FileNotFoundError, ValueError: As `read_image`; the parts differ in size, or there are none.
    """
    if path.is_dir():
        parts = [read_mask(part, threshold) for part in images_in(path)]
        if len({part.shape for part in parts}) != 1:
            raise ValueError(
                f"{path}: holds {len(parts)} masks, of other sizes than each other; replace them"
            )
        return np.maximum.reduce(parts)
    image = _open(path)
    if image.mode in _DEEP:
        return (_sixteen_bit(image, path) > threshold * 257).astype(np.uint8)
    return (np.asarray(image.convert("L")) > threshold).astype(np.uint8)


def resize_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize a mask (H, W) to the evaluation square (size, size) as the published codes do; values 0, 1.

    Non-zero becomes 255, the grey picture is resized bilinearly with Pillow's anti-aliasing (torchvision's
    default on a picture), and what is above half is foreground. Thin defects may vanish.
    """
    picture = Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8))
    resized = picture.resize((size, size), Image.Resampling.BILINEAR)
    return (np.asarray(resized) > 127).astype(np.uint8)


def _open(path: Path) -> Image.Image:
    """Decode a file fully, in the mode it is stored in."""
    try:
        with path.open("rb") as file:
            start = file.read(54)
            if start[:4] in _TIFF and (colour := _mistagged_colour(path)) is not None:
                return colour
            file.seek(0)
            with Image.open(_with_full_palette(file.read()) if _is_two_colour_bmp(start) else file) as image:
                image.load()
                if image.mode == "F":
                    raise ValueError("floating-point values have no known scale")
                return image.copy()
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture that can be read; replace the file") from None
    except Exception as error:  # on broken files the decoders raise whatever they stumble over
        raise ValueError(
            f"{path}: cannot be decoded ({type(error).__name__}: {error}); replace the file"
        ) from error


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


def _mistagged_colour(path: Path) -> Image.Image | None:
    """Return the colours of a TIFF that holds three samples per pixel but is tagged as grey, else None.

    CVC-ClinicDB's official files are such: Pillow refuses them, and OpenCV repeats the red channel.
    """
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if page.photometric != tifffile.PHOTOMETRIC.MINISBLACK or page.samplesperpixel < 3:
            return None
        pixels = page.asarray()
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise ValueError(f"TIFF of {pixels.dtype} with shape {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))


def _sixteen_bit(image: Image.Image, path: Path) -> NDArray[np.int64]:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"{path}: values up to {values.max()} exceed 16 bit; convert the file to 8 bit")
    return values
