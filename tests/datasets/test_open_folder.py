"""Folders with meta.json, of the catalog or of someone's own, and in MVTec layout."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets.catalog import CATALOG
from datasets.images import read_image
from datasets.meta import Folder, open_dataset
from datasets.prepare import prepare
from tests.datasets.imitation import build, write_image
from tests.datasets.own_folder import Custom, sample


def names(folder: Folder) -> list[str]:
    return [it.name for data in folder.classes for it in data.samples]


def test_meta_json_alone_is_enough(custom: Custom) -> None:
    folder = open_dataset(custom.write())
    assert (folder.title, folder.domain, folder.target) == ("Own Parts", "other", folder.key)
    assert re.fullmatch("own_parts-[0-9a-f]{6}", folder.key)
    assert folder.levels == ("image", "pixel")
    assert folder.entry is None and folder.protocol is None and folder.names == "meta"
    assert not folder.standin and not folder.partial and not folder.warnings
    (data,) = folder.classes
    assert (data.key, data.prompt, data.normal, data.anomalous) == ("part", "part", 2, 2)
    assert names(folder) == ["good/0.png", "good/1.png", "bad/0.png", "bad/1.png"]
    assert data.samples[2].mask == custom.root / "masks/0.png"
    assert data.samples[0].mask is None
    assert open_dataset(str(custom.root)).classes == folder.classes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("螺丝", "螺母"),
        ("قطع", "أجزاء"),
        ("a/images", "b/images"),
        ("my-set", "my set"),
        ("ß", "ss"),
        ("..x", "x"),
    ],
)
def test_no_two_folders_share_a_key(tmp_path: Path, one: str, other: str) -> None:
    folders = [open_dataset(Custom(tmp_path / name).write()) for name in (one, other)]
    assert folders[0].key != folders[1].key
    for folder, name in zip(folders, (one, other), strict=True):
        letters = "".join(filter(str.isalnum, Path(name).name.casefold()))
        assert letters in folder.key.replace("_", ""), "readable in its own script"
        assert re.fullmatch(r"\w+-[0-9a-f]{6}", folder.key)


def test_a_folder_has_one_key_whatever_leads_there(custom: Custom, tmp_path: Path) -> None:
    root = custom.write()
    (tmp_path / "link").symlink_to(root)
    by_link = open_dataset(tmp_path / "link")
    assert by_link.key == open_dataset(root).key == open_dataset(root / ".." / root.name).key


def test_a_name_that_is_no_utf8_is_read_and_can_be_written(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for name in ("good/0", "bad/0"):
        write_image(root / f"part/test/{name}.png", "PNG", "RGB")
    (root / "part/test/good/0.png").rename(root / "part/test/good" / os.fsdecode(b"caf\xe9.png"))
    (root / "part").rename(root / os.fsdecode(b"t\xf6pfe"))
    (data,) = open_dataset(root).classes
    assert json.dumps([data.key, *(it.name for it in data.samples)], ensure_ascii=False).encode("utf-8")
    assert data.samples[1].name.endswith(r"test/good/caf\udce9.png")
    assert read_image(data.samples[1].image).size == (16, 31)
    assert len(data.fingerprint()) == 64


@pytest.mark.parametrize("split", ["Test", "TEST", "test"])
@pytest.mark.parametrize("train", [None, {}, {"part": []}])
def test_spellings_of_the_splits(custom: Custom, split: str, train: Any) -> None:
    content = {split: {"part": custom.samples}}
    if train is not None:
        content["Train"] = train
    assert len(names(open_dataset(custom.write(content)))) == 4


def test_optional_keys_may_be_absent_or_null(custom: Custom) -> None:
    for entry in custom.samples:
        entry["specie_name"] = None
    del custom.samples[0]["specie_name"], custom.samples[0]["mask_path"]
    custom.samples[1]["mask_path"] = None
    custom.samples[1]["more"] = {"any": "thing"}
    assert {it.species for it in open_dataset(custom.write()).classes[0].samples} == {""}


def test_other_splits_are_left_out_with_a_warning(custom: Custom) -> None:
    folder = open_dataset(custom.write({"test": {"part": custom.samples}, "val": "anything"}))
    assert len(names(folder)) == 4
    assert "key 'val' is neither train nor test" in folder.warnings[0]


@pytest.mark.parametrize(
    "prefix",
    ["{root}/", "/elsewhere/data/Own Parts/", "data/Own Parts/", "C:\\data\\Own Parts\\", "./", ".\\"],
)
def test_paths_written_elsewhere_mean_the_file_below_the_root(custom: Custom, prefix: str) -> None:
    prefix = prefix.format(root=custom.root)
    for entry in custom.samples:
        for key in ("img_path", "mask_path"):
            text = prefix + entry[key] if entry[key] else ""
            entry[key] = text.replace("/", "\\") if "\\" in prefix else text
    folder = open_dataset(custom.write())
    assert names(folder) == ["good/0.png", "good/1.png", "bad/0.png", "bad/1.png"]
    assert folder.classes[0].samples[3].mask == custom.root / "masks/1.png"


def test_an_absolute_path_into_the_root_wins_over_longer_tails(custom: Custom) -> None:
    shadow = custom.root / custom.root.relative_to("/")
    write_image(shadow / "good/0.png", "PNG", "RGB")
    custom.samples[0]["img_path"] = str(custom.root / "good/0.png")
    assert names(open_dataset(custom.write()))[0] == "good/0.png"


def test_absent_files_are_reported_together(custom: Custom) -> None:
    (custom.root / "good/0.png").unlink()
    (custom.root / "masks/1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"meta\.json: 2 of 6 files .* 'good/0\.png'"):
        open_dataset(custom.write())
    folder = open_dataset(custom.root, missing_ok=True)
    assert folder.missing == ("good/0.png", "masks/1.png")
    assert names(folder) == ["good/1.png", "bad/0.png"]


def test_an_absent_mask_is_never_a_zero_mask(custom: Custom) -> None:
    custom.samples[2]["mask_path"] = "masks/gone.png"
    with pytest.raises(FileNotFoundError, match=r"masks/gone\.png"):
        open_dataset(custom.write())
    custom.samples[2]["mask_path"] = "masks"  # a folder is not a mask either
    with pytest.raises(FileNotFoundError, match="masks"):
        open_dataset(custom.write())


def test_levels_without_masks_and_without_normal_images(custom: Custom) -> None:
    custom.samples[2]["mask_path"] = ""
    (data,) = open_dataset(custom.write()).classes
    assert data.no_image_level is None
    assert data.no_pixel_level == "1 of 2 anomalous images have no mask"
    custom.samples[3]["mask_path"] = ""
    folder = open_dataset(custom.write())
    assert folder.levels == ("image", "pixel"), "a level that is undefined has its row and its reason"
    assert folder.warnings == ("no pixel metrics for part: 2 of 2 anomalous images have no mask",)
    custom.samples[2:] = [sample("bad/0.png", 1, "masks/0.png")]
    del custom.samples[:2]
    folder = open_dataset(custom.write())
    assert folder.warnings == ("no image metrics for part: no normal image",)
    assert folder.classes[0].no_image_level == "no normal image"
    custom.samples[:] = [sample("good/0.png", 0)]
    (data,) = open_dataset(custom.write()).classes
    assert (data.no_image_level, data.no_pixel_level) == ("no anomalous image", "no anomalous image")


def test_masks_of_normal_images_are_not_used(custom: Custom) -> None:
    custom.samples[0]["mask_path"] = "masks/0.png"
    folder = open_dataset(custom.write())
    assert folder.classes[0].samples[0].mask is None
    assert "masks of 1 normal images are not used" in folder.warnings[0]


def test_an_empty_class_is_left_out(custom: Custom) -> None:
    folder = open_dataset(custom.write({"test": {"part": custom.samples, "none": []}}))
    assert [data.key for data in folder.classes] == ["part"]
    assert "class 'none' has no test images" in folder.warnings[0]
    with pytest.raises(ValueError, match="no test images"):
        open_dataset(custom.write({"test": {"none": []}}))


SECRET = "secret.png"
BROKEN: dict[str, tuple[Any, str]] = {
    "list": ([], "the whole file is a list; it must be an object"),
    "null": (None, "the whole file is missing or null"),
    "no test": ({"train": {}}, "has no key 'test'"),
    "two tests": ({"test": {}, "Test": {}}, "'test' occurs twice"),
    "classes": ({"test": [1]}, r"'test' is a list; it must be an object"),
    "samples": ({"test": {"part": {}}}, r"test\['part'\] is an object; it must be a list"),
    "sample": ({"test": {"part": ["a.png"]}}, r"test\['part'\]\[0\] is a string; it must be an object"),
    "image": ({"test": {"part": [sample(7, 0)]}}, "'img_path' is a number"),
    "no image": ({"test": {"part": [sample("", 0)]}}, "'img_path' is empty"),
    "mask": ({"test": {"part": [sample("good/0.png", 1, mask_path=[])]}}, "'mask_path' is a list"),
    "species": ({"test": {"part": [sample("good/0.png", 1, specie_name=3)]}}, "'specie_name' is a number"),
    "class": ({"test": {"part": [sample("good/0.png", 1, cls_name="bolt")]}}, "'cls_name' is 'bolt'"),
    "label 2": ({"test": {"part": [sample("good/0.png", 2)]}}, "'anomaly' is 2; write 0"),
    "label text": ({"test": {"part": [sample("good/0.png", "1")]}}, "'anomaly' is '1'"),
    "label true": ({"test": {"part": [sample("good/0.png", True)]}}, "'anomaly' is True"),
    "label float": ({"test": {"part": [sample("good/0.png", 1.0)]}}, r"'anomaly' is 1\.0"),
    "no label": ({"test": {"part": [sample("good/0.png", 0, anomaly=None)]}}, "'anomaly' is None"),
    "twice": (
        {"test": {"part": [sample("good/0.png", 0)] * 2}},
        r"\[1\]: image 'good/0.png' is listed twice",
    ),
    "twice anew": (
        {"test": {"part": [sample("good/0.png", 0), sample("./good//0.png", 0)]}},
        "'good/0.png' is listed twice",
    ),
    "climbs": ({"test": {"part": [sample(f"../{SECRET}", 0)]}}, r"part'\]\[0\]: '\.\./secret.png' holds"),
    "climbs back": ({"test": {"part": [sample("../Own Parts/good/0.png", 0)]}}, r"holds '\.\.'"),
    "climbs inside": ({"test": {"part": [sample("good/../good/0.png", 0)]}}, r"holds '\.\.'"),
    "climbs with \\": ({"test": {"part": [sample(f"..\\{SECRET}", 0)]}}, r"holds '\.\.'"),
    "mask climbs": ({"test": {"part": [sample("good/0.png", 1, f"../{SECRET}")]}}, r"holds '\.\.'"),
    "absolute": ({"test": {"part": [sample(f"<outside>/{SECRET}", 0)]}}, "lies outside; write the path"),
    "link": ({"test": {"part": [sample("link.png", 0)]}}, "is a link that leads out"),
    "linked folder": ({"test": {"part": [sample(f"folder/{SECRET}", 0)]}}, "is a link that leads out"),
    "mask link": ({"test": {"part": [sample("good/0.png", 1, "link.png")]}}, "is a link that leads out"),
    "nul": ({"test": {"part": [sample("good\0/0.png", 0)]}}, "is not a path"),
    "endless": ({"test": {"part": [sample("a/" * 100_000, 0)]}}, "is not a path"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_hostile_and_broken_meta(custom: Custom, case: str) -> None:
    outside = custom.root.parent / SECRET
    write_image(outside, "PNG", "RGB")
    (custom.root / "link.png").symlink_to(outside)
    (custom.root / "folder").symlink_to(outside.parent)
    content, message = BROKEN[case]
    text = json.dumps(content).replace("<outside>", str(outside.parent))
    (custom.root / "meta.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        open_dataset(custom.root)
    assert "meta.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"test": {"part": [' + b"9" * 5000 + b"]}}",
        b"<html>quota exceeded</html>",
    ],
)
def test_what_is_no_json(custom: Custom, content: bytes) -> None:
    (custom.root / "meta.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"meta\.json: not valid JSON"):
        open_dataset(custom.root)


def test_a_class_given_twice_is_refused(custom: Custom) -> None:
    (custom.root / "meta.json").write_text('{"test": {"part": [], "part": []}}')
    with pytest.raises(ValueError, match="the key 'part' occurs twice"):
        open_dataset(custom.root)


@pytest.mark.parametrize("name", ["\ud800.png", "x" * 300 + ".png"])
def test_names_the_file_system_cannot_hold_are_absent(custom: Custom, name: str) -> None:
    custom.samples[0]["img_path"] = name
    with pytest.raises(FileNotFoundError, match="1 of 6 files") as caught:
        open_dataset(custom.write())
    str(caught.value).encode()


def test_a_byte_order_mark_does_no_harm(custom: Custom) -> None:
    path = custom.write() / "meta.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(names(open_dataset(custom.root))) == 4


def test_links_that_stay_inside_are_followed(custom: Custom) -> None:
    (custom.root / "again").symlink_to(custom.root / "good")
    (custom.root.parent / "shortcut").symlink_to(custom.root)
    custom.samples[0]["img_path"] = "again/0.png"
    custom.write()
    for root in (custom.root, custom.root.parent / "shortcut"):
        assert names(open_dataset(root))[0] == "again/0.png"


def test_prompts_of_the_name_sets_and_own_ones(tmp_path: Path) -> None:
    root = prepare("headct", build("headct", tmp_path), tmp_path / "data")
    prompts = {
        chosen: open_dataset(root, names=chosen).classes[0].prompt
        for chosen in ("anomalyclip", "adaclip", "meta")
    }
    assert prompts == {"anomalyclip": "brain", "adaclip": "headct", "meta": "brain"}
    own = open_dataset("headct", tmp_path / "data", prompts={"brain": "CT scan of a head"})
    assert own.classes[0].prompt == "CT scan of a head"
    assert own.classes[0].key == "brain"
    assert own.classes[0].fingerprint() == open_dataset(root).classes[0].fingerprint()
    with pytest.raises(ValueError, match="no such class; classes: brain"):
        open_dataset(root, prompts={"head": "head"})
    with pytest.raises(ValueError, match="no name set 'tips'"):
        open_dataset(root, names="tips")


@pytest.mark.parametrize(
    ("folder", "cls", "key", "expected"),
    [
        ("HeadCT_anomaly_detection", "headct", "headct", "brain"),
        ("BrainMRI", "brain_mri", "brainmri", "brain"),
        ("CVC-ColonDB", "ColonDB", "cvc_colondb", "colon"),
        ("tn3k", "tn3k", "tn3k", "thyroid"),
        ("SDD_anomaly_detection", "SDD", "ksdd", "electrical commutators"),
        ("sdd", "electrical_commutators", "ksdd", "electrical commutators"),
    ],
)
def test_trees_of_either_name_set_are_recognised(
    tmp_path: Path, folder: str, cls: str, key: str, expected: str
) -> None:
    root = tmp_path / "data" / folder
    write_image(root / cls / "test/good/0.png", "PNG", "RGB")
    write_image(root / cls / "test/defect/0.png", "PNG", "RGB")
    entries = [
        sample(f"{cls}/test/{species}/0.png", label, cls_name=cls)
        for label, species in enumerate(("good", "defect"))
    ]
    (root / "meta.json").write_text(json.dumps({"train": {}, "test": {cls: entries}}))
    for opened in (open_dataset(key, tmp_path / "data"), open_dataset(root)):
        assert opened.entry is CATALOG[key]
        assert opened.classes[0].key == expected
        assert opened.classes[0].prompt == expected
        assert opened.partial
    assert open_dataset(root, names="meta").classes[0].prompt == cls


def test_a_known_name_with_other_classes_is_someones_own(custom: Custom) -> None:
    root = custom.write().rename(custom.root.with_name("mvtec"))
    folder = open_dataset(root)
    assert folder.entry is None
    assert folder.key.startswith("mvtec-")
    with pytest.raises(ValueError, match="class 'part' is not one of mvtec"):
        open_dataset("mvtec", root.parent)


def test_two_names_of_one_class_are_refused(tmp_path: Path) -> None:
    for cls in ("headct", "brain"):
        write_image(tmp_path / "headct" / cls / "test/good/0.png", "PNG", "RGB")
    with pytest.raises(ValueError, match="'brain' and 'headct' are one class"):
        open_dataset("headct", tmp_path)


def test_looking_under_a_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="mvtec: no data root"):
        open_dataset("mvtec")
    with pytest.raises(FileNotFoundError, match=r"no folder mvtec or mvtec_anomaly_detection; prepare mvtec"):
        open_dataset("mvtec", tmp_path)
    with pytest.raises(FileNotFoundError, match="neither a dataset of the catalog nor a folder"):
        open_dataset("mvtex", tmp_path)
    build("mvtec", tmp_path)
    opened = open_dataset("MVTec AD", tmp_path)  # in MVTec layout already, so usable as downloaded
    assert opened.root.name == "mvtec_anomaly_detection"
    assert [data.key for data in opened.classes] == ["bottle", "grid", "metal_nut"]
    build("visa", tmp_path)
    with pytest.raises(ValueError, match=r"made a dataset with: prepare visa --from"):
        open_dataset("visa", tmp_path)
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="a file, not a folder; unpack it with prepare"):
        open_dataset(tmp_path / "data.zip")
    monkeypatch.chdir(tmp_path / "mvtec_anomaly_detection")
    assert open_dataset(".").entry is CATALOG["mvtec"]


def test_a_broken_marker_is_refused(tmp_path: Path) -> None:
    root = prepare("mvtec", build("mvtec", tmp_path), tmp_path / "data")
    for text in ("{", "[]", '{"dataset": "sofa", "protocol": null, "warnings": []}', '{"dataset": 3}'):
        (root / "prepared.json").write_text(text)
        with pytest.raises(ValueError, match=r"prepared\.json: not as prepare wrote it"):
            open_dataset(root)


def test_a_folder_that_holds_another_data_set_is_refused(tmp_path: Path) -> None:
    root = prepare("headct", build("headct", tmp_path), tmp_path / "data")
    root.rename(root.with_name("brainmri"))
    with pytest.raises(ValueError, match="holds headct, not brainmri"):
        open_dataset("brainmri", root.parent)


def layout(root: Path, *, masks: bool) -> Path:
    """Two classes in MVTec layout, one of them with two kinds of defect, and litter."""
    for name in ("nut/test/OK/0.png", "nut/test/dent/0.JPG", "nut/test/dent/1.jpg", "nut/test/scratch/0.png"):
        write_image(root / name, "PNG", "RGB")
    write_image(root / "bolt/test/good/7.bmp", "BMP", "RGB")
    write_image(root / "bolt/test/bent/7.bmp", "BMP", "RGB")
    if masks:
        for image, mask in (
            ("nut/test/dent/0.JPG", "nut/ground_truth/dent/0_mask.png"),
            ("nut/test/dent/1.jpg", "nut/ground_truth/dent/1.png"),
            ("nut/test/scratch/0.png", "nut/ground_truth/scratch/0_Segmentation.png"),
            ("bolt/test/bent/7.bmp", "bolt/ground_truth/bent/7_label.bmp"),
        ):
            (root / mask).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / image, root / mask)
    for litter in ("nut/test/dent/Thumbs.db", "nut/test/dent/.0.png", "readme.txt", "nut/test/notes.csv"):
        (root / litter).write_text("litter")
    (root / "docs").mkdir()
    return root


def test_plain_mvtec_layout_with_masks(tmp_path: Path) -> None:
    root = layout(tmp_path / "parts", masks=True)
    folder = open_dataset(root)
    assert [(it.key, it.normal, it.anomalous) for it in folder.classes] == [("bolt", 1, 1), ("nut", 1, 3)]
    masks = {it.name: it.mask.name for data in folder.classes for it in data.samples if it.mask}
    assert masks == {
        "bolt/test/bent/7.bmp": "7_label.bmp",
        "nut/test/dent/0.JPG": "0_mask.png",
        "nut/test/dent/1.jpg": "1.png",
        "nut/test/scratch/0.png": "0_Segmentation.png",
    }
    assert folder.levels == ("image", "pixel")


def test_plain_mvtec_layout_without_masks(tmp_path: Path) -> None:
    folder = open_dataset(layout(tmp_path / "parts", masks=False))
    assert folder.warnings == (
        "no pixel metrics for bolt: 1 of 1 anomalous images have no mask and 1 more classes",
    )
    assert all(it.mask is None for data in folder.classes for it in data.samples)
    shutil.rmtree(tmp_path / "parts" / "bolt")
    (tmp_path / "parts/nut/ground_truth/dent").mkdir(parents=True)
    for name in ("0_mask.png", "1_mask.png"):
        shutil.copy(tmp_path / "parts/nut/test/OK/0.png", tmp_path / "parts/nut/ground_truth/dent" / name)
    (data,) = open_dataset(tmp_path / "parts").classes
    assert data.no_pixel_level == "1 of 3 anomalous images have no mask"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *((name, 0) for name in ("good", "ok", "no", "normal", "Good", "OK", "NORMAL")),
        *(
            (name, 1)
            for name in ("bad", "ng", "none", "not_good", "goods", "ok2", "abnormal", "yes", "defect")
        ),
    ],
)
def test_which_folders_hold_normal_images(tmp_path: Path, name: str, label: int) -> None:
    for folder in (name, "scratch", "good"):
        (tmp_path / "parts/nut/test" / folder).mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "parts/nut/test" / folder / f"{folder}.png", "PNG", "RGB")
    (data,) = open_dataset(tmp_path / "parts").classes
    labels = {sample.image.parent.name: sample.label for sample in data.samples}
    assert labels == {"scratch": 1, "good": 0, name: label}


def test_one_class_alone(tmp_path: Path) -> None:
    folder = open_dataset(layout(tmp_path / "parts", masks=True) / "nut")
    assert [(it.key, it.normal, it.anomalous) for it in folder.classes] == [("nut", 1, 3)]
    assert "test/dent/0.JPG" in names(folder)


def test_layout_with_lost_masks_and_images(tmp_path: Path) -> None:
    root = layout(tmp_path / "parts", masks=True)
    lost = root / "nut/ground_truth/dent/1.png"
    lost.rename(root / "1.png")
    with pytest.raises(ValueError, match=r"dent/1\.jpg: no mask, though others have one \(1 of 2 images"):
        open_dataset(root)
    (root / "1.png").rename(lost)
    (root / "nut/test/dent/0.JPG").unlink()
    with pytest.raises(ValueError, match=r"0_mask\.png: mask without an image"):
        open_dataset(root)


def test_layout_with_repeated_stems(tmp_path: Path) -> None:
    root = layout(tmp_path / "parts", masks=True)
    shutil.copy(root / "nut/ground_truth/dent/1.png", root / "nut/ground_truth/dent/1_mask.png")
    with pytest.raises(ValueError, match="has a second mask"):
        open_dataset(root)
    (root / "nut/ground_truth/dent/1_mask.png").unlink()
    shutil.copy(root / "nut/test/dent/1.jpg", root / "nut/test/dent/1.png")
    with pytest.raises(ValueError, match="two images share its stem"):
        open_dataset(root)


def test_layout_with_a_link_out(tmp_path: Path) -> None:
    root = layout(tmp_path / "parts", masks=False)
    write_image(tmp_path / "outside.png", "PNG", "RGB")
    (root / "nut/test/OK/1.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(ValueError, match=r"nut/test/OK/1\.png.* is a link that leads out"):
        open_dataset(root)


def test_fingerprint_covers_contents_and_labels_but_neither_place_nor_order(custom: Custom) -> None:
    first = open_dataset(custom.write()).classes[0]
    moved = custom.root.with_name("elsewhere")
    shutil.copytree(custom.root, moved)
    custom.samples.reverse()
    (moved / "meta.json").write_text(json.dumps({"test": {"part": custom.samples}}))
    second = open_dataset(moved).classes[0]
    assert first.fingerprint() == second.fingerprint()
    assert replace(first, prompt="other").fingerprint() == first.fingerprint()
    assert len(first.fingerprint()) == 64

    changed = {first.fingerprint()}
    for index, change in ((0, {"anomaly": 1}), (2, {"mask_path": "masks/1.png"}), (3, {"mask_path": ""})):
        entries = [entry | (change if at == index else {}) for at, entry in enumerate(custom.samples[::-1])]
        custom.write({"test": {"part": entries}})
        changed.add(open_dataset(custom.root).classes[0].fingerprint())
    custom.samples.reverse()
    custom.write({"test": {"part": custom.samples[:3]}})
    changed.add(open_dataset(custom.root).classes[0].fingerprint())
    custom.write()
    (custom.root / "good/0.png").rename(custom.root / "good/0a.png")  # keeps its place in the order
    custom.samples[0]["img_path"] = "good/0a.png"
    changed.add(open_dataset(custom.write()).classes[0].fingerprint())
    write_image(custom.root / "good/1.png", "PNG", "L")
    changed.add(open_dataset(custom.root).classes[0].fingerprint())
    assert len(changed) == 7


def test_fingerprint_uses_the_digests_it_is_given(custom: Custom) -> None:
    data = open_dataset(custom.write()).classes[0]
    asked: list[Path] = []

    def digest(path: Path) -> str:
        asked.append(path)
        return path.name

    assert data.fingerprint(digest) != data.fingerprint()
    assert sorted(asked) == sorted(
        custom.root / name
        for name in ("good/0.png", "good/1.png", "bad/0.png", "bad/1.png", "masks/0.png", "masks/1.png")
    )
