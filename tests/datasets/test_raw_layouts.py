"""Every raw layout, as imitated from the published ones: prepared, opened, checked."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from datasets.catalog import CATALOG
from datasets.check import check
from datasets.images import read_image, read_mask
from datasets.meta import Folder, Sample, open_dataset
from datasets.prepare import prepare
from tests.datasets.imitation import LAYOUTS, WIDTH, build, pixels, write_image, write_mask

KEYS = {layout: layout.removesuffix("_official") for layout in LAYOUTS}


def prepared(layout: str, tmp_path: Path, protocol: str | None = None) -> Folder:
    root = prepare(KEYS[layout], build(layout, tmp_path / "raw"), tmp_path / "data", protocol)
    return open_dataset(root)


def samples(folder: Folder) -> dict[str, Sample]:
    return {sample.name: sample for data in folder.classes for sample in data.samples}


def snapshot(folder: Path) -> dict[str, tuple[str, int, int]]:
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prepare_open_check(layout: str, tmp_path: Path) -> None:
    protocol = "whole" if layout == "ksdd" else None
    raw = build(layout, tmp_path / "raw")
    before = snapshot(raw)
    root = prepare(KEYS[layout], raw, tmp_path / "data", protocol)
    assert snapshot(raw) == before
    name = f"{KEYS[layout]}:{protocol}" if protocol else KEYS[layout]
    folder = open_dataset(name, tmp_path / "data")
    assert folder.root == root
    assert folder.key == KEYS[layout]
    expected = LAYOUTS[layout]["expected_test"]
    counts = (sum(it.normal for it in folder.classes), sum(it.anomalous for it in folder.classes))
    assert counts == (expected["normal"], expected["anomalous"])
    stated = {
        file["path"]: file["label"]
        for file in LAYOUTS[layout]["files"]
        if file["path"] in samples(folder) and "label" in file
    }
    assert {name: sample.label for name, sample in samples(folder).items()} == stated
    assert folder.partial
    assert not folder.standin
    report = check(folder)
    assert report.ok, str(report)
    assert "empty" not in report.findings
    assert "PARTIAL" in str(report)
    wanted = CATALOG[KEYS[layout]].expected(protocol)[folder.classes[0].key][1]
    if layout != "realiad":  # whose counts are open
        assert f"of {wanted or '1054'} anomalous" in str(report)
    assert report.fingerprint
    for sample in samples(folder).values():
        assert read_image(sample.image).mode == "RGB"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_levels_apply_as_the_catalogue_says(layout: str, tmp_path: Path) -> None:
    folder = prepared(layout, tmp_path)
    both = [data for data in folder.classes if data.normal and data.anomalous]
    for level in ("image", "pixel"):
        apply = [not data.no_image_level if level == "image" else data.has_pixel_level for data in both]
        if level in CATALOG[KEYS[layout]].levels:
            assert not both or all(apply)
        else:
            reasons = [getattr(data, f"no_{level}_level") for data in folder.classes]
            assert all("level dataset" in reason for reason in reasons)


def test_masks_pair_by_name_across_extensions(tmp_path: Path) -> None:
    found = samples(prepared("btad", tmp_path))
    pairs = {
        name: sample.mask.relative_to(tmp_path / "data" / "btad").as_posix()
        for name, sample in found.items()
        if sample.mask
    }
    assert pairs == {
        "01/test/ko/0040.bmp": "01/ground_truth/ko/0040.png",
        "02/test/ko/0106.png": "02/ground_truth/ko/0106.png",
        "03/test/ko/0040.bmp": "03/ground_truth/ko/0040.bmp",
    }


def test_unpadded_numbers_pair_by_name_not_by_position(tmp_path: Path) -> None:
    raw = build("cvc_colondb", tmp_path)
    (raw / "masks" / "Thumbs.db").write_bytes(b"litter")
    for name in ("images/2.png", "images/100.png"):
        write_image(raw / name, "PNG", "RGB")
        shutil.copy(raw / "masks/1.png", raw / name.replace("images", "masks"))
    folder = open_dataset(prepare("cvc_colondb", raw, tmp_path / "data"))
    assert all(sample.mask.stem == sample.image.stem for sample in samples(folder).values())
    assert folder.classes[0].anomalous == 5


def test_visa_reads_only_what_the_split_file_calls_test(tmp_path: Path) -> None:
    folder = prepared("visa", tmp_path)
    assert "candle/Data/Images/Normal/0836.JPG" not in samples(folder)
    train = open_dataset(folder.root, split="train")
    assert list(samples(train)) == ["candle/Data/Images/Normal/0836.JPG"]
    assert not train.partial  # nothing is expected of the training part
    mask = samples(folder)["pipe_fryum/Data/Images/Anomaly/099.JPG"].mask
    assert read_mask(mask).sum() == 2 * 18
    assert read_mask(mask, threshold=127).sum() == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("candle,test,anomaly,../../outside.JPG,", r"line 7: the path holds '\.\.'"),
        ("candle,test,broken,candle/Data/Images/Normal/0790.JPG,", "line 7: not as published"),
        ("sofa,test,normal,candle/Data/Images/Normal/0790.JPG,", "line 7: not as published"),
    ],
)
def test_a_changed_split_file_is_refused(tmp_path: Path, row: str, message: str) -> None:
    raw = build("visa", tmp_path)
    (tmp_path / "outside.JPG").write_bytes(b"")
    with (raw / "split_csv/1cls.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ValueError, match=message):
        prepare("visa", raw, tmp_path / "data")


def test_visa_without_a_mask_is_refused_and_without_images_is_partial(tmp_path: Path) -> None:
    raw = build("visa", tmp_path)
    (raw / "candle/Data/Images/Normal/0790.JPG").unlink()
    assert prepare("visa", raw, tmp_path / "data").is_dir()
    (raw / "candle/Data/Masks/Anomaly/000.png").unlink()
    with pytest.raises(ValueError, match=r"000\.JPG: its mask .* is absent"):
        prepare("visa", raw, tmp_path / "other")


@pytest.mark.parametrize(
    ("key", "cls"), [("visa", "candle"), ("headct", "brain"), ("headct", "headct"), ("isic", "isic")]
)
def test_trees_rearranged_like_mvtec_are_prepared_too(tmp_path: Path, key: str, cls: str) -> None:
    raw = tmp_path / "packed"
    write_image(raw / cls / "test/good/0.png", "PNG", "RGB")
    write_image(raw / cls / "test/bad/0.png", "PNG", "RGB")
    shutil.copytree(raw / cls / "test/bad", raw / cls / "ground_truth/bad")
    folder = open_dataset(prepare(key, raw, tmp_path / "data"))
    assert folder.entry is CATALOG[key]
    assert folder.classes[0].key == CATALOG[key].class_of(cls).key
    assert (folder.classes[0].normal, folder.classes[0].anomalous) == (1, 1)
    meta = json.loads((folder.root / "meta.json").read_text())
    assert meta["test"][folder.classes[0].key][0]["img_path"].startswith(f"{cls}/test/")


def test_headct_takes_labels_from_its_table(tmp_path: Path) -> None:
    raw = build("headct", tmp_path)
    (raw / "labels.csv").write_text("id, hemorrhage\n0,0\n1,1\n100, 1\n188, 0\n")
    found = samples(open_dataset(prepare("headct", raw, tmp_path / "data")))
    labels = {Path(name).stem: sample.label for name, sample in found.items()}
    assert labels == {"000": 0, "001": 1, "100": 1, "188": 0}


def test_headct_nested_as_in_the_kaggle_archive(tmp_path: Path) -> None:
    raw = build("headct", tmp_path)
    (raw / "head_ct").rename(raw / "inner")
    (raw / "head_ct").mkdir()
    (raw / "inner").rename(raw / "head_ct" / "head_ct")
    folder = open_dataset(prepare("headct", raw, tmp_path / "data"))
    assert (folder.classes[0].normal, folder.classes[0].anomalous) == (2, 2)
    assert "head_ct/188.png" in samples(folder)


@pytest.mark.parametrize("table", ["id, hemorrhage\n0,1\n", "id, hemorrhage\n0,1\n1,yes\n"])
def test_headct_without_a_label_is_refused(tmp_path: Path, table: str) -> None:
    raw = build("headct", tmp_path)
    (raw / "labels.csv").write_text(table)
    with pytest.raises(ValueError, match="restore the"):
        prepare("headct", raw, tmp_path / "data")


def test_brainmri_repeated_inside_its_archive_counts_once(tmp_path: Path) -> None:
    raw = build("brainmri", tmp_path)
    for name in ("yes", "no"):
        shutil.copytree(raw / name, raw / "brain_tumor_dataset" / name)
    folder = open_dataset(prepare("brainmri", raw, tmp_path / "data"))
    assert (folder.classes[0].normal, folder.classes[0].anomalous) == (5, 4)
    names = samples(folder)
    assert {"yes/Y92.jpg", "yes/Y92.png", "no/1 no.jpeg", "no/N1.JPG"} <= set(names)


def test_br35h_leaves_its_unlabelled_images_alone(tmp_path: Path) -> None:
    folder = prepared("br35h", tmp_path)
    assert not any("pred" in name for name in samples(folder))
    assert not (folder.root / "pred").exists()
    assert samples(folder)["no/No12.jpg"].label == 0


@pytest.mark.parametrize("nested", [False, True])
def test_isic_as_downloaded_and_as_passed_round(tmp_path: Path, nested: bool) -> None:
    raw = build("isic", tmp_path)
    if nested:
        (raw / "skin/test").mkdir(parents=True)
        (raw / "ISBI2016_ISIC_Part1_Test_Data").rename(raw / "skin/test/ISBI2016_ISIC_Part1_Test_Data")
        truth = "ISBI2016_ISIC_Part1_Test_GroundTruth"
        (raw / truth).rename(raw / "skin" / truth)
    folder = open_dataset(prepare("isic", raw, tmp_path / "data"))
    assert folder.classes[0].anomalous == 3
    sample = samples(folder)["ISBI2016_ISIC_Part1_Test_Data/ISIC_0000003.jpg"]
    assert sample.mask.name == "ISIC_0000003_Segmentation.png"


def test_clinicdb_tifs_keep_their_colours(tmp_path: Path) -> None:
    folder = prepared("cvc_clinicdb_official", tmp_path)
    sample = samples(folder)["Original/10.tif"]
    expected = pixels(Path("CVC-ClinicDB/Original/10.tif"))
    np.testing.assert_array_equal(np.asarray(read_image(sample.image)), expected)
    assert sample.mask == folder.root / "Ground Truth/10.tif"
    assert read_mask(sample.mask).sum() > read_mask(sample.mask, threshold=127).sum() > 0


def test_tn3k_uses_its_test_part_only(tmp_path: Path) -> None:
    folder = prepared("tn3k", tmp_path)
    assert set(samples(folder)) == {"test-image/0000.jpg", "test-image/0613.jpg"}
    mask = samples(folder)["test-image/0000.jpg"].mask
    assert read_mask(mask).sum() > read_mask(mask, threshold=127).sum()


@pytest.mark.parametrize("layout", ["isic", "cvc_colondb", "tn3k"])
def test_an_image_without_a_mask_or_the_reverse_is_refused(layout: str, tmp_path: Path) -> None:
    raw = build(layout, tmp_path)
    images, masks = ((raw / name) for name in CATALOG[layout].raw.pairs[0])
    lost = min(masks.iterdir())
    lost.rename(raw / lost.name)
    with pytest.raises(ValueError, match=r"no mask in .*\(1 such\)"):
        prepare(layout, raw, tmp_path / "data")
    (raw / lost.name).rename(lost)
    min(images.iterdir()).unlink()
    with pytest.raises(ValueError, match=rf"{lost.name}: mask without an image"):
        prepare(layout, raw, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_the_polyp_archive_holds_several_sets_and_the_right_one_is_taken(tmp_path: Path) -> None:
    raw = tmp_path / "Polyp_DataSet"
    build("cvc_colondb", raw)
    build("cvc_clinicdb", raw)
    build("cvc300", raw)
    build("kvasir", raw)
    lasts = {
        "cvc_colondb": "380",
        "cvc_clinicdb": "612",
        "cvc300": "208",
        "kvasir": "cju0qoxqj9q6s0835b43399p4",
    }
    for key, last in lasts.items():
        folder = open_dataset(prepare(key, raw, tmp_path / "data"))
        assert f"images/{last}.png" in samples(folder)
    with pytest.raises(ValueError, match="looks like cvc_clinicdb, not cvc_colondb"):
        prepare("cvc_colondb", raw / "CVC-ClinicDB", tmp_path / "other")
    (raw / "CVC-ColonDB").rename(raw / "a")
    (raw / "CVC-ClinicDB").rename(raw / "b")
    shutil.rmtree(raw / "CVC-300")
    shutil.rmtree(raw / "Kvasir")
    with pytest.raises(ValueError, match="a and b both look like cvc_colondb"):
        prepare("cvc_colondb", raw, tmp_path / "other")


def test_images_are_linked_where_possible_and_survive_the_raw_folder(tmp_path: Path) -> None:
    folder = prepared("mvtec", tmp_path)
    source = tmp_path / "raw/mvtec_anomaly_detection/bottle/test/good/000.png"
    copy = samples(folder)["bottle/test/good/000.png"].image
    assert copy.samefile(source)
    shutil.rmtree(tmp_path / "raw")
    assert check(open_dataset(folder.root)).ok


def test_without_hard_links_images_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder = prepared("mvtec", tmp_path)
    source = tmp_path / "raw/mvtec_anomaly_detection/bottle/test/good/000.png"
    copy = samples(folder)["bottle/test/good/000.png"].image
    assert not copy.samefile(source)
    assert copy.read_bytes() == source.read_bytes()


def test_the_written_meta_is_the_fields_common_form(tmp_path: Path) -> None:
    folder = prepared("mvtec", tmp_path)
    text = (folder.root / "meta.json").read_text()
    assert text.endswith("}\n")
    assert '\n    "train"' in text
    meta = json.loads(text)
    assert list(meta) == ["train", "test"]
    assert list(meta["train"]) == list(meta["test"]) == ["bottle", "grid", "metal_nut"]
    assert meta["train"]["grid"] == []
    assert meta["test"]["bottle"] == [
        {
            "img_path": "bottle/test/broken_large/000.png",
            "mask_path": "bottle/ground_truth/broken_large/000_mask.png",
            "cls_name": "bottle",
            "specie_name": "broken_large",
            "anomaly": 1,
        },
        {
            "img_path": "bottle/test/good/000.png",
            "mask_path": "",
            "cls_name": "bottle",
            "specie_name": "good",
            "anomaly": 0,
        },
    ]


def test_an_interrupted_run_leaves_nothing_that_looks_like_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = build("mvtec", tmp_path)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare("mvtec", raw, tmp_path / "data")
    monkeypatch.undo()
    assert not list((tmp_path / "data").iterdir())
    prepare("mvtec", raw, tmp_path / "data")
    with pytest.raises(FileExistsError, match="remove it"):
        prepare("mvtec", raw, tmp_path / "data")


def test_a_full_disk_names_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = build("mvtec", tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.prepare.write_meta", full)
    with pytest.raises(OSError, match=r"No space left on device, while preparing .*mvtec"):
        prepare("mvtec", raw, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_wrong_folders_and_names(tmp_path: Path) -> None:
    raw = build("mvtec", tmp_path)
    with pytest.raises(ValueError, match=r"does not look like ksdd, where there should be kosNN"):
        prepare("ksdd", raw, tmp_path / "data")
    with pytest.raises(ValueError, match=r"does not look like mpdd"):
        prepare("mpdd", raw, tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        prepare("mvtec", tmp_path / "gone", tmp_path / "data")
    with pytest.raises(ValueError, match="no dataset 'mvtex'"):
        prepare("mvtex", raw, tmp_path / "data")
    write_image(raw / "sofa/test/good/0.png", "PNG", "RGB")
    with pytest.raises(ValueError, match="sofa: not a class of mvtec"):
        prepare("mvtec", raw, tmp_path / "data")


def test_stand_in_data_stays_marked(tmp_path: Path) -> None:
    raw = build("mvtec", tmp_path / "generated")
    (tmp_path / "generated" / "STAND-IN.txt").write_text("made up")
    folder = open_dataset(prepare("mvtec", raw, tmp_path / "data"))
    assert folder.standin
    assert (folder.key, folder.target) == ("standin_mvtec", "mvtec")
    assert folder.entry is CATALOG["mvtec"]
    assert not folder.partial
    assert "generated stand-in data" in str(check(folder))
    assert open_dataset(folder.root / "bottle").standin


def test_imitations_are_not_square() -> None:
    # Guards the tests above: a swapped width and height must show.
    assert pixels(Path("a/b/c")).shape[1] == WIDTH != pixels(Path("a/b/c")).shape[0]


def test_colondb_as_its_own_archive_has_it(tmp_path: Path) -> None:
    raw = tmp_path / "CVC-ColonDB"
    for index in range(1, 6):
        suffix = "tif" if index == 3 else "tiff"
        write_image(raw / f"{index}.{suffix}", "PNG", "RGB")
        write_image(raw / f"cp{index}.tiff", "PNG", "RGB")
        write_mask(raw / f"p{index}.tiff", {"values": [0, 255], "mode": "L", "format": "TIFF"})
    (raw / "README").write_text("Original images: frame_number.tiff")
    folder = open_dataset(prepare("cvc_colondb", tmp_path, tmp_path / "data"))
    (data,) = folder.classes
    assert (data.normal, data.anomalous) == (0, 5)
    assert {it.name: it.mask and it.mask.name for it in data.samples}["images/3.tif"] == "3.tiff"
    assert all(read_mask(it.mask).sum() == 18 for it in data.samples if it.mask)
    (raw / "p2.tiff").unlink()
    with pytest.raises(ValueError, match=r"2\.tiff: no mask in .*CVC-ColonDB \(1 such\)"):
        prepare("cvc_colondb", raw, tmp_path / "again")


@pytest.mark.parametrize("name", ["x.rar", "x.7z", "renamed.zip"])
def test_rar_and_7z_are_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"Rar!\x1a\x07\x00" + bytes(64))
    with pytest.raises(ValueError, match=r"unpack it .* and give the folder"):
        prepare("cvc_clinicdb", tmp_path / name, tmp_path / "data")


@pytest.mark.parametrize(
    ("folder", "key"),
    [("mvdataset", "mvtec"), ("br35", "br35h"), ("SDD", "ksdd"), ("KolektorSDD", "ksdd"), ("Visa", "visa"),
     ("BTech_Dataset", "btad"), ("CVC-ColonDB", "cvc_colondb"), ("dtd", "dtd_synthetic"),
     ("head_ct", "headct"), ("brain_mri", "brainmri"), ("ISBI", "isic"), ("TN3K", "tn3k")],
)  # fmt: skip
def test_the_fields_folder_names_are_found(tmp_path: Path, folder: str, key: str) -> None:
    cls = CATALOG[key].classes[0].key
    write_image(tmp_path / folder / cls / "test/good/0.png", "PNG", "RGB")
    write_image(tmp_path / folder / cls / "test/bad/0.png", "PNG", "RGB")
    assert open_dataset(key, tmp_path).entry is CATALOG[key]
    assert open_dataset(tmp_path / folder).entry is CATALOG[key]
