"""The demo: the main job from raw folders to the paper's table, offline, on generated data.

Its data, weights, cells and tables live in a folder of their own and never meet real ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.demo.standin import stand_in_folders
from bench.run.plan import Plan
from bench.run.planner import make_plan
from bench.run.protocol import MethodRequest
from bench.show import Selection
from bench.show.choose import choose, fill_columns
from bench.show.figures.gallery import draw_gallery, gallery_rows
from bench.show.figures.paper import save
from bench.show.images import Images
from bench.show.page import add_images, content, write_page
from bench.store.cells import Cell, CellStore
from bench.store.digests import DigestCache
from methods import registry
from methods.backbones import mini
from methods.registry import keys

HEADLINE = "demo: generated data, small models; not the paper's numbers"


@dataclass(frozen=True)
class Demo:
    """Where the demo keeps its things."""

    root: Path

    @property
    def data(self) -> Path:
        """The generated datasets, raw and prepared."""
        return self.root / "data"

    @property
    def weights(self) -> Path:
        """Weights of the small models."""
        return self.root / "weights"

    @property
    def store(self) -> CellStore:
        """The demo's cells."""
        return CellStore(self.root / "runs")

    @property
    def tables(self) -> Path:
        """The demo's rendered tables."""
        return self.root / "tables"

    @property
    def page(self) -> Path:
        """The demo's results page."""
        return self.root / "report.html"

    def prepare(self) -> Plan:
        """Generate and prepare data and weights (what is there stays); plan all methods on all datasets."""
        folders = stand_in_folders(self.data, scale="small")
        mini.install(self.weights)
        return make_plan(
            demo_requests(),
            folders,
            self.store,
            weights_root=self.weights,
            digest=DigestCache(),
            keeps_maps=lambda folder, data: data == folder.classes[0],  # one is enough to look at
        )

    def draw_gallery(self, cells: Sequence[Cell], count: int = 5) -> list[Path]:
        """Draw images, masks and kept maps of `count` datasets under all small methods; return the files."""
        images, methods = self._images(cells), [each.word for each in demo_requests() if each.preset]
        with_masks = [cell for cell in cells if cell["not_applicable"]["pixel"] is None]
        columns = fill_columns(choose(filter(images.keeps_maps, with_masks), methods=methods))
        rows = gallery_rows(columns, images, most=count)
        titles = [column.title for column in columns]
        width = 0.8 * (3 + len(columns))
        return save(lambda: draw_gallery(rows, titles, width, "map"), self.tables / "gallery", "--root")

    def write_page(self, chosen: Selection, cells: Sequence[Cell]) -> Path:
        """Write the results page with small pictures; raises `BenchError` where that cannot be."""
        images = self._images(cells)
        page, said = add_images(content(chosen, images), cells, images, None)
        return write_page(page, self.page, images=said, flag="--root")

    def _images(self, cells: Iterable[Cell]) -> Images:
        return Images(self.store, cells, self.data / "prepared")


def demo_requests() -> list[MethodRequest]:
    """Return every method that has a small version, and the two baselines that bound the scale."""
    unusable = registry.failures()
    small = [key for key in keys() if "mini" in registry.card(key).presets and key not in unusable]
    return [*(MethodRequest(key, "mini") for key in small), MethodRequest("chance"), MethodRequest("oracle")]
