"""The two datasets whose test set is a matter of protocol."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

import datasets.check
from datasets.check import check
from datasets.images import read_image, read_mask
from datasets.meta import Folder, open_dataset
from datasets.prepare import prepare
from datasets.prepare.ksdd import draw
from tests.datasets.imitation import HEIGHT, WIDTH, build, write_image, write_mask

KSDD = "electrical commutators"


def ksdd(tmp_path: Path, protocol: str | None = None) -> Folder:
    root = prepare("ksdd", build("ksdd", tmp_path), tmp_path / "data", protocol)
    return open_dataset(root)


def commutators(root: Path, images: int) -> Path:
    """Write normal images kos01/Part0 ... as many as wanted, eight in a folder."""
    zero = {"values": [0], "mode": "L", "format": "BMP"}
    for index in range(images):
        stem = f"kos{index // 8 + 1:02}/Part{index % 8}"
        write_image(root / f"{stem}.jpg", "JPEG", "L")
        write_mask(root / f"{stem}_label.bmp", zero)
    return root


def test_thirds_cut_images_and_labels_at_the_same_rows(tmp_path: Path) -> None:
    folder = ksdd(tmp_path)
    assert folder.protocol == "thirds"
    found = {sample.image.stem: sample for sample in folder.classes[0].samples if sample.label}
    # The imitation paints rows 12 to 17 of 31: the second third, rows 10 to 19.
    assert set(found) == {"kos01_Part5_1", "kos20_Part4_1"}
    sample = found["kos01_Part5_1"]
    with Image.open(tmp_path / "KolektorSDD/kos01/Part5.jpg") as raw:
        expected = np.asarray(raw)[HEIGHT // 3 : 2 * HEIGHT // 3]
    np.testing.assert_array_equal(np.asarray(read_image(sample.image))[..., 0], expected)
    mask = read_mask(sample.mask)
    assert mask.shape == expected.shape
    np.testing.assert_array_equal(np.flatnonzero(mask.any(axis=1)), range(2, 8))
    assert read_mask(found["kos20_Part4_1"].mask).sum() == 2 * 18  # palette indices 1 and 2


def test_strips_cover_the_whole_image(tmp_path: Path) -> None:
    root = ksdd(tmp_path).root
    strips = {
        sample.image.stem: read_image(sample.image).size[1]
        for split in ("test", "train")
        for sample in open_dataset(root, split=split).classes[0].samples
    }
    assert len(strips) == 4 * 3
    assert [strips[f"kos50_Part7_{part}"] for part in range(3)] == [10, 10, 11]
    assert HEIGHT == 31


def test_the_draw_is_scikit_learns(tmp_path: Path) -> None:
    for size in (7, 8, 100, 1143):
        names = [f"kos{index:04}" for index in range(size)]
        assert draw(names) == set(train_test_split(names, test_size=0.25, random_state=42)[1])


def test_thirds_draw_a_quarter_of_the_normal_strips(tmp_path: Path) -> None:
    raw = commutators(tmp_path / "KolektorSDD", 11)
    root = prepare("ksdd", raw, tmp_path / "data")
    test, train = (
        {sample.image.stem for sample in open_dataset(root, split=split).classes[0].samples}
        for split in ("test", "train")
    )
    names = sorted(
        f"kos{index // 8 + 1:02}_Part{index % 8}_{part}" for index in range(11) for part in range(3)
    )
    assert test == set(train_test_split(names, test_size=0.25, random_state=42)[1])
    assert test | train == set(names)
    assert not test & train


def test_whole_images_keep_their_files(tmp_path: Path) -> None:
    folder = ksdd(tmp_path, "whole")
    assert folder.root.name == "ksdd_whole"
    labels = {sample.name: sample.label for sample in folder.classes[0].samples}
    assert labels == {
        "kos01/Part0.jpg": 0,
        "kos01/Part5.jpg": 1,
        "kos20/Part4.jpg": 1,
        "kos50/Part7.jpg": 0,
    }
    mask = next(sample.mask for sample in folder.classes[0].samples if sample.name == "kos20/Part4.jpg")
    assert read_mask(mask).sum() == 2 * 18


def test_protocols_lie_side_by_side_and_are_told_apart(tmp_path: Path) -> None:
    raw = build("ksdd", tmp_path)
    for protocol in (None, "whole"):
        prepare("ksdd", raw, tmp_path / "data", protocol)
    thirds, whole = (open_dataset(name, tmp_path / "data") for name in ("ksdd", "ksdd:whole"))
    assert (thirds.key, thirds.protocol) == ("ksdd", "thirds")
    assert (whole.key, whole.protocol) == ("ksdd", "whole")
    assert "of 286 normal" in thirds.differences[0]
    assert "of 347 normal" in whole.differences[0]
    with pytest.raises(ValueError, match="no protocol 'eighths'"):
        open_dataset("ksdd:eighths", tmp_path / "data")
    (tmp_path / "data/ksdd_whole").rename(tmp_path / "data/moved")
    (tmp_path / "data/ksdd").rename(tmp_path / "data/ksdd_whole")
    with pytest.raises(ValueError, match="made by protocol thirds, not whole"):
        open_dataset("ksdd:whole", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="ksdd_whole holds another protocol"):
        open_dataset("ksdd", tmp_path / "data")


def test_halves_are_read_when_prepared_by_others_but_not_made(tmp_path: Path) -> None:
    raw = build("ksdd", tmp_path)
    with pytest.raises(ValueError, match="cannot be made from raw files"):
        prepare("ksdd", raw, tmp_path / "data", "halves")
    tree = tmp_path / "data" / "SDD_anomaly_detection" / "electrical_commutators"
    for species, count in (("good", 181), ("defect", 74)):
        (tree / "test" / species).mkdir(parents=True)
        for index in range(count):
            (tree / "test" / species / f"kos{index:03}_Part0_0.png").write_bytes(b"")
    folder = open_dataset("ksdd", tmp_path / "data")
    assert folder.protocol == "halves"
    assert not folder.partial
    assert folder.classes[0].key == KSDD
    (tree / "test/good/kos000_Part0_0.png").unlink()
    folder = open_dataset("ksdd", tmp_path / "data")
    assert folder.protocol is None
    assert "of 286 normal" in folder.differences[0]


def test_a_tree_cut_by_others_is_not_prepared_again(tmp_path: Path) -> None:
    write_image(tmp_path / "SDD_anomaly_detection/SDD/test/good/0.png", "PNG", "L")
    with pytest.raises(ValueError, match="does not look like ksdd"):
        prepare("ksdd", tmp_path / "SDD_anomaly_detection", tmp_path / "data")


def test_names_of_the_complete_test_set_are_recognised(tmp_path: Path) -> None:
    # All 399 images, whatever is on them, have the published names: a check of `whole` must say so.
    raw = tmp_path / "KolektorSDD"
    for number in range(1, 51):
        for part in range(7 if number == 21 else 8):
            path = raw / f"kos{number:02}" / f"Part{part}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    write_mask(tmp_path / "label.bmp", {"values": [0], "mode": "L", "format": "BMP"})
    for image in raw.rglob("*.jpg"):
        image.with_name(f"{image.stem}_label.bmp").hardlink_to(tmp_path / "label.bmp")
    root = prepare("ksdd", raw, tmp_path / "data", "whole")
    (listed,) = check(open_dataset(root), deep=False).name_lists
    assert (listed.of, listed.names, listed.matches) == ("images", 399, True)
    meta = json.loads((root / "meta.json").read_text())
    meta["test"][KSDD][0]["img_path"] = "kos01/Part0_label.bmp"
    (root / "kos01/Part0_label.bmp").write_bytes(b"")
    (root / "meta.json").write_text(json.dumps(meta))
    (listed,) = check(open_dataset(root), deep=False).name_lists
    assert not listed.matches


def test_the_published_digest_is_of_sorted_names_with_newlines() -> None:
    names = sorted(
        f"kos{number:02}/Part{part}.jpg"
        for number in range(1, 51)
        for part in range(7 if number == 21 else 8)
    )
    lists = json.loads((Path(datasets.check.__file__).parent / "name_lists.json").read_text())["lists"]
    whole = next(listed for listed in lists["ksdd"] if listed["of"] == "images")
    assert hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest() == whole["sha256"]


@pytest.mark.parametrize("lost", ["kos01/Part0.jpg", "kos01/Part0_label.bmp"])
def test_an_image_without_label_or_the_reverse_is_refused(tmp_path: Path, lost: str) -> None:
    raw = build("ksdd", tmp_path)
    (raw / lost).unlink()
    with pytest.raises(ValueError, match="restore"):
        prepare("ksdd", raw, tmp_path / "data")


def test_a_label_of_another_size_is_refused(tmp_path: Path) -> None:
    raw = build("ksdd", tmp_path)
    Image.new("L", (WIDTH, HEIGHT - 1)).save(raw / "kos50/Part7_label.bmp")
    with pytest.raises(ValueError, match=r"Part7_label\.bmp: not the size of Part7\.jpg"):
        prepare("ksdd", raw, tmp_path / "data")


def dagm(tmp_path: Path, protocol: str | None = None) -> Folder:
    """Two splits of Class1 with 1 and 1 defects beside 3 and 1 normal images, and a Class10."""
    raw = build("dagm", tmp_path)
    for name in ("Class1/Train/0577.PNG", "Class1/Train/0578.PNG"):
        write_image(raw / name, "PNG", "L")
    return open_dataset(prepare("dagm", raw, tmp_path / "data", protocol))


def test_dagm_test_split_as_it_is(tmp_path: Path) -> None:
    folder = dagm(tmp_path)
    assert folder.protocol == "test"
    labels = {
        sample.name: (sample.label, sample.mask and sample.mask.name)
        for data in folder.classes
        for sample in data.samples
    }
    assert labels == {
        "Class1/Test/0001.PNG": (0, None),
        "Class1/Test/0002.PNG": (1, "0002_label.PNG"),
        "Class10/Test/0001.PNG": (0, None),
    }
    assert "all classes: 2 of 6996 normal, 1 of 1054 anomalous" in folder.differences
    assert "Class2: no images" in folder.differences
    train = open_dataset(folder.root, split="train")
    assert (train.classes[0].normal, train.classes[0].anomalous) == (3, 1)


def test_dagm_balanced_pools_both_splits(tmp_path: Path) -> None:
    folder = dagm(tmp_path, "balanced")
    assert folder.root.name == "dagm_balanced"
    # One defect in each split of Class1, so the first normal image of each; Class10 has no defect.
    assert {sample.name: sample.label for data in folder.classes for sample in data.samples} == {
        "Class1/Train/0576.PNG": 0,
        "Class1/Train/0595.PNG": 1,
        "Class1/Test/0001.PNG": 0,
        "Class1/Test/0002.PNG": 1,
    }
    train = open_dataset(folder.root, split="train").classes[0].samples
    assert {sample.name for sample in train} == {"Class1/Train/0577.PNG", "Class1/Train/0578.PNG"}
    assert "Class1: 2 of 150 normal, 2 of 150 anomalous" in folder.differences


@pytest.mark.parametrize("also_flat", [False, True])
def test_dagm_nested_as_on_the_original_site(tmp_path: Path, also_flat: bool) -> None:
    raw = build("dagm", tmp_path)
    shutil.copytree(raw / "Class1", raw / "Class1/Class1")
    for split in ("Train", "Test") if not also_flat else ():
        shutil.rmtree(raw / "Class1" / split)
    folder = open_dataset(prepare("dagm", raw, tmp_path / "data"))
    assert "Class1/Test/0002.PNG" in {sample.name for sample in folder.classes[0].samples}


def test_dagm_label_lists_reveal_a_lost_label(tmp_path: Path) -> None:
    raw = build("dagm", tmp_path)
    (raw / "Class1/Test/Label/Labels.txt").write_text(
        "1\n1\t0\t0001.PNG\t0\t0\n2\t1\t0002.PNG\t1\t0002_label.PNG\n"
    )
    prepare("dagm", raw, tmp_path / "data")
    (raw / "Class1/Test/Label/0002_label.PNG").unlink()
    with pytest.raises(ValueError, match=r"label '0002_label.PNG' is absent"):
        prepare("dagm", raw, tmp_path / "other")


def test_dagm_as_downloaded_is_not_taken_for_mvtec_layout(tmp_path: Path) -> None:
    # Class1/Test holds a folder of images, Label: as MVTec layout it would be a kind of defect.
    raw = build("dagm", tmp_path)
    with pytest.raises(ValueError, match=r"made a dataset with: prepare dagm --from"):
        open_dataset(raw)
