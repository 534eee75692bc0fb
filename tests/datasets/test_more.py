"""Datasets beyond the fourteen: what their layouts hold beside the images, and parts of a test set."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import datasets.check
from datasets.catalog import CATALOG
from datasets.check import check
from datasets.images import read_mask
from datasets.meta import Folder, open_dataset
from datasets.prepare import prepare
from datasets.schema import Record
from datasets.subset import leaves_out
from tests.datasets.imitation import build, cleaned, write_image, write_mask

LISTS = json.loads((Path(datasets.check.__file__).parent / "name_lists.json").read_text())["lists"]
MASK = {"values": [0, 255], "mode": "L", "format": "PNG"}


def labels(folder: Folder) -> dict[str, int]:
    return {sample.name: sample.label for data in folder.classes for sample in data.samples}


def masks(folder: Folder) -> dict[str, str]:
    return {
        sample.name: sample.mask.relative_to(folder.root).as_posix()
        for data in folder.classes
        for sample in data.samples
        if sample.mask
    }


def test_ksdd2_leaves_stray_copies_alone_and_reads_labels_from_masks(tmp_path: Path) -> None:
    raw = build("ksdd2", tmp_path)
    root = prepare("ksdd2", raw, tmp_path / "data")
    assert labels(open_dataset(root)) == {"test/20000.png": 0, "test/20005.png": 1, "test/20112.png": 1}
    assert labels(open_dataset(root, split="train")) == {"train/10301.png": 0}
    (raw / "test/20005_GT.png").unlink()
    with pytest.raises(ValueError, match=r"20005\.png: no mask in .*test \(1 such\)"):
        prepare("ksdd2", raw, tmp_path / "other")
    with pytest.raises(ValueError, match="protocol crops cannot be made from raw files"):
        prepare("ksdd2", raw, tmp_path / "other", "crops")


def test_masks_beside_the_images_and_empty_ones_are_kept(tmp_path: Path) -> None:
    raw = build("mtd", tmp_path)
    write_image(raw / "MT_Uneven/Imgs/exp3_num_45042.jpg", "JPEG", "L")
    write_mask(raw / "MT_Uneven/Imgs/exp3_num_45042.png", MASK | {"values": [0]})
    folder = open_dataset(prepare("mtd", raw, tmp_path / "data"))
    assert sum(labels(folder).values()) == len(masks(folder)) == 3
    assert all(name.endswith(".jpg") for name in labels(folder))
    assert folder.classes[0].has_pixel_level
    assert check(folder).findings["empty"] == ["Imgs/exp3_num_45042.png"]
    (raw / "MT_Uneven/Imgs/exp3_num_45042.png").unlink()
    with pytest.raises(ValueError, match=r"exp3_num_45042\.jpg: no mask in .*MT_Uneven"):
        prepare("mtd", raw, tmp_path / "other")


def test_ad2_takes_its_public_part_alone(tmp_path: Path) -> None:
    folder = open_dataset(prepare("mvtec_ad2", build("mvtec_ad2", tmp_path), tmp_path / "data"))
    assert {name.split("/")[1] for name in labels(folder)} == {"test_public"}
    assert masks(folder)["vial/test_public/bad/001_underexposed.png"] == (
        "vial/test_public/ground_truth/bad/001_underexposed_mask.png"
    )
    assert list(labels(open_dataset(folder.root, split="train"))) == ["can/train/good/000_regular.png"]


def test_bmad_archive_holds_several_sets_and_the_right_one_is_taken(tmp_path: Path) -> None:
    raw = tmp_path / "BMAD"
    for layout in ("bmad_brain_official", "bmad_liver", "bmad_retina"):
        build(layout, raw)
    for key, count in (("bmad_brain", 1), ("bmad_liver", 2), ("bmad_retina", 2)):
        folder = open_dataset(prepare(key, raw, tmp_path / "data"))
        assert folder.classes[0].anomalous == len(masks(folder)) == count
        assert not any("label" in name for name in labels(folder))
    assert "anomaly_mask" in masks(open_dataset("bmad_brain", tmp_path / "data"))["test/Ungood/img/2.png"]
    shutil.rmtree(raw / "Liver_AD/test/Ungood")
    with pytest.raises(ValueError, match=r"there should be test/Ungood/img/ and test/good/img/"):
        prepare("bmad_liver", raw / "Liver_AD", tmp_path / "other")
    with pytest.raises(ValueError, match=r"'Brain MRI' may be brainmri or bmad_brain; write the key"):
        prepare("Brain MRI", raw, tmp_path / "data")
    with pytest.raises(ValueError, match=r"'Brain MRI' may be brainmri or bmad_brain; write the key"):
        open_dataset("Brain MRI", tmp_path / "data")


def test_covid_as_it_is_today_is_not_the_published_set(tmp_path: Path) -> None:
    folder = open_dataset(prepare("covid", build("covid_official", tmp_path), tmp_path / "data"))
    assert labels(folder) == {"COVID/images/COVID-1.png": 1, "Normal/images/Normal-1.png": 0}
    assert not masks(folder)
    assert "1 of 1341 normal, 1 of 219 anomalous" in folder.differences[0]


def test_realiad_takes_its_split_from_json_one_size_at_a_time(tmp_path: Path) -> None:
    raw = build("realiad", tmp_path)
    views = open_dataset(prepare("realiad", raw, tmp_path / "data"))
    single = open_dataset(prepare("realiad", raw, tmp_path / "data", "single"))
    assert (views.protocol, len(labels(views))) == ("views", 3)
    assert (single.protocol, len(labels(single))) == ("single", 2)
    # A view of a defective object on which the defect is not seen is normal.
    assert labels(views)["realiad_1024/audiojack/NG/PS/S0003/audiojack_0003_OK_C2_1.jpg"] == 0
    assert set(views.differences) == {f"{it.key}: no images" for it in CATALOG["realiad"].classes[1:]}
    shutil.copytree(raw / "realiad_1024", raw / "realiad_512")
    with pytest.raises(ValueError, match="realiad_1024 and realiad_512 are both there"):
        prepare("realiad", raw, tmp_path / "other")
    shutil.rmtree(raw / "realiad_512")
    listing = raw / "realiad_jsons/realiad_jsons/audiojack.json"
    for content, message in (
        ('{"train": []}', "not as published"),
        ('{"train": [], "test": [{"anomaly_class": "OK"}]}', "not as published"),
        (
            '{"train": [], "test": [{"image_path": "OK/x.jpg", "anomaly_class": "OK"}]}',
            "'OK/x.jpg' is absent",
        ),
        ('{"train": [], "test": [{"image_path": "../../x.jpg", "anomaly_class": "OK"}]}', r"holds '\.\.'"),
    ):
        listing.write_text(content)
        with pytest.raises(ValueError, match=message):
            prepare("realiad", raw, tmp_path / "other")


def test_realiads_folder_of_others_is_not_called_a_protocol_that_nobody_verified(tmp_path: Path) -> None:
    for cls in CATALOG["realiad"].classes:
        write_image(tmp_path / f"realiad/{cls.key}/test/OK/0.jpg", "JPEG", "RGB")
        write_image(tmp_path / f"realiad/{cls.key}/test/NG/0.jpg", "JPEG", "RGB")
    assert open_dataset("realiad", tmp_path).protocol is None


def test_rsdd_is_read_as_others_prepared_it(tmp_path: Path) -> None:
    write_image(tmp_path / "RSDDs/Metal15/test/good/1.bmp", "BMP", "L")
    write_image(tmp_path / "RSDDs/Metal15/test/anomaly/1.bmp", "BMP", "L")
    write_mask(tmp_path / "RSDDs/Metal15/ground_truth/anomaly/1.png", MASK)
    folder = open_dataset("rsdd", tmp_path)
    assert (folder.key, folder.classes[0].key, len(masks(folder))) == ("rsdd", "metal", 1)
    with pytest.raises(ValueError, match="cannot be made from raw files"):
        prepare("rsdd", tmp_path / "RSDDs", tmp_path / "data")


def test_loco_joins_the_masks_of_an_image_and_is_not_taken_for_mvtec(tmp_path: Path) -> None:
    raw = build("mvtec_loco", tmp_path)
    folder = open_dataset(prepare("mvtec_loco", raw, tmp_path / "data"))
    logical = next(it for it in folder.classes[0].samples if "logical" in it.name)
    assert len(logical.mask_files) == 2
    assert read_mask(logical.mask).sum() == 2 * 18 > read_mask(logical.mask_files[0]).sum()
    with pytest.raises(ValueError, match=r"does not look like mvtec, .*; it looks like mvtec_loco"):
        prepare("mvtec", raw, tmp_path / "data")
    part = open_dataset("mvtec_loco:structural", tmp_path / "data")
    assert (part.key, part.target, part.title) == (
        "mvtec_loco_structural", "mvtec_loco", "MVTec LOCO (structural)"
    )  # fmt: skip
    assert list(masks(part)) == ["breakfast_box/test/structural_anomalies/000.png"]
    assert part.classes[0].normal == 1
    assert part.classes[0].has_pixel_level


KEPT = {"grid/test/glue/000.png": 1, "grid/test/glue/003.png": 1, "grid/test/good/000.png": 0}


@pytest.mark.parametrize("how", ["prepared", "from the whole, prepared", "from the whole as downloaded"])
def test_the_cleaned_test_set_is_taken_from_the_original(tmp_path: Path, how: str) -> None:
    data = tmp_path / "data"
    if how == "from the whole as downloaded":
        cleaned(data / "mvtec_anomaly_detection")
    else:
        prepare("mvtec", cleaned(tmp_path / "raw"), data, "zs" if how == "prepared" else None)
    folder = open_dataset("mvtec:zs", data)
    assert labels(folder) == KEPT
    assert (folder.key, folder.target, folder.title) == ("mvtec_zs", "mvtec", "MVTec (ZS)")
    assert (folder.levels, folder.protocol) == (("image",), "zs")
    assert not masks(folder)
    assert folder.classes[0].no_image_level is None
    assert "redrawn" in folder.classes[0].no_pixel_level
    assert "no pixel metrics for grid: some masks were redrawn" in str(check(folder, deep=False))
    assert "grid: 1 of 21 normal, 2 of 54 anomalous" in folder.differences
    assert not any("bottle" in line for line in (*folder.differences, *folder.warnings))
    if how != "prepared":
        whole = open_dataset("mvtec", data)
        assert (whole.key, len(labels(whole)), len(masks(whole))) == ("mvtec", 7, 5)


def test_a_folder_with_redrawn_masks_is_read_and_said_so(tmp_path: Path) -> None:
    root = cleaned(tmp_path / "mvtec_zs")
    shutil.rmtree(root / "bottle")
    for number in (1, 2):
        (root / f"grid/test/glue/{number:03}.png").unlink()
        (root / f"grid/ground_truth/glue/{number:03}_mask.png").unlink()
    folder = open_dataset("mvtec:zs", tmp_path)
    assert labels(folder) == KEPT
    assert len(masks(folder)) == 2
    assert folder.classes[0].has_pixel_level
    assert folder.levels == ("image", "pixel")
    assert any("pixel level by the masks here" in line for line in folder.warnings)


def test_a_cleaned_folder_is_not_opened_as_the_whole(tmp_path: Path) -> None:
    prepare("mvtec:zs".partition(":")[0], cleaned(tmp_path / "raw"), tmp_path / "data", "zs")
    (tmp_path / "data/mvtec_zs").rename(tmp_path / "data/mvtec")
    with pytest.raises(ValueError, match="made by protocol zs, not the whole test set"):
        open_dataset("mvtec", tmp_path / "data")


def sha256(names: list[str]) -> str:
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def test_the_left_out_images_make_the_published_lists(tmp_path: Path) -> None:
    # MVTec's test images are numbered without gaps; how many of each species is checked by the known digest.
    species = json.loads((Path(__file__).parent / "data/mvtec_species.json").read_text())
    names = [
        f"{cls}/test/{kind}/{number:03}.png"
        for cls, kinds in species.items()
        for kind, count in kinds.items()
        for number in range(count)
    ]
    whole, part = LISTS["mvtec"][0], LISTS["mvtec"][-1]
    assert sha256(names) == whole["sha256"]
    for name in names:
        path = tmp_path / "mvtec" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    for spec, listed in (("mvtec", whole), ("mvtec:zs", part)):
        folder = open_dataset(spec, tmp_path)
        assert not folder.partial
        (found,) = check(folder, deep=False).name_lists
        assert (found.of, found.expected, found.matches) == ("images", listed["count"], True)
    (tmp_path / "mvtec/cable/test/cable_swap/003.png").rename(tmp_path / "mvtec/cable/test/combined/011.png")
    assert open_dataset("mvtec:zs", tmp_path).partial
    entry = CATALOG["mvtec"]
    kept = [
        name
        for name in names
        for cls, _, kind, _ in [name.split("/")]
        if not leaves_out(entry, entry.protocol("zs"), Record(name, "", cls, kind, int(kind != "good")))
    ]
    assert (part["protocol"], len(kept), sha256(kept)) == ("zs", 1288, part["sha256"])


def test_the_cleaned_list_of_visa_leaves_as_many_as_published() -> None:
    # The names of VisA's normal test images are in its split file alone; check compares their digest.
    entry = CATALOG["visa"]
    for cls, (normal, anomalous) in entry.expected("zs").items():
        for label, kept in ((0, normal), (1, anomalous)):
            whole = entry.expected()[cls][label]
            out = [
                number
                for number in range(1100)
                if leaves_out(entry, entry.protocol("zs"), Record(f"x/{number:04}.JPG", "", cls, "", label))
            ]
            assert len(out) == whole - kept, (cls, label)
    assert leaves_out(entry, entry.protocol("zs"), Record("pcb4/x/0001.JPG", "", "pcb4", "", 1))
    assert LISTS["visa"][-1]["count"] == 783 + 941
