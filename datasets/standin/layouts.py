"""The raw layouts: which files hold which picture, in each real dataset's own way."""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np

from datasets.standin.files import GREY_PALETTE, LABEL_PALETTE, File, mask_file, text
from datasets.standin.raster import Mask, Pixels
from datasets.standin.shots import Shot, Studio

NOTE = "Generated stand-in pictures in the layout of a real dataset. Not the real data."


def mvtec_tree(studio: Studio) -> Iterator[File]:
    """MVTec AD, MPDD and DTD-Synthetic: test/<defect>/NNN.png with ground_truth/<defect>/NNN_mask.png."""
    for cls in studio.classes:
        for split in ("train", "test"):
            for k, shot in enumerate(studio.shots(cls, split, False)):
                yield File(f"{cls.name}/{split}/good/{k:03d}.png", shot.image, "PNG")
        counts: dict[str, int] = {}
        for shot in studio.shots(cls, "test", True):
            folder = "bad" if studio.key == "dtd_synthetic" else str(shot.defect)
            n = counts[folder] = counts.get(folder, -1) + 1
            yield File(f"{cls.name}/test/{folder}/{n:03d}.png", shot.image, "PNG")
            yield mask_file(f"{cls.name}/ground_truth/{folder}/{n:03d}_mask.png", shot.mask)
        if studio.key == "mvtec":
            yield text(f"{cls.name}/readme.txt", NOTE)
            yield text(f"{cls.name}/license.txt", NOTE)


def visa(studio: Studio) -> Iterator[File]:
    """VisA: JPEG images, masks of small defect indices, and the split in split_csv/1cls.csv."""
    rows = ["object,split,label,image,mask"]
    for cls in studio.classes:
        digits = 3 if cls.name in ("capsules", "cashew", "chewinggum", "fryum", "pipe_fryum") else 4
        data, notes = f"{cls.name}/Data", ["image,label,mask"]
        kinds = [folder for folder, _ in cls.defects]
        taken = {"train": 0, "test": 0}
        for k in range(studio.train + studio.normal):
            # Training pictures come between the others: folders and order do not tell the split.
            split = "train" if k % 2 == 0 and taken["train"] < studio.train else "test"
            image = f"{data}/Images/Normal/{k:0{digits}d}.JPG"
            yield File(image, studio.take(cls, split, False, taken[split]).image, "JPEG")
            taken[split] += 1
            rows.append(f"{cls.name},{split},normal,{image},")
            notes.append(f"{image},normal,")
        for k, shot in enumerate(studio.shots(cls, "test", True)):
            image, mask = f"{data}/Images/Anomaly/{k:03d}.JPG", f"{data}/Masks/Anomaly/{k:03d}.png"
            yield File(image, shot.image, "JPEG")
            yield mask_file(mask, shot.mask, value=1 + kinds.index(str(shot.defect)))
            rows.append(f"{cls.name},test,anomaly,{image},{mask}")
            notes.append(f"{image},{shot.defect},{mask}")
        yield text(f"{cls.name}/image_anno.csv", *notes)
    yield text("split_csv/1cls.csv", *rows)
    yield text("LICENSE-DATASET", NOTE)


def btad(studio: Studio) -> Iterator[File]:
    """BTAD: folders ok and ko; bitmaps or PNG images and masks, by class."""
    formats = {"01": ("BMP", "PNG"), "02": ("PNG", "PNG"), "03": ("BMP", "BMP")}
    for cls in studio.classes:
        form, mask_form = formats[cls.name]
        for split, folder, anomalous in (("train", "ok", False), ("test", "ok", False), ("test", "ko", True)):
            for k, shot in enumerate(studio.shots(cls, split, anomalous)):
                yield File(f"{cls.name}/{split}/{folder}/{k:04d}.{form.lower()}", shot.image, form)
                if anomalous:
                    mask = f"{cls.name}/ground_truth/ko/{k:04d}.{mask_form.lower()}"
                    yield mask_file(mask, shot.mask, mask_form)


