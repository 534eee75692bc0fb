"""Images that two datasets share."""

import shutil
from pathlib import Path

import pytest

from bench.cli import main
from bench.store.digests import sha256
from datasets.meta import open_dataset
from datasets.overlap import overlaps
from tests.bench.conftest import make_mvtec_layout


def test_shared_images_are_counted_once_and_by_content(data: Path, tmp_path: Path) -> None:
    other = make_mvtec_layout(tmp_path / "other", ("plate",), seed=1)
    folders = [open_dataset(data), open_dataset(other)]
    assert overlaps(folders, sha256) == []
    shutil.copy(data / "bolt/test/good/000.png", other / "plate/test/good/renamed.png")
    shutil.copy(data / "bolt/test/good/000.png", other / "plate/test/good/twice.png")
    shutil.copy(data / "gear/test/spot/001.png", other / "plate/test/good/000.png")
    (found,) = overlaps([open_dataset(data), open_dataset(other)], sha256)
    names = " and ".join(folder.key for folder in folders)
    assert found.startswith(f"{names} share 2 images byte for byte (of 16 and 9 distinct ones)")


def test_check_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    assert main(["check", "--datasets", str(data), str(copy)]) == 0
    one, other = (open_dataset(folder).key for folder in (data, copy))
    assert f"{one} and {other} share 16 images byte for byte" in capsys.readouterr().out
