"""What `check` reports of a folder with one fault each."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from datasets.check import check
from datasets.files import sha256_of
from datasets.meta import open_dataset
from datasets.prepare import prepare
from tests.datasets.imitation import build
from tests.datasets.own_folder import Custom


def test_a_sound_folder(custom: Custom) -> None:
    folder = open_dataset(custom.write())
    report = check(folder)
    assert report.ok and report.complete
    assert report.fingerprints == {"part": folder.classes[0].fingerprint()}
    assert report.fingerprint in str(report)
    assert "part  normal 2, anomalous 2" in str(report)
    assert "nothing is known of this folder" in str(report)
    assert str(report).endswith("result: sound")


def test_missing_files(custom: Custom) -> None:
    (custom.root / "bad/1.png").unlink()
    folder = open_dataset(custom.write(), missing_ok=True)
    report = check(folder)
    assert report.findings["missing"] == ["bad/1.png"]
    assert not report.ok
    assert "missing files: 1\n  bad/1.png" in str(report)
    (custom.root / "good/0.png").unlink()  # after it was opened
    (custom.root / "masks/0.png").unlink()
    report = check(folder)
    assert report.findings["missing"] == ["bad/1.png", "good/0.png", "masks/0.png"]
    assert report.fingerprint is None
    assert "fingerprint: none, files are absent" in str(report)


def test_unreadable_files(custom: Custom) -> None:
    for name in ("good/0.png", "masks/0.png"):
        path = custom.root / name
        path.write_bytes(path.read_bytes()[:-30])
    report = check(open_dataset(custom.write()))
    assert len(report.findings["unreadable"]) == 2
    assert str(custom.root / "good/0.png") in report.findings["unreadable"][0]
    assert not report.ok
    assert "NOT SOUND" in str(report)
    assert report.fingerprint  # the files are there, if broken


def test_sizes_that_disagree(custom: Custom) -> None:
    Image.new("L", (31, 16), 255).save(custom.root / "masks/1.png")  # width and height swapped
    report = check(open_dataset(custom.write()))
    assert report.findings["size"] == ["masks/1.png is 31 x 16, its image bad/1.png 16 x 31"]
    assert not report.ok


def test_empty_masks_are_told(custom: Custom) -> None:
    Image.new("L", (16, 31)).save(custom.root / "masks/1.png")
    report = check(open_dataset(custom.write()))
    assert report.findings["empty"] == ["masks/1.png"]
    assert report.ok


def test_duplicates_and_contradictions(custom: Custom) -> None:
    shutil.copy(custom.root / "good/0.png", custom.root / "good/1.png")
    report = check(open_dataset(custom.write()))
    assert report.findings["duplicate"] == ["good/0.png = good/1.png"]
    assert "contradiction" not in report.findings
    shutil.copy(custom.root / "good/0.png", custom.root / "bad/0.png")
    report = check(open_dataset(custom.root))
    assert report.findings["contradiction"] == ["good/0.png = good/1.png = bad/0.png"]
    assert "of them with both labels: 1" in str(report)


def test_long_lists_are_cut(custom: Custom) -> None:
    custom.samples *= 3
    for index, entry in enumerate(custom.samples):
        custom.samples[index] = entry | {"img_path": f"gone/{index}.png"}
    custom.samples.append(custom.samples[0] | {"img_path": "good/0.png"})
    report = check(open_dataset(custom.write(), missing_ok=True))
    assert len(report.findings["missing"]) == 12
    assert "missing files: 12" in str(report)
    assert "and 7 more" in str(report)


def test_not_deep_opens_nothing(custom: Custom) -> None:
    (custom.root / "good/0.png").write_bytes(b"broken")
    report = check(open_dataset(custom.write()), deep=False)
    assert report.ok
    assert not report.fingerprints
    assert "files were not opened" in str(report)


def test_digests_and_progress_are_the_callers(custom: Custom) -> None:
    folder = open_dataset(custom.write())
    seen: list[str] = []
    asked: list[Path] = []

    def digest(path: Path) -> str:
        asked.append(path)
        return sha256_of(path)

    report = check(folder, digest=digest, progress=lambda all_: (seen.append(it.name) or it for it in all_))
    assert seen == [it.name for it in folder.classes[0].samples]
    assert len(asked) == len(set(asked)) == 6
    assert report.fingerprint == check(folder).fingerprint


def test_a_complete_folder_is_called_complete(tmp_path: Path) -> None:
    for label, count in (("yes", 155), ("no", 98)):
        for index in range(count):
            path = tmp_path / "BrainMRI" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2), (index, count, 0)).save(path)
    folder = open_dataset(prepare("brainmri", tmp_path / "BrainMRI", tmp_path / "data"))
    assert not folder.partial
    report = check(folder)
    assert report.complete and report.ok
    assert "counts: complete" in str(report)
    assert (
        "names of 253 images: NOT those of the complete set: the first is no/0.png, not no/1 no.jpeg"
        in str(report)
    )


@pytest.mark.parametrize("key", ["mvtec", "isic"])
def test_parts_are_called_partial(tmp_path: Path, key: str) -> None:
    folder = open_dataset(prepare(key, build(key, tmp_path), tmp_path / "data"))
    report = check(folder)
    assert not report.complete
    wanted = {"mvtec": "bottle: 1 of 20 normal, 1 of 63 anomalous", "isic": "skin: 3 of 379 anomalous"}[key]
    assert wanted in str(report)
    assert str(report).endswith("result: sound, partial")
    if key == "mvtec":
        assert "zipper: 0 of 32 normal, 0 of 119 anomalous" in folder.differences


@pytest.mark.parametrize(
    ("rename", "says"),
    [
        ({}, "names of 380 images: those of the complete set"),
        (
            {f"images/{index}.png": f"images/{index}.tif" for index in range(1, 381)},
            "images: those of the complete",
        ),
        (
            {"images/17.png": "images/381.png"},
            "images: NOT those of the complete set: images/17.png is absent",
        ),
        (
            {"images/17.png": "images/17b.png"},
            "images/17.png is absent; images/17b.png is named unlike the others",
        ),
        ({"images/1.png": "images/one.png"}, "images/one.png"),
        ({"images/99.png": "images/99.jpg"}, "names of 380 images: those of the complete set"),
    ],
)
def test_names_that_differ_are_named_and_another_extension_is_none(
    tmp_path: Path, rename: dict[str, str], says: str
) -> None:
    (tmp_path / "cvc_colondb" / "images").mkdir(parents=True)
    (tmp_path / "cvc_colondb" / "masks").mkdir()
    for index in range(1, 381):
        for folder in ("images", "masks"):
            name = f"{folder}/{index}.png"
            (tmp_path / "cvc_colondb" / rename.get(name, name)).touch()
    for name in rename.values():  # the mask goes with its image
        was = next(old for old, new in rename.items() if new == name).replace("images", "masks")
        path = tmp_path / "cvc_colondb" / was
        path.rename(path.with_stem(Path(name).stem))
    folder = open_dataset(prepare("cvc_colondb", tmp_path / "cvc_colondb", tmp_path / "data"))
    report = str(check(folder, deep=False))
    assert says in report
    assert ("NOT those" in report) == any(Path(old).stem != Path(new).stem for old, new in rename.items())


def test_names_with_several_extensions_are_not_compared_when_converted(tmp_path: Path) -> None:
    for number, normal, anomalous in (("01", 21, 49), ("02", 30, 200), ("03", 400, 41)):
        for species, count in (("ok", normal), ("ko", anomalous)):
            for index in range(count):
                for part in ("test", "ground_truth") if species == "ko" else ("test",):
                    path = tmp_path / "btad" / number / part / species / f"{index:04}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
    report = str(check(open_dataset(prepare("btad", tmp_path / "btad", tmp_path / "data")), deep=False))
    assert "names of 741 images: not compared, for their extensions are not the complete set's" in report
    assert "NOT those" not in report
