"""Writing stand-ins: through the real preparation, whole or not at all, and never over other data."""

import io
import multiprocessing
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from datasets.catalog import CATALOG, GROUPS
from datasets.check import check
from datasets.images import read_mask
from datasets.meta import open_dataset
from datasets.prepare import prepare
from datasets.standin import KEYS, generate
from datasets.standin.__main__ import main
from datasets.standin.files import File
from datasets.standin.generate import files
from datasets.standin.recipes import RECIPES
from datasets.standin.shots import SCALES, Studio


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def contents(root: Path) -> dict[str, bytes]:
    return {name: data for name, (data, _) in snapshot(root).items()}


def test_there_is_one_for_every_dataset() -> None:
    assert set(KEYS) == set(GROUPS["all"]) == set(RECIPES)
    for key, recipe in RECIPES.items():
        assert {cls.name for cls in recipe.classes} <= {cls.key for cls in CATALOG[key].classes}


@pytest.mark.parametrize("key", KEYS)
def test_the_real_preparation_reads_it(key: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    before = snapshot(tiny[key])
    folder = open_dataset(prepare(key, tiny[key], tmp_path))
    assert snapshot(tiny[key]) == before
    assert folder.standin and folder.entry is CATALOG[key]
    assert "result: sound" in str(check(folder))
    recipe = RECIPES[key]
    assert [cls.key for cls in folder.classes] == [cls.name for cls in recipe.classes[:2]]
    for cls in folder.classes:
        count = Counter(sample.label for sample in cls.samples)
        # KSDD: of 4 images of 3 strips, 2 are anomalous, and a quarter of the other 10 is kept.
        expected = {0: 3, 1: 2} if key == "ksdd" else {0: min(2, recipe.normal), 1: 2}
        assert count == {label: n for label, n in expected.items() if n}
        for sample in cls.samples:
            if sample.label and "pixel" in CATALOG[key].levels:
                assert sample.mask is not None
                share = (read_mask(sample.mask) > 0).mean()
                assert 0.002 < share < 0.25, sample.name


def test_a_brain_set_mixes_extensions_formats_and_modes() -> None:
    stored = {
        (file.path.rpartition(".")[2], file.format, Image.open(io.BytesIO(file.encode())).mode)
        for file in files("brainmri")
    }
    assert stored == {
        ("jpg", "JPEG", "RGB"), ("JPG", "JPEG", "RGB"), ("jpeg", "JPEG", "L"), ("png", "PNG", "L"),
        ("jpg", "PNG", "RGBA"), ("jpg", "PNG", "P"),
    }  # fmt: skip


def test_levels_are_those_of_the_real_ones(tiny: dict[str, Path], tmp_path: Path) -> None:
    for key in KEYS:
        folder = open_dataset(prepare(key, tiny[key], tmp_path))
        samples = [sample for cls in folder.classes for sample in cls.samples]
        assert ("image" in CATALOG[key].levels) == any(sample.label == 0 for sample in samples), key
        assert ("pixel" in CATALOG[key].levels) == any(sample.mask is not None for sample in samples), key


def test_other_protocols_of_ksdd_and_dagm_find_their_images(tiny: dict[str, Path], tmp_path: Path) -> None:
    for key, protocol in (("ksdd", "whole"), ("dagm", "balanced")):
        folder = open_dataset(prepare(key, tiny[key], tmp_path, protocol))
        for cls in folder.classes:
            labels = [sample.label for sample in cls.samples]
            assert labels.count(0) == labels.count(1) >= 2


def test_what_is_there_stays_and_what_is_gone_returns(tmp_path: Path) -> None:
    keys = ("btad", "headct")
    folders = generate(tmp_path, keys=keys, scale="tiny")
    assert folders == {key: tmp_path / key for key in keys}
    before = snapshot(tmp_path)
    assert generate(tmp_path, keys=keys, scale="tiny") == folders
    assert snapshot(tmp_path) == before
    moved = folders["btad"].rename(tmp_path.parent / "moved btad")
    generate(tmp_path, keys=keys, scale="tiny")
    assert contents(tmp_path) == {name: data for name, (data, _) in before.items()}
    assert contents(moved) == contents(folders["btad"])


def test_a_dataset_is_the_same_alone_and_among_others(tiny: dict[str, Path], tmp_path: Path) -> None:
    alone = generate(tmp_path, keys=["dagm"], scale="tiny")["dagm"]
    assert contents(alone) == contents(tiny["dagm"])


def test_notices_say_what_it_is(tiny: dict[str, Path]) -> None:
    for folder in (tiny["mvtec"], tiny["mvtec"].parent):
        assert "NOT THE REAL DATASETS" in (folder / "STAND-IN.txt").read_text(encoding="utf-8")


def test_an_interrupted_dataset_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def stop_at_ten(file: File) -> bytes:
        written.append(file.path)
        if len(written) == 10:
            raise KeyboardInterrupt
        return b""

    with monkeypatch.context() as patched:
        patched.setattr(File, "encode", stop_at_ten)
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path, keys=["mpdd"], scale="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["STAND-IN.txt"]
    assert (
        generate(tmp_path, keys=["mpdd"], scale="tiny")["mpdd"] / "metal_plate/test/good/001.png"
    ).exists()


def test_two_at_once_do_no_harm(tiny: dict[str, Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [
        context.Process(target=generate, args=(tmp_path,), kwargs={"keys": ["visa"], "scale": "tiny"})
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["STAND-IN.txt", "visa"]
    assert contents(tmp_path / "visa") == contents(tiny["visa"])


def test_other_data_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "mvtec/bottle").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"mvtec has no STAND-IN.txt, .*choose another root"):
        generate(tmp_path, keys=["headct", "mvtec"], scale="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["mvtec"]


def test_another_seed_or_scale_does_not_pass_for_the_wanted_one(tmp_path: Path) -> None:
    generate(tmp_path, keys=["headct"], scale="tiny")
    with pytest.raises(ValueError, match=r"headct holds .* seed 0, scale tiny, .*not seed 1, scale tiny"):
        generate(tmp_path, seed=1, keys=["headct"], scale="tiny")


def test_a_small_dataset_is_the_beginning_of_the_full_one() -> None:
    small, full = (
        {file.path: file.encode() for file in files("mvtec", scale=it)} for it in ("small", "full")
    )
    normal = [path for path in small if "/test/good/" in path]
    assert len(normal) == 3 * 2 and len(full) > 2 * len(small)
    assert {path.partition("/")[0] for path in normal} == {each.name for each in RECIPES["mvtec"].classes[:2]}
    assert all(full[path] == content for path, content in small.items() if path.endswith(".png"))


@pytest.mark.parametrize("key", KEYS)
def test_a_small_dataset_has_both_labels_where_the_full_one_has(key: str) -> None:
    small, full, tiny = (Studio(key, 0, SCALES[scale]) for scale in ("small", "full", "tiny"))
    assert len(small.classes) == min(2, len(full.classes))
    # MuSc needs five images of a class, of whatever label.
    several, both = len(full.classes) > 1, full.normal > 0
    assert (small.normal, small.anomalous) == ((3, 3) if several else (5 * both, 5))
    assert (tiny.normal, tiny.anomalous) == (2 * both, 2)


def test_names_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown dataset 'mvtek'"):
        generate(tmp_path / "new", keys=["visa", "mvtek"])
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        generate(tmp_path / "new", scale="huge")
    assert not (tmp_path / "new").exists()


def test_command_line_writes_datasets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(tmp_path / "raw"), "--scale", "tiny", "--keys", "headct"]
    assert main(arguments) == 0
    assert str(tmp_path / "raw/headct") in capsys.readouterr().out
    assert main([*arguments, "--seed", "1"]) == 1
    assert "choose another root" in capsys.readouterr().err
