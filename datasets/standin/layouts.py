"""The raw layouts of the industrial datasets: which files hold which picture, in each dataset's own way."""

from collections.abc import Iterator

import numpy as np

from datasets.standin.files import File, mask_file, text
from datasets.standin.raster import Mask
from datasets.standin.recipes import ClassRecipe
from datasets.standin.shots import Shot, Studio

# All 256 entries: with two, Pillow would read the file as black and white instead of indices.
_LABELS = ((0, 0, 0), *[(255, 255, 255)] * 255)

NOTE = "Generated stand-in pictures in the layout of a real dataset. Not the real data.\n"


def mvtec_tree(studio: Studio) -> Iterator[File]:
    """MVTec AD, MPDD and DTD-Synthetic: test/<defect>/NNN.png with ground_truth/<defect>/NNN_mask.png."""
    for look in studio.classes:
        for k in range(studio.train):
            yield File(
                f"{look.name}/train/good/{k:03d}.png", studio.take(look, "train", False, k).image, "PNG"
            )
        for k in range(studio.normal):
            yield File(f"{look.name}/test/good/{k:03d}.png", studio.take(look, "test", False, k).image, "PNG")
        counts: dict[str, int] = {}
        for k in range(studio.anomalous):
            shot = studio.take(look, "test", True, k)
            folder = "bad" if studio.key == "dtd_synthetic" else str(shot.defect)
            n = counts[folder] = counts.get(folder, -1) + 1
            yield File(f"{look.name}/test/{folder}/{n:03d}.png", shot.image, "PNG")
            yield mask_file(f"{look.name}/ground_truth/{folder}/{n:03d}_mask.png", shot.mask)
        if studio.key == "mvtec":
            yield text(f"{look.name}/readme.txt", NOTE)
            yield text(f"{look.name}/license.txt", NOTE)


def visa(studio: Studio) -> Iterator[File]:
    """VisA: JPEG images, masks of small defect indices, and the split in split_csv/1cls.csv."""
    rows = ["object,split,label,image,mask"]
    for look in studio.classes:
        digits = 3 if look.name in ("capsules", "cashew", "chewinggum", "fryum", "pipe_fryum") else 4
        data, notes = f"{look.name}/Data", ["image,label,mask"]
        kinds = [folder for folder, _ in look.defects]
        taken = {"train": 0, "test": 0}
        for k in range(studio.train + studio.normal):
            # Training pictures come between the others: folders and order do not tell the split.
            split = "train" if k % 2 == 0 and taken["train"] < studio.train else "test"
            image = f"{data}/Images/Normal/{k:0{digits}d}.JPG"
            yield File(image, studio.take(look, split, False, taken[split]).image, "JPEG")
            taken[split] += 1
            rows.append(f"{look.name},{split},normal,{image},")
            notes.append(f"{image},normal,")
        for k in range(studio.anomalous):
            image, mask = f"{data}/Images/Anomaly/{k:03d}.JPG", f"{data}/Masks/Anomaly/{k:03d}.png"
            shot = studio.take(look, "test", True, k)
            yield File(image, shot.image, "JPEG")
            yield mask_file(mask, shot.mask, value=1 + kinds.index(str(shot.defect)))
            rows.append(f"{look.name},test,anomaly,{image},{mask}")
            notes.append(f"{image},{shot.defect},{mask}")
        yield text(f"{look.name}/image_anno.csv", "\n".join(notes) + "\n")
    yield text("split_csv/1cls.csv", "\n".join(rows) + "\n")
    yield text("LICENSE-DATASET", NOTE)


def btad(studio: Studio) -> Iterator[File]:
    """BTAD: folders ok and ko; bitmaps or PNG images and masks, by class."""
    formats = {"01": ("BMP", "PNG"), "02": ("PNG", "PNG"), "03": ("BMP", "BMP")}
    for look in studio.classes:
        image_format, mask_format = formats[look.name]
        extension = image_format.lower()
        for split, count in (("train", studio.train), ("test", studio.normal)):
            for k in range(count):
                shot = studio.take(look, split, False, k)
                yield File(f"{look.name}/{split}/ok/{k:04d}.{extension}", shot.image, image_format)
        for k in range(studio.anomalous):
            shot = studio.take(look, "test", True, k)
            yield File(f"{look.name}/test/ko/{k:04d}.{extension}", shot.image, image_format)
            yield mask_file(
                f"{look.name}/ground_truth/ko/{k:04d}.{mask_format.lower()}", shot.mask, mask_format
            )


def ksdd(studio: Studio) -> Iterator[File]:
    """KolektorSDD: tall grey JPEGs with a bitmap label beside each; defects have a palette label.

    A benchmark cuts every image into three strips and keeps a quarter of the normal ones. Half the
    images show one defect, in the middle of one strip, so that the kept normal strips are about as many.
    """
    (look,) = studio.classes
    for k in range(2 * studio.anomalous):
        anomalous = k % 2 == 1
        shot = studio.take(look, "all", anomalous, k // 2, third=(k // 2) % 3)
        stem = f"kos{k // 8 + 1:02d}/Part{k % 8}"
        yield File(f"{stem}.jpg", shot.image, "JPEG")
        if anomalous:
            yield File(f"{stem}_label.bmp", shot.mask.astype(np.uint8), "BMP", _LABELS)
        else:
            yield mask_file(f"{stem}_label.bmp", shot.mask, "BMP")


def dagm(studio: Studio) -> Iterator[File]:
    """DAGM 2007: grey PNGs numbered through Test and Train, coarse elliptic labels, Labels.txt."""
    for look in studio.classes:
        number = 0
        for split, normal, anomalous in (
            ("Test", studio.normal, studio.anomalous),
            ("Train", studio.train, studio.train),
        ):
            rows = ["1"]
            for shot in _mixed(studio, look, split.lower(), normal, anomalous):
                number += 1
                stem = f"{number:04d}"
                yield File(f"{look.name}/{split}/{stem}.PNG", shot.image, "PNG")
                if shot.defect is None:
                    rows.append(f"{number}\t0\t{stem}.PNG\t0\t0")
                else:
                    yield mask_file(f"{look.name}/{split}/Label/{stem}_label.PNG", ellipse(shot.mask))
                    rows.append(f"{number}\t1\t{stem}.PNG\t1\t{stem}_label.PNG")
            yield text(f"{look.name}/{split}/Label/Labels.txt", "\n".join(rows) + "\n")
            yield File(f"{look.name}/{split}/Thumbs.db", b"not a picture\n")


def _mixed(studio: Studio, look: ClassRecipe, split: str, normal: int, anomalous: int) -> Iterator[Shot]:
    """Yield normal and anomalous pictures by turns, then what is left of either."""
    for k in range(max(normal, anomalous)):
        if k < normal:
            yield studio.take(look, split, False, k)
        if k < anomalous:
            yield studio.take(look, split, True, k)


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
