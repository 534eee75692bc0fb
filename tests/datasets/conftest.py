"""Folders that many tests start from."""

from pathlib import Path

import pytest

from tests.datasets.own_folder import Custom


@pytest.fixture
def custom(tmp_path: Path) -> Custom:
    return Custom(tmp_path / "Own Parts")