def ksdd(studio: Studio) -> Iterator[File]:
    """KolektorSDD: tall grey JPEGs with a bitmap label beside each; defects have a palette label.

    A benchmark cuts every image into three strips and keeps a quarter of the normal ones. Half the
    images show one defect, in the middle of one strip, so that the kept normal strips are about as many.
    """
    (cls,) = studio.classes
    for k in range(2 * studio.anomalous):
        anomalous = k % 2 == 1
        shot = studio.take(cls, "all", anomalous, k // 2, third=(k // 2) % 3)
        stem = f"kos{k // 8 + 1:02d}/Part{k % 8}"
        yield File(f"{stem}.jpg", shot.image, "JPEG")
        palette = LABEL_PALETTE if anomalous else ()
        yield File(f"{stem}_label.bmp", shot.mask.astype(np.uint8), "BMP", palette)


def dagm(studio: Studio) -> Iterator[File]:
    """DAGM 2007: grey PNGs numbered through Test and Train, coarse elliptic labels, Labels.txt."""
    for cls in studio.classes:
        number = 0
        for split in ("Test", "Train"):
            rows = ["1"]
            normal, anomalous = (studio.shots(cls, split.lower(), label) for label in (False, True))
            for shot in chain.from_iterable(zip(normal, anomalous, strict=True)):
                number += 1
                stem, label = f"{number:04d}", "0"
                yield File(f"{cls.name}/{split}/{stem}.PNG", shot.image, "PNG")
                if shot.defect is not None:
                    label = f"{stem}_label.PNG"
                    yield mask_file(f"{cls.name}/{split}/Label/{label}", ellipse(shot.mask))
                flag = int(shot.defect is not None)
                rows.append(f"{number}\t{flag}\t{stem}.PNG\t{flag}\t{label}")
            yield text(f"{cls.name}/{split}/Label/Labels.txt", *rows)
            yield File(f"{cls.name}/{split}/Thumbs.db", b"not a picture\n")


def ellipse(mask: Mask) -> Mask:
    """Return an ellipse around a mask (H, W), as coarse as DAGM's labels: bool (H, W).

    It has the mask's centre and direction, and reaches a little further.
    """
    rows, columns = (axis.astype(np.int64) for axis in np.nonzero(mask))
    n, y, x = len(rows), int(rows.sum()), int(columns.sum())
    # Second moments times n squared; four square pixels more keep thin defects from thin ellipses.
    yy = n * int((rows * rows).sum()) - y * y + 4 * n * n
    xx = n * int((columns * columns).sum()) - x * x + 4 * n * n
    yx = n * int((rows * columns).sum()) - y * x
    v, u = n * np.arange(mask.shape[0])[:, None] - y, n * np.arange(mask.shape[1])[None, :] - x
    # A filled ellipse reaches out to 4 in this measure.
    return (xx / n * v * v - 2 * yx / n * v * u + yy / n * u * u) <= 5 * (yy / n * xx - yx / n * yx)


def _in_mode(grey: Pixels, mode: str) -> Pixels:
    """Return a grey picture (H, W) with the channels of Pillow's `mode`; P: as indices into a palette."""
    opaque = np.full_like(grey, 255)
    return {"RGB": np.dstack([grey] * 3), "RGBA": np.dstack([grey] * 3 + [opaque])}.get(mode, grey)


# Ways the brain sets store a grey picture: extension, true format, mode. Normal and anomalous pictures go
# through them in the same order, so that the way of storing tells nothing.
_WAYS = (
    ("jpg", "JPEG", "RGB"), ("JPG", "JPEG", "RGB"), ("jpeg", "JPEG", "L"), ("png", "PNG", "L"),
    ("jpg", "JPEG", "RGB"), ("jpg", "PNG", "RGBA"), ("jpg", "PNG", "P"),
)  # fmt: skip


def _stored(stem: str, shot: Shot, k: int, only_jpg: bool = False) -> File:
    extension, format_, mode = _WAYS[k % len(_WAYS)]
    palette = GREY_PALETTE if mode == "P" else ()
    name = f"{stem}.{'jpg' if only_jpg else extension}"
    return File(name, _in_mode(shot.image, mode), format_, palette)


def headct(studio: Studio) -> Iterator[File]:
    """HeadCT: head_ct/NNN.png and labels.csv; haemorrhages from 0, normal from 100, the last ones RGBA."""
    (cls,) = studio.classes
    rows = ["id, hemorrhage"]
    for first, anomalous in ((0, True), (100, False)):
        for k, shot in enumerate(studio.shots(cls, "test", anomalous)):
            mode = "RGBA" if not anomalous and k >= studio.normal - 2 else "RGB"
            yield File(f"head_ct/{first + k:03d}.png", _in_mode(shot.image, mode), "PNG")
            rows.append(f"{first + k},{int(anomalous)}")
    yield text("labels.csv", *rows)


def brainmri(studio: Studio) -> Iterator[File]:
    """BrainMRI: folders yes and no; mixed extensions, formats and modes, blanks in names, a stem twice."""
    (cls,) = studio.classes
    for k, shot in enumerate(studio.shots(cls, "test", True)):
        # Y92 exists as .jpg and as .png: the first and the fourth way of storing.
        yield _stored("yes/Y92" if k in (0, 3) else f"yes/Y{k}", shot, k)
    for k, shot in enumerate(studio.shots(cls, "test", False)):
        yield _stored((f"no/{k} no", f"no/no {k}", f"no/N{k}")[k % 3], shot, k)


def br35h(studio: Studio) -> Iterator[File]:
    """Br35H: yes/yN.jpg and no/noN.jpg, a few spelt NoN, and unlabelled pictures in pred."""
    (cls,) = studio.classes
    for k, shot in enumerate(studio.shots(cls, "test", True)):
        yield _stored(f"yes/y{k}", shot, k, only_jpg=True)
    for k, shot in enumerate(studio.shots(cls, "test", False)):
        yield _stored(f"no/{'No' if k % 10 == 1 else 'no'}{k}", shot, k, only_jpg=True)
    for k in range(2):
        yield _stored(f"pred/pred{k}", studio.take(cls, "pred", k == 1, k), 0)


def isic(studio: Studio) -> Iterator[File]:
    """ISIC 2016, part 1: JPEG images and _Segmentation.png masks in two folders."""
    part = "ISBI2016_ISIC_Part1_Test"
    for k, shot in enumerate(studio.shots(studio.classes[0], "test", True)):
        name = f"ISIC_{3 + 9 * k:07d}"
        yield File(f"{part}_Data/{name}.jpg", shot.image, "JPEG")
        yield mask_file(f"{part}_GroundTruth/{name}_Segmentation.png", shot.mask)
    yield text("ISBI2016_ISIC_Part3_Test_GroundTruth.csv", NOTE)


def polyps(studio: Studio) -> Iterator[File]:
    """CVC-ColonDB and CVC-ClinicDB: images/N.png and masks/N.png, numbers without padding.

    Every fourth mask has a faint fringe of value 11, as many real ones have.
    """
    for k, shot in enumerate(studio.shots(studio.classes[0], "test", True)):
        yield File(f"images/{k + 1}.png", shot.image, "PNG")
        levels = np.where(shot.mask, 255, 0).astype(np.uint8)
        if k % 4 == 3:
            levels[1:][shot.mask[:-1] & ~shot.mask[1:]] = 11
        yield File(f"masks/{k + 1}.png", levels, "PNG")


def tn3k(studio: Studio) -> Iterator[File]:
    """TN3K: JPEG images and JPEG masks, test and trainval folders, and a fold file."""
    for part, split in (("test", "test"), ("trainval", "train")):
        for k, shot in enumerate(studio.shots(studio.classes[0], split, True)):
            yield File(f"{part}-image/{k:04d}.jpg", _in_mode(shot.image, "RGB"), "JPEG")
            yield mask_file(f"{part}-mask/{k:04d}.jpg", shot.mask, "JPEG")
    yield text("tn3k-trainval-fold0.json", f'{{"val": [0], "train": {list(range(1, studio.train))}}}')


LAYOUTS: dict[str, Callable[[Studio], Iterator[File]]] = {
    "mvtec": mvtec_tree, "visa": visa, "mpdd": mvtec_tree, "btad": btad, "ksdd": ksdd, "dagm": dagm,
    "dtd_synthetic": mvtec_tree, "headct": headct, "brainmri": brainmri, "br35h": br35h, "isic": isic,
    "cvc_colondb": polyps, "cvc_clinicdb": polyps, "tn3k": tn3k,
}  # fmt: skip
