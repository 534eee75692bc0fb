"""Folders that people bring: what is read, what is said of the rest, what is to be renamed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.check import check
from datasets.images import read_mask
from datasets.meta import Folder, open_dataset
from datasets.prepare import prepare
from datasets.truth import read_truth
from tests.datasets.imitation import write_image, write_mask

MASK = {"values": [0, 255], "mode": "L", "format": "PNG"}


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a folder `own` of the files that a text names."""

    def write(names: str) -> Path:
        root = tmp_path / "own"
        for name in names.split():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if "mask" in name.lower() or "gt" in name.lower().split("/")[-1] or "ground" in name:
                write_mask(path, MASK)
            elif path.suffix in (".png", ".jpg"):
                write_image(path, "PNG", "RGB")
            else:
                path.write_text("?")
        return root

    return write


def masks(folder: Folder) -> dict[str, str]:
    """Return image -> mask of the anomalous samples, without the parts that all paths share."""
    return {
        sample.name: sample.mask.relative_to(folder.root).as_posix() if sample.mask else ""
        for data in folder.classes
        for sample in data.samples
        if sample.label
    }


MVTEC = "part/test/good/0.png part/test/good/1.png part/test/dent/0.png part/test/dent/1.png "


@pytest.mark.parametrize(
    ("names", "classes", "wanted"),
    [
        (
            MVTEC + "part/ground_truth/dent/0_mask.png part/ground_truth/dent/1.png",
            {"part": (2, 2)},
            {
                "part/test/dent/0.png": "part/ground_truth/dent/0_mask.png",
                "part/test/dent/1.png": "part/ground_truth/dent/1.png",
            },
        ),
        (  # MVTec LOCO: a folder for each image
            MVTEC + "part/ground_truth/dent/0/000.png part/ground_truth/dent/0/001.png "
            "part/ground_truth/dent/1/000.png",
            {"part": (2, 2)},
            {
                "part/test/dent/0.png": "part/ground_truth/dent/0",
                "part/test/dent/1.png": "part/ground_truth/dent/1/000.png",
            },
        ),
        (  # one folder of masks for all kinds of defects
            MVTEC.replace("dent/1", "cut/2") + "part/masks/0.png part/masks/2_gt.png part/masks/1_mask.png",
            {"part": (2, 2)},
            {"part/test/dent/0.png": "part/masks/0.png", "part/test/cut/2.png": "part/masks/2_gt.png"},
        ),
        (  # beside the images, also of normal ones
            "good/0.png good/0_mask.png bad/0.png bad/0_mask.png bad/1.png bad/1-mask.png",
            {"own": (1, 2)},
            {"bad/0.png": "bad/0_mask.png", "bad/1.png": "bad/1-mask.png"},
        ),
        (  # folders of masks in the folder of the species
            "good/0.png bad/0.png bad/masks/0.png",
            {"own": (1, 1)},
            {"bad/0.png": "bad/masks/0.png"},
        ),
        (
            "good/0.png bad/0.png ground_truth/bad/0.png",
            {"own": (1, 1)},
            {"bad/0.png": "ground_truth/bad/0.png"},
        ),
        (
            "a/OK/0.png a/NG/0.png a/ground_truth/NG/0.png b/normal/0.png b/cut/5.png b/mask/cut/5.png",
            {"a": (1, 1), "b": (1, 1)},
            {"a/NG/0.png": "a/ground_truth/NG/0.png", "b/cut/5.png": "b/mask/cut/5.png"},
        ),
        ("test/good/0.png test/bad/0.png", {"own": (1, 1)}, {"test/bad/0.png": ""}),
        ("no/0.png yes/0.png pred/0.png", {"own": (1, 1)}, {"yes/0.png": ""}),
    ],
)
def test_what_is_read(
    tree: Callable[[str], Path], names: str, classes: dict[str, tuple[int, int]], wanted: dict[str, str]
) -> None:
    folder = open_dataset(tree(names))
    assert {data.key: (data.normal, data.anomalous) for data in folder.classes} == classes
    assert masks(folder) == wanted
    assert check(folder).ok
    assert all(len(data.fingerprint()) == 64 for data in folder.classes)


def test_parts_of_a_mask_are_joined_and_count_in_the_fingerprint(tree: Callable[[str], Path]) -> None:
    root = tree(MVTEC + "part/ground_truth/dent/0/000.png part/ground_truth/dent/1/0.png")
    truth = root / "part/ground_truth/dent/0"
    before = open_dataset(root).classes[0].fingerprint()
    second = np.zeros((31, 16), np.uint8)
    second[1, 1] = 255
    Image.fromarray(second).save(truth / "001.png")
    (data,) = open_dataset(root).classes
    assert read_mask(data.samples[0].mask or root).sum() == 18 + 1
    assert read_truth(data.samples[0])[0].sum() == 18 + 1
    joined = data.fingerprint()
    assert joined != before
    Image.fromarray(second[::-1]).save(truth / "001.png")
    assert open_dataset(root).classes[0].fingerprint() != joined


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (MVTEC + "part/ground_truth/dents/0.png", ["1 pictures are not used: part/ground_truth/dents (1)"]),
        (MVTEC + "part/0.png stray.png", ["2 pictures are not used: . (1), part (1)"]),
        (MVTEC + "part/validation/good/0.png", ["1 pictures are not used: part/validation/good (1)"]),
        (MVTEC + "part/test/dent/2.HEIC part/test/dent/3.avif Thumbs.db readme.txt .DS_Store",
         ["2 files are left out for their extension: .heic (1), .avif (1)"]),
        (MVTEC + "part/train/good/0.png", []),
        (MVTEC + "part/test/good/1.jpg",
         ["part/test/good: 1 pairs of pictures share a name, as 1.jpg and 1.png; is one a mask?"]),
        (MVTEC.replace("good", "healthy"),
         ["no image metrics for part: no normal image", "if one of dent, healthy holds normal images"]),
    ],
)  # fmt: skip
def test_what_is_there_and_not_used_is_said(tree: Callable[[str], Path], names: str, said: list[str]) -> None:
    folder = open_dataset(tree(names))
    found = [line for line in folder.warnings if "no pixel metrics" not in line]
    assert len(found) == len(said)
    for line, wanted in zip(found, said, strict=True):
        assert wanted in line
        assert wanted in str(check(folder, deep=False))


