"""Masks that cannot be right, or are read otherwise than they look."""

import numpy as np
import pytest
from PIL import Image

from datasets.check import check
from datasets.images import read_mask
from datasets.meta import open_dataset
from datasets.truth import KINDS, read_truth, summarise
from tests.datasets.own_folder import Custom

REGION = np.zeros((31, 16), np.uint8)
REGION[9:20, 3:11] = 255


def odd(custom: Custom, threshold: int = 0) -> dict[str, str]:
    """Return kind -> detail of the first anomalous sample, whose mask and picture a test has changed."""
    sample = open_dataset(custom.write()).classes[0].samples[2]
    mask, remarks = read_truth(sample, threshold)
    assert sample.mask is not None
    np.testing.assert_array_equal(mask, read_mask(sample.mask, threshold))
    return {remark.kind: remark.detail for remark in remarks}


def palette(first: int, second: int) -> Image.Image:
    image = Image.fromarray((REGION > 0).astype(np.uint8), mode="P")
    image.putpalette([first] * 3 + [second] * 3)
    return image


def in_alpha(colour: int) -> Image.Image:
    pixels = np.full((31, 16, 4), colour, np.uint8)
    pixels[..., 3] = REGION
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("mask", "kinds"),
    [
        (Image.fromarray(REGION), set()),
        (Image.fromarray(REGION // 255 * 3), set()),  # a small class index, as VisA's
        (Image.fromarray(REGION.astype(np.uint16) * 257), set()),
        (palette(0, 255), set()),
        (palette(0, 85), set()),  # as KolektorSDD's
        (Image.fromarray(np.zeros_like(REGION)), {"empty"}),
        (Image.fromarray(np.maximum(REGION, 1)), {"full", "grey"}),
        (Image.fromarray(REGION // 255 + 1), {"full"}),
        (Image.fromarray(np.maximum(REGION, np.roll(REGION, 1, 0) // 2)), {"grey"}),
        (palette(255, 0), {"palette"}),
        (palette(1, 255), {"palette", "full", "grey"}),
        (in_alpha(255), {"alpha", "full"}),
        (in_alpha(0), {"alpha", "empty"}),
        (Image.fromarray(REGION.T), {"size"}),
        (Image.fromarray(REGION[:-1]), {"size"}),
    ],
)
def test_what_is_odd_about_a_mask(custom: Custom, mask: Image.Image, kinds: set[str]) -> None:
    mask.save(custom.root / "masks/0.png")
    found = odd(custom)
    assert set(found) == kinds
    assert all("masks/0.png" in detail for detail in found.values())


def test_jpeg_masks_are_measured_at_both_thresholds(custom: Custom) -> None:
    (custom.root / "masks/0.png").unlink()
    Image.fromarray(REGION).save(custom.root / "masks/0.jpg", quality=60)
    custom.samples[2] |= {"mask_path": "masks/0.jpg"}
    above = [int(read_mask(custom.root / "masks/0.jpg", threshold).sum()) for threshold in (0, 127)]
    assert above[0] > above[1] == 88
    assert odd(custom) == {"grey": f"masks/0.jpg: {above[0]} pixels above 0, {above[1]} above 127"}
    assert odd(custom, threshold=127) == {}


def test_a_mask_that_is_the_image(custom: Custom) -> None:
    custom.samples[2] |= {"mask_path": "bad/0.png"}
    assert "image" in odd(custom)
    (custom.root / "masks/0.png").write_bytes((custom.root / "bad/0.png").read_bytes())
    custom.samples[2] |= {"mask_path": "masks/0.png"}
    assert "image" in odd(custom)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_turned_photographs_with_masks(custom: Custom, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (16, 31)).save(custom.root / "bad/0.png", exif=exif)
    wanted = {} if orientation == 1 else {"turned": f"bad/0.png: orientation {orientation}"}
    assert odd(custom) == wanted


def test_check_tells_all_of_it_with_counts(custom: Custom) -> None:
    for index in (0, 1):
        Image.fromarray(REGION // 255 + 1).save(custom.root / f"masks/{index}.png")
    report = check(open_dataset(custom.write()))
    assert report.findings["full"] == ["masks/0.png", "masks/1.png"]
    assert report.findings["shared"] == ["bad/0.png, bad/1.png"], "equal masks of two different images"
    assert f"{KINDS['full']}: 2\n  masks/0.png" in str(report)
    assert report.ok, "the numbers stay the published protocol's"


def test_one_line_a_kind(custom: Custom) -> None:
    for index in (0, 1):
        Image.new("L", (16, 31)).save(custom.root / f"masks/{index}.png")
    samples = open_dataset(custom.write()).classes[0].samples[2:]
    remarks = [remark for sample in samples for remark in read_truth(sample)[1]]
    assert summarise(remarks) == [f"2 {KINDS['empty']} (masks/0.png)"]
    assert summarise([]) == []
