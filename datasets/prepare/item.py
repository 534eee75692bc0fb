"""What a reader of a raw layout hands over: one sample with the files, or pixels, to be placed."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets.schema import Record

Content = Path | Image.Image
"""A raw file to be taken as it is, or pixels to be written in the format of the record's extension."""


@dataclass(frozen=True)
class Item:
    """One sample: its record, and what the record's paths shall hold."""

    split: str
    record: Record
    image: Content
    mask: Content | None = None
