"""Cells of two methods with kept maps, on a small dataset."""

from pathlib import Path

import pytest

from bench.cli import main
from bench.results import read
from bench.show.choose import choose, fill_columns
from bench.show.images import Images
from bench.show.means import ColumnCells
from bench.store.cells import Cell, CellStore
from tests.bench.conftest import make_mvtec_layout


class Measured:
    """Results of a run that kept its maps, and the data."""

    def __init__(self, root: Path) -> None:
        self.results, self.data = root / "results", root / "data"
        self.store = CellStore(self.results / "runs")

    @property
    def cells(self) -> list[Cell]:
        return read(self.store)

    @property
    def columns(self) -> list[ColumnCells]:
        return fill_columns(choose(self.cells))

    @property
    def images(self) -> Images:
        return Images(self.store, self.cells, self.data)


def measure(root: Path) -> Measured:
    """Return results of two methods on two classes below `root`."""
    measured = Measured(root)
    folder = make_mvtec_layout(measured.data / "parts")
    words = ["run", "--methods", "chance", "oracle", "--datasets", str(folder), "--save-maps"]
    words += ["--device", "cpu", "--results", str(measured.results), "--set", "image_size=64"]
    assert main(words) == 0
    return measured


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Return such results; they are not to be changed."""
    return measure(tmp_path_factory.mktemp("measured"))
