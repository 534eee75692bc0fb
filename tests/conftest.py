"""Options shared by all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from methods import registry

CARRIED_GOLDENS = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=CARRIED_GOLDENS,
        help="folder of golden files, one subfolder per method; default: the few carried in tests/golden",
    )
    parser.addoption(
        "--write-drift",
        action="store_true",
        help="tests/parity/test_precision.py: keep what was measured in results/ and docs/precision.md",
    )
    parser.addoption(
        "--real-data",
        type=Path,
        default=None,
        help="folder with parts of real datasets (KolektorSDD*.zip, ISIC2016*.zip)",
    )


@pytest.fixture(autouse=True)
def _own_methods_only() -> Iterator[None]:
    yield
    registry.use_folders(None)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