def test_files_that_end_in_another_extension_are_counted_once(tree: Callable[[str], Path]) -> None:
    root = tree(MVTEC)
    for name in ("a.pgm", "b.jfif", "c.GIF"):
        picture = Image.new("L", (16, 31))
        picture.save(root / "part/test/good" / name, format={"a": "PPM", "b": "JPEG", "c": "GIF"}[name[0]])
    (data,) = open_dataset(root).classes
    assert data.normal == 5
    assert check(open_dataset(root)).ok


def test_pictures_that_are_all_there_twice_are_refused(tree: Callable[[str], Path]) -> None:
    root = tree(MVTEC + "part/test/dent/0.jpg part/test/dent/1.jpg")
    with pytest.raises(ValueError, match=r"dent: all pictures are there twice, as 0\.jpg and 0\.png"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("names", "mend"),
    [
        ("images/0.jpg masks/0.jpg", "as Kvasir (prepare kvasir, endo, cvc300"),
        ("Original/0.png", "no folder of normal images"),
        ("train/1.png train/1_GT.png test/2.png test/2_GT.png", "as KolektorSDD2 (prepare ksdd2)"),
        (
            "Defect_images/0.png Mask_images/0_mask.png NODefect_images/2/0.png",
            "as AITEX: rename Defect_images",
        ),
        (
            "can/train/good/0.png can/test_public/good/0.png can/test_public/bad/0.png",
            "rename test_public to test",
        ),
        ("test_public/good/0.png test_public/bad/0.png", "as MVTec AD 2 (prepare mvtec_ad2)"),
        ("test/good/img/0.png test/Ungood/img/0.png test/Ungood/label/0.png", "as BMAD (prepare bmad_brain"),
        ("MT_Free/Imgs/0.jpg MT_Break/Imgs/0.jpg", "as the magnetic tiles (prepare mtd)"),
        ("realiad_512/mint/OK/0.jpg realiad_jsons/0.jpg", "prepare realiad"),
        ("COVID/images/0.png COVID/masks/0.png Normal/images/0.png", "prepare covid"),
        ("healthy/0.png broken/0.png", "folders here: broken, healthy"),
        ("notes.txt", "folders here: none"),
    ],
)
def test_layouts_that_are_not_read_say_what_to_rename(
    tree: Callable[[str], Path], names: str, mend: str
) -> None:
    with pytest.raises(ValueError, match="not a dataset as it is") as caught:
        open_dataset(tree(names))
    assert mend in str(caught.value)
    assert "\n" not in str(caught.value)


def test_links_that_lead_out_are_named_with_their_target(tree: Callable[[str], Path], tmp_path: Path) -> None:
    root = tree(MVTEC)
    (root / "part").rename(tmp_path / "store")
    (root / "part").symlink_to(tmp_path / "store")
    with pytest.raises(ValueError, match=r"leads out, to .*store/test/.*cp -rL") as caught:
        open_dataset(root)
    assert "meta.json" not in str(caught.value)


def test_parts_of_masks_never_lead_out(tree: Callable[[str], Path], tmp_path: Path) -> None:
    root = tree(MVTEC + "part/ground_truth/dent/0/000.png part/ground_truth/dent/1/0.png")
    write_mask(tmp_path / "secret.png", MASK)
    (root / "part/ground_truth/dent/0/001.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="leads out"):
        open_dataset(root)


def test_a_mask_in_meta_json_is_no_folder_of_other_masks(tree: Callable[[str], Path]) -> None:
    root = tree("good/0.png bad/0.png masks/0.png masks/1.png")
    entry = '{"img_path": "bad/0.png", "mask_path": "masks", "cls_name": "c", "anomaly": 1}'
    (root / "meta.json").write_text('{"test": {"c": [' + entry + "]}}")
    with pytest.raises(FileNotFoundError, match="1 of 2 files that it names are absent, first 'masks'"):
        open_dataset(root)


def test_parts_of_masks_are_prepared(tree: Callable[[str], Path], tmp_path: Path) -> None:
    names = (
        MVTEC
        + "part/ground_truth/dent/0/000.png part/ground_truth/dent/0/001.png part/ground_truth/dent/1.png"
    )
    root = tree(names.replace("part/", "bottle/"))
    folder = open_dataset(prepare("mvtec", root, tmp_path / "data"))
    assert masks(folder)["bottle/test/dent/0.png"] == "bottle/ground_truth/dent/0"
    assert folder.classes[0].fingerprint() == open_dataset(root).classes[0].fingerprint()
