"""The raw layouts of the medical datasets, and all layouts by key."""

from collections.abc import Callable, Iterator

import numpy as np

from datasets.standin.files import GREY_PALETTE, File, mask_file, text
from datasets.standin.layouts import NOTE, btad, dagm, ksdd, mvtec_tree, visa
from datasets.standin.raster import Pixels
from datasets.standin.shots import Studio


def _rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def _rgba(grey: Pixels) -> Pixels:
    return np.concatenate([_rgb(grey), np.full((*grey.shape, 1), 255, np.uint8)], axis=2)


# Ways the brain sets store a grey picture: extension, true format, pixels, palette. Normal and anomalous
# pictures go through them in the same order, so that the way of storing tells nothing.
_WAYS: tuple[tuple[str, str, Callable[[Pixels], Pixels], bool], ...] = (
    ("jpg", "JPEG", _rgb, False),
    ("JPG", "JPEG", _rgb, False),
    ("jpeg", "JPEG", lambda grey: grey, False),
    ("png", "PNG", lambda grey: grey, False),
    ("jpg", "JPEG", _rgb, False),
    ("jpg", "PNG", _rgba, False),
    ("jpg", "PNG", lambda grey: grey, True),
)


def _stored(stem: str, grey: Pixels, k: int, only_jpg: bool = False) -> File:
    extension, format_, pixels, indexed = _WAYS[k % len(_WAYS)]
    name = f"{stem}.{'jpg' if only_jpg else extension}"
    return File(name, pixels(grey), format_, GREY_PALETTE if indexed else ())


def headct(studio: Studio) -> Iterator[File]:
    """HeadCT: head_ct/NNN.png and labels.csv; haemorrhages from 0, normal from 100, the last ones RGBA."""
    (look,) = studio.classes
    rows = ["id, hemorrhage"]
    for k in range(studio.anomalous):
        yield File(f"head_ct/{k:03d}.png", _rgb(studio.take(look, "test", True, k).image), "PNG")
        rows.append(f"{k},1")
    for k in range(studio.normal):
        grey = studio.take(look, "test", False, k).image
        yield File(f"head_ct/{100 + k:03d}.png", _rgba(grey) if k >= studio.normal - 2 else _rgb(grey), "PNG")
        rows.append(f"{100 + k},0")
    yield text("labels.csv", "\n".join(rows) + "\n")


def brainmri(studio: Studio) -> Iterator[File]:
    """BrainMRI: folders yes and no; mixed extensions, formats and modes, blanks in names, a stem twice."""
    (look,) = studio.classes
    for k in range(studio.anomalous):
        # Y92 exists as .jpg and as .png: the first and the fourth way of storing.
        stem = "yes/Y92" if k in (0, 3) else f"yes/Y{k}"
        yield _stored(stem, studio.take(look, "test", True, k).image, k)
    for k in range(studio.normal):
        stem = f"no/{k} no" if k % 3 == 0 else f"no/no {k}" if k % 3 == 1 else f"no/N{k}"
        yield _stored(stem, studio.take(look, "test", False, k).image, k)


def br35h(studio: Studio) -> Iterator[File]:
    """Br35H: yes/yN.jpg and no/noN.jpg, a few spelt NoN, and unlabelled pictures in pred."""
    (look,) = studio.classes
    for k in range(studio.anomalous):
        yield _stored(f"yes/y{k}", studio.take(look, "test", True, k).image, k, only_jpg=True)
    for k in range(studio.normal):
        stem = f"no/{'No' if k % 10 == 1 else 'no'}{k}"
        yield _stored(stem, studio.take(look, "test", False, k).image, k, only_jpg=True)
    for k in range(2):
        yield _stored(f"pred/pred{k}", studio.take(look, "pred", k == 1, k).image, 0)


def isic(studio: Studio) -> Iterator[File]:
    """ISIC 2016, part 1: JPEG images and _Segmentation.png masks in two folders."""
    (look,) = studio.classes
    part = "ISBI2016_ISIC_Part1_Test"
    for k in range(studio.anomalous):
        shot, name = studio.take(look, "test", True, k), f"ISIC_{3 + 9 * k:07d}"
        yield File(f"{part}_Data/{name}.jpg", shot.image, "JPEG")
        yield mask_file(f"{part}_GroundTruth/{name}_Segmentation.png", shot.mask)
    yield text("ISBI2016_ISIC_Part3_Test_GroundTruth.csv", NOTE)


def polyps(studio: Studio) -> Iterator[File]:
    """CVC-ColonDB and CVC-ClinicDB: images/N.png and masks/N.png, numbers without padding.

    Every fourth mask has a faint fringe of value 11, as many real ones have.
    """
    (look,) = studio.classes
    for k in range(studio.anomalous):
        shot = studio.take(look, "test", True, k)
        yield File(f"images/{k + 1}.png", shot.image, "PNG")
        levels = np.where(shot.mask, 255, 0).astype(np.uint8)
        if k % 4 == 3:
            below = np.zeros_like(shot.mask)
            below[1:] = shot.mask[:-1]
            levels[below & ~shot.mask] = 11
        yield File(f"masks/{k + 1}.png", levels, "PNG")


def tn3k(studio: Studio) -> Iterator[File]:
    """TN3K: JPEG images and JPEG masks, test and trainval folders, and a fold file."""
    (look,) = studio.classes
    for part, split, count in (("test", "test", studio.anomalous), ("trainval", "train", studio.train)):
        for k in range(count):
            shot = studio.take(look, split, True, k)
            yield File(f"{part}-image/{k:04d}.jpg", _rgb(shot.image), "JPEG")
            yield mask_file(f"{part}-mask/{k:04d}.jpg", shot.mask, "JPEG")
    train = list(range(1, studio.train))
    yield text("tn3k-trainval-fold0.json", f'{{"val": [0], "train": {train}}}\n')


LAYOUTS: dict[str, Callable[[Studio], Iterator[File]]] = {
    "mvtec": mvtec_tree,
    "visa": visa,
    "mpdd": mvtec_tree,
    "btad": btad,
    "ksdd": ksdd,
    "dagm": dagm,
    "dtd_synthetic": mvtec_tree,
    "headct": headct,
    "brainmri": brainmri,
    "br35h": br35h,
    "isic": isic,
    "cvc_colondb": polyps,
    "cvc_clinicdb": polyps,
    "tn3k": tn3k,
}
