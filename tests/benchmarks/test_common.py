"""What the benchmarks have in common."""

import os
from pathlib import Path

import pytest

from benchmarks.common import apart, write_dataset
from datasets.meta import open_dataset


def test_pictures_are_a_dataset_with_masks(tmp_path: Path) -> None:
    folder = open_dataset(write_dataset(tmp_path / "with", {"bolt": 4, "nut": 6}, (64, 96)))
    assert {data.key: len(data.samples) for data in folder.classes} == {"bolt": 4, "nut": 6}
    for data in folder.classes:
        assert sum(sample.label for sample in data.samples) == len(data.samples) / 2
        assert all((sample.mask is not None) == bool(sample.label) for sample in data.samples)
    folder = open_dataset(write_dataset(tmp_path / "without", {"bolt": 4}, masks=False))
    assert not any(sample.mask for sample in folder.classes[0].samples)


def test_another_seed_gives_other_pictures(tmp_path: Path) -> None:
    roots = [
        write_dataset(tmp_path / str(place), {"bolt": 2}, seed=seed) for place, seed in enumerate((0, 0, 1))
    ]
    first, again, other = ((root / "bolt/test/good/0000.png").read_bytes() for root in roots)
    assert first == again != other


def test_work_apart_is_done_in_another_process_and_raises_here() -> None:
    assert apart(os.getpid) != os.getpid()
    with pytest.raises(ZeroDivisionError):
        apart(divmod, 1, 0)
