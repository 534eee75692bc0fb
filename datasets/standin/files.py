"""Files of a raw dataset as values, and their bytes."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.standin.raster import Mask, Pixels

Palette = tuple[tuple[int, int, int], ...]
GREY_PALETTE: Palette = tuple((level, level, level) for level in range(256))
# All 256 entries: with two, Pillow would read the file as black and white instead of indices.
LABEL_PALETTE: Palette = ((0, 0, 0), *[(255, 255, 255)] * 255)

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # PNG's code for grey, RGB and RGBA; indices have 3
_STORED = 65535  # bytes in a block that deflate stores as they are


@dataclass(frozen=True)
class File:
    """One file: its path below the raw folder, with `/`, and either pixels and their format, or plain bytes.

    Pixels are uint8: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA; with a `palette`, (H, W) indices into it.
    The format need not be that of the path's extension: real datasets hold PNG data in `.jpg` files.
    """

    path: str
    content: Pixels | bytes
    format: str = ""
    palette: Palette = ()

    def encode(self) -> bytes:
        """Return the file's bytes."""
        if isinstance(self.content, bytes):
            return self.content
        if self.format == "PNG":
            return png(self.content, self.palette)
        image = Image.fromarray(self.content)
        if self.palette:
            image.putpalette([level for colour in self.palette for level in colour])
        buffer = io.BytesIO()
        # Full colour resolution: JPEG decoders differ in how they widen reduced colour.
        image.save(
            buffer, self.format, **({"quality": 95, "subsampling": 0} if self.format == "JPEG" else {})
        )
        return buffer.getvalue()


def png(pixels: Pixels, palette: Palette = ()) -> bytes:
    """Return an uncompressed PNG of uint8 pixels (see `File`).

    Compressed bytes would depend on the zlib at hand; these do not, nor does their number on the content.
    """
    height, width = pixels.shape[:2]
    kind = 3 if palette else _COLOUR_TYPES[1 if pixels.ndim == 2 else pixels.shape[2]]
    rows = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # filter 0: none
    blocks = [raw[k : k + _STORED] for k in range(0, len(raw), _STORED)]
    stream = b"\x78\x01" + b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block for block in blocks
    )
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)),
        *([(b"PLTE", bytes(level for colour in palette for level in colour))] if palette else []),
        (b"IDAT", stream + struct.pack(">I", zlib.adler32(raw))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def text(path: str, *lines: str) -> File:
    """Return a text file of `lines`."""
    return File(path, "".join(f"{line}\n" for line in lines).encode())


def mask_file(path: str, mask: Mask, format: str = "PNG", value: int = 255) -> File:
    """Return a mask (H, W) as a grey picture of 0 and `value`."""
    return File(path, np.where(mask, value, 0).astype(np.uint8), format)
