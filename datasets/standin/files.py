"""Files of a raw dataset as values, and their bytes."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.standin.raster import Mask
from datasets.standin.shots import Pixels

GREY_PALETTE = tuple((level, level, level) for level in range(256))


@dataclass(frozen=True)
class File:
    """One file: its path below the raw folder, with `/`, and either pixels and their format, or plain bytes.

    Pixels are uint8: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA; with a `palette`, (H, W) indices into it.
    The format need not be that of the path's extension: real datasets hold PNG data in `.jpg` files.
    """

    path: str
    content: Pixels | bytes
    format: str = ""
    palette: tuple[tuple[int, int, int], ...] = ()

    def encode(self) -> bytes:
        """Return the file's bytes.

        JPEG keeps full colour resolution at one high quality, so that compression tells pictures
        apart as little as it can.
        """
        if isinstance(self.content, bytes):
            return self.content
        image = Image.fromarray(self.content)
        if self.palette:
            image.putpalette([level for colour in self.palette for level in colour])
        buffer = io.BytesIO()
        if self.format == "JPEG":
            image.save(buffer, "JPEG", quality=95, subsampling=0)
        else:
            image.save(buffer, self.format)
        return buffer.getvalue()


def text(path: str, content: str) -> File:
    """Return a text file."""
    return File(path, content.encode())


def mask_file(path: str, mask: Mask, format: str = "PNG", value: int = 255) -> File:
    """Return a mask (H, W) as a grey picture of 0 and `value`."""
    return File(path, np.where(mask, value, 0).astype(np.uint8), format)
